"""The program puts the current time into the prompt."""

import datetime

import dspy


class Dated(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("now, question -> answer")

    def forward(self, question):
        return self.answer(now=datetime.datetime.now().isoformat(), question=question)


program = Dated


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"is it late for ferry {n}", word=("late", "ferry")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
