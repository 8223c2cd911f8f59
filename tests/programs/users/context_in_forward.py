"""The program makes a call within `dspy.context`, with another model and another adapter."""

import os

import dspy

large = dspy.LM("openai/large", api_base=os.environ["PROVIDER"], api_key="none")


class Escalates(dspy.Module):
    def __init__(self):
        super().__init__()
        self.first = dspy.Predict("question -> answer, sure: bool")
        self.second = dspy.ChainOfThought("question, guess -> answer")

    def forward(self, question):
        guess = self.first(question=question)
        if guess.sure:
            return guess
        with dspy.context(lm=large, adapter=dspy.JSONAdapter()):
            return self.second(question=question, guess=guess.answer)


program = Escalates


def metric(example, pred, trace=None):
    return example.answer in pred.answer.split()


def examples(first, count):
    return [
        dspy.Example(question=f"is pier {n} open", answer=("pier", "open", str(n))[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
