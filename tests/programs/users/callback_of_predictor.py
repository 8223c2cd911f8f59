"""A callback on one predictor keeps what it saw, and the program reads it within the same example."""

import dspy
from dspy.utils.callback import BaseCallback


class Recorder(BaseCallback):
    def __init__(self):
        self.last = "nothing"

    def on_module_end(self, call_id, outputs, exception=None):
        if outputs is not None:
            self.last = outputs.draft


class Notes(dspy.Module):
    def __init__(self):
        super().__init__()
        self.recorder = Recorder()
        self.draft = dspy.Predict("topic -> draft", callbacks=[self.recorder])
        self.title = dspy.Predict("topic, draft -> title")

    def forward(self, topic):
        self.recorder.last = "nothing"
        self.draft(topic=topic)
        return self.title(topic=topic, draft=self.recorder.last)


program = Notes


def metric(example, pred, trace=None):
    return example.word in pred.title


def examples(first, count):
    return [
        dspy.Example(topic=f"lantern {n} burns", word=("lantern", "burns")[n % 2]).with_inputs("topic")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
