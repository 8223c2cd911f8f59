"""The program keeps its good answers and shows them to the model later, so the order of examples matters.

It keeps only answers of a certain form, which no imaginary answer of a rehearsal has.
"""

import dspy


class Keeps(dspy.Module):
    def __init__(self):
        super().__init__()
        self.kept = []
        self.answer = dspy.Predict("question, kept: list[str] -> answer")

    def forward(self, question):
        found = self.answer(question=question, kept=self.kept[-3:])
        if found.answer.split()[0] in question:
            self.kept.append(found.answer)
        return found


program = Keeps


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"which pump drains hold {n}", word=("pump", "hold")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
