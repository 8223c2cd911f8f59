"""`CompleteAndGrounded`, which calls a model, scores a RAG answer. In a bootstrap, its threshold counts."""

import dspy
from dspy.evaluate import CompleteAndGrounded

FACTS = {n: f"Crane {n} lifts {n * 5} tons." for n in range(40)}


class Grounded(dspy.Module):
    def __init__(self):
        super().__init__()
        self.respond = dspy.ChainOfThought("context, question -> response")

    def forward(self, question):
        number = int(question.rstrip("?").split()[-1])
        context = [FACTS[number], FACTS[(number + 1) % 40]]
        return dspy.Prediction(context=context, response=self.respond(context=context, question=question).response)


program = Grounded
metric = CompleteAndGrounded(threshold=0.5)


def examples(first, count):
    return [
        dspy.Example(question=f"How much lifts crane {n}?", response=f"{n * 5} tons").with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 6)


def validation():
    return examples(20, 9)
