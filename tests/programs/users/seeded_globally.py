"""The module calls `random.seed` at its import, and every example draws from Python's global random generator."""

import random

import dspy

random.seed(42)
SHOWN = [f"Ship {n} reported fog." for n in range(20)]


class Samples(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("reports: list[str], question -> answer")

    def forward(self, question):
        return self.answer(reports=random.sample(SHOWN, 3), question=question)


program = Samples


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"who is late {n}", word=("Ship", "fog")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
