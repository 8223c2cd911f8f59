"""A program that decides whether people can rely on its own answer.

The optimizer reAnchor fits the threshold of this decision.
"""

from typing import Any

import dspy
from dspy.experimental import Noul

from triage import Category


class Classify(dspy.Signature):
    """Decide which team answers the ticket."""

    ticket: str = dspy.InputField()
    category: Category = dspy.OutputField(desc="the team")
    reliable: Noul = dspy.OutputField(desc="whether the category is certain enough to do without a person")


class Sure(dspy.Module):
    """Classifies a ticket, and says whether the answer needs no check by a person."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = dspy.Predict(Classify)

    def forward(self, ticket: str) -> Any:
        found = self.classify(ticket=ticket)
        return dspy.Prediction(category=found.category, reliable=found.reliable.value)


def metric(example: Any, prediction: Any, trace: Any = None) -> float:
    """Returns the value of an answer: 1 if it is right, 0 if it is wrong, 0.8 if the program asks a person."""
    return float(prediction.category == example.category) if prediction.reliable else 0.8
