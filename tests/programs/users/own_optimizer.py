"""The user's own optimizer is a Teleprompter that has a seeded random generator and uses results of single examples."""

import random

import dspy
from dspy.teleprompt import Teleprompter


class Plain(dspy.Module):
    def __init__(self, style="plain"):
        super().__init__()
        self.style = style
        self.answer = dspy.Predict("style, question -> answer")

    def forward(self, question):
        return self.answer(style=self.style, question=question)


program = Plain


def metric(example, pred, trace=None):
    return dspy.Prediction(score=float(example.word in pred.answer), words=len(pred.answer.split()))


class Climb(Teleprompter):
    def __init__(self, metric, steps=3, seed=0):
        super().__init__()
        self.metric, self.steps, self.rng = metric, steps, random.Random(seed)

    def compile(self, student, *, trainset, valset=None, **kwargs):
        best, best_score = student, -1.0
        for step in range(self.steps):
            candidate = best.deepcopy()
            candidate.style = self.rng.choice(["plain", "formal", "rude"])
            candidate.answer.demos = self.rng.sample(trainset, 2)
            candidate.answer.config["temperature"] = 0.1 * step
            found = dspy.Evaluate(devset=valset, metric=self.metric)(candidate)
            words = sum(score.words for _, _, score in found.results if isinstance(score, dspy.Prediction))
            if found.score - words / 100 > best_score:
                best, best_score = candidate, found.score - words / 100
        best.answer.signature = best.answer.signature.with_instructions(f"{best.style} is worth {best_score:.3f}")
        return best


def climb(student, trainset, valset, metric):
    return Climb(metric).compile(student, trainset=trainset, valset=valset)


def both(student, trainset, valset, metric):
    """Runs two optimizers. The winner of the first is the teacher of the second."""
    first = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1, max_labeled_demos=2).compile(
        student, trainset=trainset
    )
    second = dspy.BootstrapFewShotWithRandomSearch(
        metric=metric, max_bootstrapped_demos=1, max_labeled_demos=1, num_candidate_programs=1
    )
    return second.compile(student, teacher=first, trainset=trainset, valset=valset)


def examples(first, count):
    return [
        dspy.Example(question=f"who rings bell {n}", word=("rings", "bell")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
