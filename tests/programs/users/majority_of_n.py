"""The program takes the `dspy.majority` of several completions of one call, and makes rollouts by `rollout_id`."""

import dspy


class Votes(dspy.Module):
    def __init__(self):
        super().__init__()
        self.votes = dspy.Predict("question -> answer", n=3, temperature=0.8)
        self.again = dspy.ChainOfThought("question, majority -> final")

    def forward(self, question):
        majority = dspy.majority(self.votes(question=question).completions).answer
        rolls = [
            self.again(question=question, majority=majority, config={"rollout_id": n, "temperature": 0.5 + n / 4}).final
            for n in range(2)
        ]
        return dspy.Prediction(answer=min(rolls, key=len), majority=majority)


program = Votes


def metric(example, pred, trace=None):
    return (example.word in pred.majority) / 2 + (example.word in pred.answer) / 2


def examples(first, count):
    return [
        dspy.Example(question=f"who repairs net {n}", word=("repairs", "net", "who")[n % 3]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 9)
