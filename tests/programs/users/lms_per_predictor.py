"""One predictor has its model by `set_lm`, one by the `lm=` of a call, and the others have the configured model."""

import os

import dspy


def lm(name, **kwargs):
    return dspy.LM(f"openai/{name}", api_base=os.environ["PROVIDER"], api_key="none", **kwargs)


class Relay(dspy.Module):
    def __init__(self):
        super().__init__()
        self.draft = dspy.ChainOfThought("topic -> draft")
        self.review = dspy.Predict("draft -> remarks: list[str]", temperature=0.3)
        self.final = dspy.Predict("draft, remarks -> headline")
        self.review.set_lm(lm("reviewer", temperature=0.7))
        self.editor = lm("editor", max_tokens=300)

    def forward(self, topic):
        draft = self.draft(topic=topic).draft
        remarks = self.review(draft=draft).remarks
        return self.final(draft=draft, remarks=remarks, lm=self.editor)


program = Relay


def metric(example, pred, trace=None):
    return example.word in pred.headline


def examples(first, count):
    return [
        dspy.Example(topic=f"dredging of basin {n} delayed", word=("dredging", "basin", "delayed")[n % 3]).with_inputs(
            "topic"
        )
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
