"""Examples fail as in `errors_count`, but the limit of errors is high. A failure scores 0, and the compile goes on."""

import dspy

dspy.configure(max_errors=100, provide_traceback=False)


class Strict(dspy.Module):
    def __init__(self):
        super().__init__()
        self.measure = dspy.ChainOfThought("text -> metres: int")

    def forward(self, text):
        found = self.measure(text=text)
        assert found.metres < 7, f"no berth has {found.metres} metres"
        return found


program = Strict


def metric(example, pred, trace=None):
    if pred.metres == 0:
        raise ZeroDivisionError("a ship without length")
    return min(1.0, 1 / pred.metres + 0.1 * (example.n % 2))


def examples(first, count):
    return [
        dspy.Example(text=f"The stern of {n} is damaged", n=n).with_inputs("text") for n in range(first, first + count)
    ]


def train():
    return examples(0, 10)


def validation():
    return examples(20, 16)
