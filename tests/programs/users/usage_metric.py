"""From the tutorial on the cache: the metric charges for tokens, by `track_usage` and `prediction.get_lm_usage()`.

Answers from DSPy's cache cost nothing, so a program's second evaluation has another score than the first.
"""

import dspy

dspy.configure(track_usage=True)


class Thrifty(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


program = Thrifty


def metric(example, pred, trace=None):
    used = sum(entry["total_tokens"] for entry in (pred.get_lm_usage() or {}).values())
    right = example.word in pred.answer
    return right if trace is not None else right * 0.5 + 0.5 * (used < 100)


def examples(first, count):
    return [
        dspy.Example(question=f"which crew sails on {n}", word=("crew", "sails", str(n))[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
