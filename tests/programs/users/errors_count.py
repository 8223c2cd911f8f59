"""Examples fail, and the module configures a low limit of errors, so stock's compile ends with an error."""

import dspy

dspy.configure(max_errors=3)


class Strict(dspy.Module):
    def __init__(self):
        super().__init__()
        self.measure = dspy.Predict("text -> metres: int")

    def forward(self, text):
        found = self.measure(text=text)
        if found.metres > 7:
            raise ValueError(f"no berth has {found.metres} metres")
        return found


program = Strict


def metric(example, pred, trace=None):
    return pred.metres % 3 == example.n % 3


def examples(first, count):
    return [
        dspy.Example(text=f"The bow of {n} is damaged", n=n).with_inputs("text") for n in range(first, first + count)
    ]


def train():
    return examples(0, 10)


def validation():
    return examples(20, 20)
