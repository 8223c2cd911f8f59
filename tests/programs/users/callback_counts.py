"""A callback counts calls, and the program drops its reasoning after many calls."""

import dspy
from dspy.utils.callback import BaseCallback


class Counter(BaseCallback):
    def __init__(self):
        self.calls = 0

    def on_lm_end(self, call_id, outputs, exception=None):
        self.calls += 1


counter = Counter()
dspy.configure(callbacks=[counter])


class Budgeted(dspy.Module):
    def __init__(self):
        super().__init__()
        self.think = dspy.ChainOfThought("question -> answer")
        self.guess = dspy.Predict("question -> answer")

    def forward(self, question):
        predict = self.think if counter.calls < 20 else self.guess
        return predict(question=question)


program = Budgeted


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"who lit lamp {n}", word=("lit", "lamp", str(n))[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
