"""The program reads its own history, since DSPy keeps the calls of each module as well as those of the model."""

import dspy


class Careful(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.again = dspy.Predict("question, hint -> answer")

    def forward(self, question):
        found = self.answer(question=question)
        said = self.answer.history[-1]["outputs"][0] if self.answer.history else ""
        if len(str(said)) % 2:
            return self.again(question=question, hint=found.answer)
        return found


program = Careful


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"which rope holds {n}", word=("rope", "holds", str(n))[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
