"""The metric has two arguments, as on DSPy's cheat sheet, which suffice for optimizers that never pass a trace."""

import dspy


class Answer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


program = Answer


def metric(example, pred):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"which sail tears at {n}", word=("sail", "tears", "at")[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
