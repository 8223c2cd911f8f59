"""The module reads its configuration, a dataclass, from environment variables at its import."""

import os
from dataclasses import dataclass, field

import dspy


@dataclass(frozen=True)
class Config:
    department: str = os.environ.get("DEPARTMENT", "nobody")
    greetings: tuple = ("Ahoy", "Hello")
    limits: dict = field(default_factory=lambda: {"words": 3})


class Desk(dspy.Module):
    def __init__(self, config=None):
        super().__init__()
        self.config = config or Config()
        self.reply = dspy.Predict("department, greeting, letter -> reply")

    def forward(self, letter):
        greeting = self.config.greetings[len(letter) % 2]
        found = self.reply(department=self.config.department, greeting=greeting, letter=letter)
        return dspy.Prediction(
            reply=f"{greeting} {found.reply}", ok=len(found.reply.split()) < self.config.limits["words"]
        )


program = Desk


def metric(example, pred, trace=None):
    return (pred.ok and example.letter.split()[0] in pred.reply) or 0.1 * pred.ok


def examples(first, count):
    return [
        dspy.Example(letter=f"Fees {n}? {'Please.' * (n % 4)}").with_inputs("letter")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
