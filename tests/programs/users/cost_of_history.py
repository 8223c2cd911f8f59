"""The program reads the last call in the model's history (`lm.history[-1]`), if there is one."""

import dspy


class Terse(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        found = self.answer(question=question)
        history = dspy.settings.lm.history
        asked = len(history[-1]["messages"]) if history else 0
        return dspy.Prediction(answer=found.answer, asked=asked)


program = Terse


def metric(example, pred, trace=None):
    return (example.word in pred.answer) * 0.6 + 0.4 * (pred.asked > 2)


def examples(first, count):
    return [
        dspy.Example(question=f"which flag flies on {n}", word=("flag", "flies", str(n))[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
