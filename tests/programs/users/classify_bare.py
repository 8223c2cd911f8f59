"""From the classification tutorial: the program is a bare predictor, which the module makes at its import."""

from typing import Literal

import dspy

OFFICES = ("berth", "fuel", "repair", "customs", "pilot")

program = dspy.Predict(
    dspy.Signature("message -> office", "Which office handles the radio message?").with_updated_fields(
        "office", type_=Literal[OFFICES]
    )
)
WORDS = ("mooring at", "diesel for", "broken pump on", "papers of", "fog around")


def metric(example, pred, trace=None):
    return example.office == pred.office


def feedback(example, pred, trace=None, pred_name=None, pred_trace=None):
    return dspy.Prediction(score=float(metric(example, pred)), feedback=f"It belongs to {example.office}.")


def examples(first, count):
    return [
        dspy.Example(message=f"{WORDS[n % 5]} vessel {n}", office=OFFICES[n % 5]).with_inputs("message")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 12)


def validation():
    return examples(50, 20)
