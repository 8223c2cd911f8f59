"""Examples, and so demonstrations, contain a `dspy.Image`, from data or from an address."""

from typing import Literal

import dspy

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Look(dspy.Signature):
    """What does the harbour's camera show?"""

    picture: dspy.Image = dspy.InputField()
    camera: str = dspy.InputField()
    seen: Literal["ship", "crane", "water"] = dspy.OutputField()


class Watch(dspy.Module):
    def __init__(self):
        super().__init__()
        self.look = dspy.Predict(Look)

    def forward(self, picture, camera):
        return self.look(picture=picture, camera=camera)


program = Watch


def metric(example, pred, trace=None):
    return example.seen == pred.seen


def examples(first, count):
    kinds = ("ship", "crane", "water")
    pictures = [dspy.Image(PIXEL), dspy.Image("https://harbour.example/camera.png")]
    return [
        dspy.Example(picture=pictures[n % 2], camera=f"camera {n}", seen=kinds[n % 3]).with_inputs("picture", "camera")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
