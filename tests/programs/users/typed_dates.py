"""An input is a date. Outputs are a pydantic model with a validator and a union of numbers."""

from datetime import date

import dspy
from pydantic import BaseModel, Field, field_validator


class Slot(BaseModel):
    """A time at a berth."""

    berth: int = Field(ge=0, le=9)
    note: str

    @field_validator("note")
    @classmethod
    def not_empty(cls, value):
        if len(value) > 12:
            raise ValueError("too long a note")
        return value


class Plan(dspy.Signature):
    """Find a slot for a ship."""

    arrives: date = dspy.InputField()
    ship: str = dspy.InputField()
    slot: Slot = dspy.OutputField()
    fee: int | float = dspy.OutputField()


class Planner(dspy.Module):
    def __init__(self):
        super().__init__()
        self.plan = dspy.Predict(Plan)

    def forward(self, arrives, ship):
        return self.plan(arrives=arrives, ship=ship)


program = Planner


def metric(example, pred, trace=None):
    return pred.slot.berth % 4 == example.arrives.day % 4


def examples(first, count):
    return [
        dspy.Example(arrives=date(2026, 3, 1 + n % 28), ship=f"Ida {n}").with_inputs("arrives", "ship")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
