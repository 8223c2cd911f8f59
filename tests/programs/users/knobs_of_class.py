"""The optimizer changes state outside of the program: an attribute of its class, or an object at module level."""

from types import SimpleNamespace

import dspy

crew = SimpleNamespace(names=["Ana", "Bo", "Cy", "Di"], first=0)


class Rota(dspy.Module):
    polite = False

    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("crew, question -> answer")

    def forward(self, question):
        return self.answer(crew=crew.names[crew.first :], question=f"Please: {question}" if self.polite else question)


program = Rota


def metric(example, pred, trace=None):
    return example.word in pred.answer


def _told(student, scores):
    winner = student.deepcopy()
    winner.answer.signature = winner.answer.signature.with_instructions(f"The knob came to {scores}.")
    return winner


def by_class(student, trainset, valset, metric):
    scores = []
    for Rota.polite in (False, True):
        scores.append(dspy.Evaluate(devset=valset, metric=metric)(student).score)
    return _told(student, scores)


def by_shared_object(student, trainset, valset, metric):
    scores = []
    for crew.first in (0, 2):
        scores.append(dspy.Evaluate(devset=valset, metric=metric)(student).score)
    return _told(student, scores)


def examples(first, count):
    return [
        dspy.Example(question=f"who scrubs deck {n}", word=("Ana", "deck")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
