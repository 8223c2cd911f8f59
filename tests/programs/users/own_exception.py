"""The program raises an exception that cannot be unpickled, since its constructor takes more than a text."""

import dspy


class BadHold(Exception):
    def __init__(self, hold, reason):
        super().__init__(f"hold {hold}: {reason}")
        self.hold = hold


class Strict(dspy.Module):
    def __init__(self):
        super().__init__()
        self.place = dspy.Predict("cargo -> hold: int")

    def forward(self, cargo):
        found = self.place(cargo=cargo)
        if found.hold > 7:
            raise BadHold(found.hold, "there is none")
        return found


program = Strict


def metric(example, pred, trace=None):
    if pred.hold == 0:
        raise BadHold(0, "it leaks")
    return pred.hold % 3 == example.n % 3


def examples(first, count):
    return [dspy.Example(cargo=f"{n} barrels", n=n).with_inputs("cargo") for n in range(first, first + count)]


def train():
    return examples(0, 10)


def validation():
    return examples(20, 12)
