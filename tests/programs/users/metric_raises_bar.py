"""The metric remembers the length of the longest right answer so far, and accepts no shorter answer."""

import dspy

longest = {"words": 0}


class Plain(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


program = Plain


def metric(example, pred, trace=None):
    words = len(pred.answer.split())
    if example.word in pred.answer:
        longest["words"] = max(longest["words"], words)
    return float(words >= longest["words"])


def examples(first, count):
    return [
        dspy.Example(question=f"where is anchor {n}", word=("where", "anchor")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
