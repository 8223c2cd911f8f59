"""The optimizer changes state outside of the program: a global of the module, or an environment variable."""

import os

import dspy

CREW = ["Ana", "Bo", "Cy", "Di"]
how_many = 1


class Rota(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("crew, question -> answer")

    def forward(self, question):
        crew = CREW[:how_many] if os.environ.get("ROTA") != "all" else CREW
        return self.answer(crew=crew, question=question)


program = Rota


def metric(example, pred, trace=None):
    return example.word in pred.answer


def _told(student, scores):
    winner = student.deepcopy()
    winner.answer.signature = winner.answer.signature.with_instructions(f"The knob came to {scores}.")
    return winner


def by_global(student, trainset, valset, metric):
    global how_many
    scores = []
    for how_many in (1, 2, 3):
        scores.append(dspy.Evaluate(devset=valset, metric=metric)(student).score)
    return _told(student, scores)


def by_environment(student, trainset, valset, metric):
    scores = []
    for value in ("some", "all"):
        os.environ["ROTA"] = value
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
