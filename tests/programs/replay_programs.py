"""Programs and metrics that the replay tests compile. Plan and worker processes import them by name."""

import hashlib
from typing import Any

import dspy

from triage import Triage
from triage import metric as triage_metric

__all__ = ["Broken", "Failing", "One", "Twice", "Two", "exact", "partial", "triage_metric"]


class One(dspy.Module):
    """One predictor."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.ChainOfThought("ticket -> category")

    def forward(self, ticket: str) -> Any:
        return self.classify(ticket=ticket)


Two = Triage
"""Two predictors, with a typed output."""


class Twice(One):
    """Calls its predictor twice, so that bootstrapping has to choose between two traces of one example."""

    def forward(self, ticket: str) -> Any:
        self.classify(ticket=ticket + " (draft)")
        return self.classify(ticket=ticket)


class Failing(One):
    """Fails on about every sixth ticket."""

    def forward(self, ticket: str) -> Any:
        if hashlib.sha256(ticket.encode()).digest()[0] % 6 == 0:
            raise ValueError(f"cannot read {ticket[:12]!r}")
        return self.classify(ticket=ticket)


class Broken(One):
    """Fails on every ticket."""

    def forward(self, ticket: str) -> Any:
        raise KeyError("no such field")


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.category == prediction.category)


def partial(example: Any, prediction: Any, trace: Any = None) -> float:
    """Some credit for a near miss: scores that are not whole."""
    if example.category == prediction.category:
        return 1.0
    return 0.5 if str(prediction.category)[:1] == example.category[:1] else 0.0
