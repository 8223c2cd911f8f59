"""Which of four teams answers this ticket? One predictor, small enough for a model of half a million parameters."""

from typing import Any, Literal

import dspy

Team = Literal["billing", "shipping", "hardware", "connectivity"]


class Sort(dspy.Signature):
    """Assign the ticket to the team that answers it."""

    ticket: str = dspy.InputField()
    team: Team = dspy.OutputField()


sort = dspy.Predict(Sort)
"""The program to compile."""


def metric(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
    """Whether the ticket is at the right team."""
    return bool(prediction.team == example.team)
