"""The prediction cannot be pickled, since it holds a Python generator, which the metric reads."""

import dspy


class Steps(dspy.Module):
    def __init__(self):
        super().__init__()
        self.plan = dspy.Predict("goal -> steps: list[str]")

    def forward(self, goal):
        steps = self.plan(goal=goal).steps
        return dspy.Prediction(steps=(step.strip() for step in steps), count=len(steps))


program = Steps


def metric(example, pred, trace=None):
    return any(example.word in step for step in pred.steps)


def examples(first, count):
    return [
        dspy.Example(goal=f"Dry dock {n}", word=("Dry", "dock")[n % 2]).with_inputs("goal")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
