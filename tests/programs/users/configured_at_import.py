"""The module configures a model and other settings at its import, as the first lines of every tutorial do."""

import os

import dspy

lm = dspy.LM("openai/from-the-tutorial", api_base=os.environ["PROVIDER"], api_key="none")
dspy.configure(lm=lm, track_usage=True, num_threads=3, warn_on_type_mismatch=False, provide_traceback=True)


class Sort(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sort = dspy.ChainOfThought("message -> urgent: bool")

    def forward(self, message):
        return self.sort(message=message)


program = Sort()


def metric(example, pred, trace=None):
    return example.urgent == pred.urgent


def feedback(example, pred, trace=None, pred_name=None, pred_trace=None):
    return dspy.Prediction(score=float(metric(example, pred)), feedback=f"urgent is {example.urgent}")


def examples(first, count):
    return [
        dspy.Example(message=f"Leak {n} in the hold", urgent=n % 3 != 0).with_inputs("message")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
