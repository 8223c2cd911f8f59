"""Outputs are a dataclass, typed dicts, a dict of lists, and code."""

from dataclasses import dataclass

import dspy
from typing_extensions import TypedDict


@dataclass
class Crane:
    name: str
    tons: int = 5


class Slot(TypedDict):
    berth: int
    crane: str


class Assign(dspy.Signature):
    """Assign a crane to a ship."""

    ship: str = dspy.InputField()
    crane: Crane = dspy.OutputField()
    slots: list[Slot] = dspy.OutputField()
    hours: dict[str, list[int]] = dspy.OutputField()


class Script(dspy.Signature):
    """Write the crane's program."""

    ship: str = dspy.InputField()
    crane: str = dspy.InputField()
    code: dspy.Code["python"] = dspy.OutputField()  # noqa: F821


class Cranes(dspy.Module):
    def __init__(self):
        super().__init__()
        self.assign = dspy.Predict(Assign)
        self.script = dspy.Predict(Script)

    def forward(self, ship):
        found = self.assign(ship=ship)
        code = self.script(ship=ship, crane=found.crane.name).code.code
        return dspy.Prediction(tons=found.crane.tons, slots=found.slots, lines=len(code.splitlines()))


program = Cranes


def metric(example, pred, trace=None):
    return (pred.tons % 2 == example.n % 2) / 2 + (sum(slot["berth"] for slot in pred.slots) > 5) / 2


def examples(first, count):
    return [dspy.Example(ship=f"Ida {n} of Bergen", n=n).with_inputs("ship") for n in range(first, first + count)]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
