"""The program has a seeded random generator, whose state goes on from example to example."""

import random

import dspy


class Shuffles(dspy.Module):
    def __init__(self):
        super().__init__()
        self.random = random.Random(0)
        self.choose = dspy.Predict("options: list[str], question -> choice")

    def forward(self, question):
        options = ["berth", "anchor", "wait"]
        self.random.shuffle(options)
        return self.choose(options=options, question=question)


program = Shuffles


def metric(example, pred, trace=None):
    return example.choice in pred.choice


def examples(first, count):
    return [
        dspy.Example(question=f"what may ship {n} do", choice=("ship", "berth", "wait")[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
