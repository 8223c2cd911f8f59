"""With the two-step adapter, the model answers freely, and another model extracts the fields."""

import os

import dspy

extractor = dspy.LM("openai/extractor", api_base=os.environ["PROVIDER"], api_key="none")
dspy.configure(adapter=dspy.TwoStepAdapter(extraction_model=extractor))


class Solve(dspy.Module):
    def __init__(self):
        super().__init__()
        self.solve = dspy.Predict("problem -> answer: int, unit: str")

    def forward(self, problem):
        return self.solve(problem=problem)


program = Solve


def metric(example, pred, trace=None):
    return abs(pred.answer - example.answer) < 3


def examples(first, count):
    return [
        dspy.Example(problem=f"Knots of ship {n} with {n % 5} sails", answer=n % 9).with_inputs("problem")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
