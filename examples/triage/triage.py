"""Support-ticket triage for Brewell, maker of connected coffee machines: which team answers this ticket?"""

from typing import Any, Literal

import dspy

Category = Literal[
    "billing", "subscription", "shipping", "returns", "hardware", "connectivity", "account", "usage", "feedback"
]


class Extract(dspy.Signature):
    """Say what the customer wants settled."""

    ticket: str = dspy.InputField()
    problem: str = dspy.OutputField(desc="one sentence, close to the customer's words")


class Classify(dspy.Signature):
    """Assign the ticket to the team that answers it."""

    ticket: str = dspy.InputField()
    problem: str = dspy.InputField()
    category: Category = dspy.OutputField()
    confidence: float = dspy.OutputField(desc="between 0 and 1")


class Triage(dspy.Module):
    """Ticket -> problem, category, confidence."""

    def __init__(self) -> None:
        super().__init__()
        self.extract = dspy.Predict(Extract)
        self.classify = dspy.ChainOfThought(Classify)

    def forward(self, ticket: str) -> dspy.Prediction:
        problem = self.extract(ticket=ticket).problem
        found = self.classify(ticket=ticket, problem=problem)
        return dspy.Prediction(problem=problem, category=found.category, confidence=found.confidence)


def metric(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
    """Whether the category is right. In a demonstration, the teacher must also have been sure of it."""
    right = bool(prediction.category == example.category)
    return right if trace is None else right and prediction.confidence >= 0.5


def told(
    example: dspy.Example, prediction: dspy.Prediction, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Returns the score of `metric`, with a feedback for GEPA that names the right team."""
    right = metric(example, prediction, trace)
    feedback = "Right." if right else f"This ticket belongs to {example.category}, not to {prediction.category}."
    return dspy.Prediction(score=float(right), feedback=feedback)
