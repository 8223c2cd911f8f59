"""The program puts the count of its calls into the prompt, so the prompt depends on earlier examples."""

import dspy


class Counts(dspy.Module):
    def __init__(self):
        super().__init__()
        self.turn = 0
        self.answer = dspy.Predict("turn: int, question -> answer")

    def forward(self, question):
        self.turn += 1
        return self.answer(turn=self.turn, question=question)


program = Counts


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"who steers boat {n}", word=("steers", "boat")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
