"""From the RAG tutorial: corpus, embedder and search are at module level, and SemanticF1 is the metric."""

import hashlib

import dspy
from dspy.evaluate import SemanticF1

CORPUS = [f"Quay {n} handles {cargo} under permit {n * 7}." for n in range(8) for cargo in ("coal", "grain", "steel")]


def embed(texts):
    return [[byte / 255 for byte in hashlib.sha256(text.encode()).digest()] for text in texts]


embedder = dspy.Embedder(embed)
search = dspy.retrievers.Embeddings(embedder=embedder, corpus=CORPUS, k=3)


class RAG(dspy.Module):
    def __init__(self):
        self.respond = dspy.ChainOfThought("context, question -> response")

    def forward(self, question):
        context = search(question).passages
        return self.respond(context=context, question=question)


program = RAG
metric = SemanticF1(decompositional=True)


def examples(first, count):
    return [
        dspy.Example(question=f"Which permit does cargo {n} need?", response=f"Permit {n * 7} of quay {n}").with_inputs(
            "question"
        )
        for n in range(first, first + count)
    ]


def train():
    return examples(0, 8)


def validation():
    return examples(20, 10)
