"""The program uses `dspy.BestOfN` with a lambda as the reward, which replaces DSPy's former assertions."""

import dspy


class Short(dspy.Module):
    def __init__(self):
        super().__init__()
        draft = dspy.ChainOfThought("question -> answer")
        self.best = dspy.BestOfN(
            module=draft, N=3, reward_fn=lambda args, pred: 1.0 if len(pred.answer.split()) == 1 else 0.2, threshold=1.0
        )
        self.title = dspy.Predict("question, answer -> title")

    def forward(self, question):
        answer = self.best(question=question).answer
        return dspy.Prediction(answer=answer, title=self.title(question=question, answer=answer).title)


program = Short


def metric(example, pred, trace=None):
    return (len(pred.answer.split()) == 1) / 2 + (example.word in pred.title) / 2


def examples(first, count):
    return [
        dspy.Example(question=f"What is the call sign of tug {n}", word=("tug", "sign")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 12)
