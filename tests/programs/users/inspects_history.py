"""The program prints the last call with `dspy.inspect_history`, as a notebook does."""

import dspy


class Talks(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        found = self.answer(question=question)
        dspy.inspect_history(n=1)
        print(found)
        return found


program = Talks


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"which knot holds boat {n}", word=("knot", "boat")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
