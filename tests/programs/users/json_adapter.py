"""The module configures the JSON adapter. Outputs are nested pydantic models, dicts and a `Literal`."""

from typing import Literal

import dspy
import pydantic

dspy.configure(adapter=dspy.JSONAdapter())


class Cargo(pydantic.BaseModel):
    name: str
    tons: int
    tags: list[str] = []


class Manifest(dspy.Signature):
    """Read the ship's papers."""

    papers: str = dspy.InputField()
    cargo: list[Cargo] = dspy.OutputField()
    weights: dict[str, int] = dspy.OutputField()
    risk: Literal["none", "some", "high"] = dspy.OutputField()


class Reader(dspy.Module):
    def __init__(self):
        super().__init__()
        self.read = dspy.ChainOfThought(Manifest)

    def forward(self, papers):
        return self.read(papers=papers)


program = Reader


def metric(example, pred, trace=None):
    return (pred.risk == example.risk) * 0.7 + 0.3 * (sum(one.tons for one in pred.cargo) % 2 == 0)


def examples(first, count):
    return [
        dspy.Example(papers=f"{n} sacks of salt, {n % 4} drums", risk=("none", "some", "high")[n % 3]).with_inputs(
            "papers"
        )
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
