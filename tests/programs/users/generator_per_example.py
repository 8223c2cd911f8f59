"""Each example seeds its own random generator, so its order of options is random but always the same."""

import random

import dspy


class Quiz(dspy.Module):
    def __init__(self):
        super().__init__()
        self.choose = dspy.ChainOfThought("question, options: list[str] -> choice: int")

    def forward(self, question, options):
        order = random.Random(question).sample(range(len(options)), len(options))
        found = self.choose(question=question, options=[options[n] for n in order])
        return dspy.Prediction(choice=options[order[found.choice % len(options)]])


program = Quiz


def metric(example, pred, trace=None):
    return example.choice == pred.choice


def examples(first, count):
    return [
        dspy.Example(
            question=f"Signal {n} means", options=["stop", "go", "slow"], choice=("go", "slow")[n % 2]
        ).with_inputs("question", "options")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
