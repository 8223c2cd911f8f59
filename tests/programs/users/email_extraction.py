"""From the e-mail tutorial: three predictors in a row have enums, pydantic models and optional fields."""

from enum import Enum

import dspy
from pydantic import BaseModel


class Kind(str, Enum):
    ORDER = "order"
    SUPPORT = "support"
    INVOICE = "invoice"


class Urgency(str, Enum):
    LOW = "low"
    HIGH = "high"


class Entity(BaseModel):
    entity_type: str
    value: str
    confidence: float


class Classify(dspy.Signature):
    """Classify the type and the urgency of an e-mail."""

    subject: str = dspy.InputField(desc="the subject line")
    body: str = dspy.InputField()
    kind: Kind = dspy.OutputField(desc="the type of e-mail")
    urgency: Urgency = dspy.OutputField()


class Extract(dspy.Signature):
    """Extract what an e-mail speaks of."""

    content: str = dspy.InputField()
    kind: Kind = dspy.InputField()
    entities: list[Entity] = dspy.OutputField()
    amount: float | None = dspy.OutputField(desc="money that is mentioned")
    dates: list[str] = dspy.OutputField()


class Act(dspy.Signature):
    """Say what is to be done."""

    kind: Kind = dspy.InputField()
    urgency: Urgency = dspy.InputField()
    entities: list[Entity] = dspy.InputField()
    action_required: bool = dspy.OutputField()
    deadline: str | None = dspy.OutputField()
    priority: int = dspy.OutputField(ge=1, le=5)


class Emails(dspy.Module):
    def __init__(self):
        super().__init__()
        self.classifier = dspy.ChainOfThought(Classify)
        self.extractor = dspy.Predict(Extract)
        self.actions = dspy.Predict(Act)

    def forward(self, subject: str, body: str):
        seen = self.classifier(subject=subject, body=body)
        found = self.extractor(content=f"{subject}\n\n{body}", kind=seen.kind)
        act = self.actions(kind=seen.kind, urgency=seen.urgency, entities=found.entities)
        return dspy.Prediction(
            kind=seen.kind, urgency=seen.urgency, amount=found.amount, act=act.action_required, priority=act.priority
        )


program = Emails


def metric(example, pred, trace=None):
    return (2 * (pred.kind == example.kind) + (pred.act is True) + (pred.priority > 2)) / 4


def examples(first, count):
    kinds = list(Kind)
    return [
        dspy.Example(
            subject=f"{kinds[n % 3].value} {n}", body=f"We owe {n * 3} euros since May {n % 28}.", kind=kinds[n % 3]
        ).with_inputs("subject", "body")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
