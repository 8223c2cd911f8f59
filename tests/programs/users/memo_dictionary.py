"""Program and metric keep values in a dictionary at module level and in `functools.cache`."""

import functools

import dspy

_memo = {}


@functools.cache
def spelled(word):
    return "-".join(word)


def lookup(ship):
    if ship not in _memo:
        _memo[ship] = f"{spelled(ship)} was launched in {1900 + len(ship)}"
    return _memo[ship]


class Registry(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("ship, entry -> year: int")

    def forward(self, ship):
        return self.answer(ship=ship, entry=lookup(ship))


program = Registry


@functools.cache
def grade(year, expected):
    return max(0.0, 1 - abs(year - expected) / 10)


def metric(example, pred, trace=None):
    return grade(pred.year, example.year)


def examples(first, count):
    return [dspy.Example(ship=f"Aurora{n % 9}", year=n % 9).with_inputs("ship") for n in range(first, first + count)]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
