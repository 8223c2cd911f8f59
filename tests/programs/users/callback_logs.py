"""From the tutorial on observability: a callback logs calls, and the program uses a logger."""

import logging

import dspy
from dspy.utils.callback import BaseCallback

logger = logging.getLogger("harbour")


class Logging(BaseCallback):
    def on_module_end(self, call_id, outputs, exception):
        for key, value in dict(outputs or {}).items():
            logger.info("%s: %s", key, value)

    def on_lm_start(self, call_id, instance, inputs):
        logger.info("asked %s", instance.model)


dspy.configure(callbacks=[Logging()])


class Sort(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("cargo -> hold: int")

    def forward(self, cargo):
        found = self.sort(cargo=cargo)
        logger.warning("hold %s", found.hold)
        return found


program = Sort


def metric(example, pred, trace=None):
    return example.hold == pred.hold % 3


def examples(first, count):
    return [
        dspy.Example(cargo=f"crate {n} of tea", hold=n % 3).with_inputs("cargo") for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
