"""The program is that of `refine_raises` with DSPy's default limit of failures. `dspy.Refine` counts failures of all
examples."""

import dspy


def names_the_ship(args, pred):
    if pred.answer.split()[0].isdigit():
        raise ValueError(f"{pred.answer} is no name")
    return float(len(pred.answer.split()) == 2)


class Name(dspy.Module):
    def __init__(self):
        super().__init__()
        draft = dspy.Predict("question -> answer")
        self.name = dspy.Refine(module=draft, N=2, reward_fn=names_the_ship, threshold=1.0)

    def forward(self, question):
        found = self.name(question=question)
        return dspy.Prediction(answer=found.answer if found else "none")


program = Name


def metric(example, pred, trace=None):
    return len(pred.answer) % 3 == example.n % 3


def examples(first, count):
    return [
        dspy.Example(question=f"Which ship lies at {n} or {n + 1} ?", n=n).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
