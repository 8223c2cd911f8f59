"""Program and metric each keep a memo of values, which changes no result."""

import dspy


class Remembers(dspy.Module):
    def __init__(self):
        super().__init__()
        self.memo = {}
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        key = (question, len(self.answer.demos), self.answer.signature.instructions)
        if key not in self.memo:
            self.memo[key] = question.split()[-1]
        return dspy.Prediction(answer=self.answer(question=question).answer, last=self.memo[key])


program = Remembers


class Exact:
    def __init__(self):
        self.seen = {}

    def __call__(self, example, pred, trace=None):
        self.seen[example.question] = pred.answer
        return pred.last in pred.answer


metric = Exact()


def examples(first, count):
    return [
        dspy.Example(question=f"port of registry of {n}").with_inputs("question") for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
