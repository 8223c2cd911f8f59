"""The program has modules in dicts and lists, one predictor in two places, a deep copy, and signatures made by hand."""

import dspy

BASE = (
    dspy.Signature("text -> summary")
    .with_instructions("Sum it up.")
    .append("score", dspy.OutputField(desc="0 to 9"), type_=int)
)


class Step(dspy.Module):
    def __init__(self, shared, name):
        super().__init__()
        self.shared, self.name = shared, name
        self.own = dspy.Predict(dspy.Signature(f"summary, step -> {name}"))

    def forward(self, text):
        summary = self.shared(text=text).summary
        return getattr(self.own(summary=summary, step=self.name), self.name)


class Tree(dspy.Module):
    def __init__(self):
        super().__init__()
        shared = dspy.Predict(BASE)
        self.steps = {name: Step(shared, name) for name in ("cause", "effect")}
        self.checks = [dspy.Predict("claim -> ok: bool"), dspy.Predict("claim -> ok: bool").deepcopy()]

    def forward(self, text):
        claims = {name: step(text=text) for name, step in self.steps.items()}
        votes = [check(claim=claim).ok for check, claim in zip(self.checks, claims.values())]
        return dspy.Prediction(votes=votes, **claims)


program = Tree


def metric(example, pred, trace=None):
    return sum(pred.votes) / 4 + (example.word in pred.cause) / 2


def examples(first, count):
    return [
        dspy.Example(text=f"rope {n} broke in the storm", word=("rope", "storm")[n % 2]).with_inputs("text")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 9)
