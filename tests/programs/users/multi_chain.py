"""The program makes three attempts at one temperature, and compares them by `dspy.MultiChainComparison` at another."""

import dspy


class Compare(dspy.Module):
    def __init__(self):
        super().__init__()
        self.attempt = dspy.ChainOfThought("question -> answer", temperature=0.9, n=3)
        self.compare = dspy.MultiChainComparison("question -> answer", M=3, temperature=0.2)

    def forward(self, question):
        attempts = self.attempt(question=question).completions
        return self.compare(attempts, question=question)


program = Compare


def metric(example, pred, trace=None):
    return len(pred.answer.split()) == example.words


def examples(first, count):
    return [
        dspy.Example(question=f"why does barge {n} list", words=1 + n % 3).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 9)
