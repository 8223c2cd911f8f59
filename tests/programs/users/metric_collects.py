"""The metric appends to a list, and the optimizer reads the list afterwards."""

import dspy

seen = []


class Plain(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


program = Plain


def metric(example, pred, trace=None):
    right = example.word in pred.answer
    seen.append((example.question, pred.answer, right))
    return right


def worst_first(student, trainset, valset, metric):
    dspy.Evaluate(devset=valset, metric=metric)(student)
    wrong = sorted({question for question, _, right in seen if not right})
    winner = student.deepcopy()
    winner.answer.signature = winner.answer.signature.with_instructions(f"{len(wrong)} were hard: {wrong[:3]}")
    return winner


def examples(first, count):
    return [
        dspy.Example(question=f"who paints hull {n}", word=("paints", "hull")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
