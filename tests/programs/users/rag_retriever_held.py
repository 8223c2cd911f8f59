"""The program has a retriever of DSPy as an attribute, which its constructor makes."""

import hashlib

import dspy

CORPUS = {f"notice {n}": f"Notice {n}: gate {n % 4} closes at {8 + n}." for n in range(12)}


class Notices(dspy.Module):
    def __init__(self, k=2):
        super().__init__()
        embedder = dspy.Embedder(lambda texts: [list(hashlib.sha256(t.encode()).digest()[:16]) for t in texts])
        self.search = dspy.retrievers.Embeddings(corpus=list(CORPUS.values()), embedder=embedder, k=k)
        self.answer = dspy.Predict("question, passages: list[str] -> gate: int")

    def forward(self, question):
        return self.answer(question=question, passages=self.search(question).passages)


def program():
    return Notices(k=3)


def metric(example, pred, trace=None):
    return example.gate == pred.gate % 4


def examples(first, count):
    return [
        dspy.Example(question=f"Where do I go by notice {n}?", gate=n % 4).with_inputs("question")
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(30, 12)
