"""The program itself calls a model with messages. The model has no cache, so every call is made anew."""

import os

import dspy

scribe = dspy.LM("openai/scribe", api_base=os.environ["PROVIDER"], api_key="none", cache=False, temperature=0.5)


class Note(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question, note -> answer")

    def forward(self, question):
        note = scribe(messages=[{"role": "user", "content": f"Note down: {question}"}])[0]
        return self.answer(question=question, note=note)


program = Note


def metric(example, pred, trace=None):
    return example.word in pred.answer


def examples(first, count):
    return [
        dspy.Example(question=f"when opens gate {n}", word=("opens", "gate")[n % 2]).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 6)


def validation():
    return examples(20, 9)
