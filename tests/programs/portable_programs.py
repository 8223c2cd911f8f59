"""Programs and metrics that hold objects which a payload cannot contain by value.

They are in their own module, because it makes every process import numpy and httpx.
"""

import hashlib
import os
import sqlite3
import threading
from typing import Any

import dspy
import httpx

from replay_programs import One, exact
from triage import metric as triage_metric

__all__ = ["Connected", "One", "OwnModels", "Retrieving", "exact", "near"]


def vectors(texts: list[str]) -> list[list[float]]:
    return [[(byte - 128) / 128 for byte in hashlib.sha256(text.encode()).digest()] for text in texts]


def embeddings(k: int) -> Any:
    corpus = [f"handbook, page {number}" for number in range(20)]
    return dspy.retrievers.Embeddings(corpus=corpus, embedder=dspy.Embedder(vectors), k=k)


class Retrieving(dspy.Module):
    """A RAG program as in DSPy's tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.search = embeddings(2)
        self.classify = dspy.ChainOfThought("ticket, context: list[str] -> category")

    def forward(self, ticket: str) -> Any:
        return self.classify(ticket=ticket, context=self.search(ticket).passages)


class Handbook:
    """A user's class around a database."""

    def __init__(self) -> None:
        self.lock, self.http = threading.Lock(), httpx.Client(verify=False)
        self.pages = sqlite3.connect(":memory:", check_same_thread=False)
        self.pages.execute("create table pages (title)")
        self.pages.executemany("insert into pages values (?)", [(f"page {number}",) for number in range(9)])

    def __call__(self, text: str) -> str:
        with self.lock:
            [[title]] = self.pages.execute("select title from pages limit 1 offset ?", (len(text) % 9,))
        return str(title)


class Connected(dspy.Module):
    """A program that holds a connection, a lock and a client, both in an object and as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.search, self.client = Handbook(), httpx.Client(verify=False)
        self.classify = dspy.ChainOfThought("ticket, page -> category")

    def forward(self, ticket: str) -> Any:
        if self.client.is_closed or self.search.http.is_closed:
            raise ValueError("the client is closed")
        return self.classify(ticket=ticket, page=self.search(ticket))


class _Near:
    """A metric that gives half a point to a wrong answer if the retriever finds the label's page for it."""

    def __init__(self) -> None:
        self.search, self.client = embeddings(1), httpx.Client(verify=False)

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> float:
        if triage_metric(example, prediction):
            return 1.0
        pages = [self.search(text).passages for text in (example.category, prediction.category)]
        return 0.5 * float(pages[0] == pages[1])


near = _Near()


class OwnModels(dspy.Module):
    """A program whose predictors each have their own model with its own key."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = dspy.Predict("ticket -> summary")
        self.classify = dspy.ChainOfThought("ticket, summary -> category")
        for predictor, model in ((self.draft, "large"), (self.classify.predict, "small")):
            given = {"api_base": os.environ["OWN_MODELS"], "api_key": os.environ["OWN_KEY"]}
            predictor.lm = dspy.LM(f"openai/{model}", **given)

    def forward(self, ticket: str) -> Any:
        return self.classify(ticket=ticket, summary=self.draft(ticket=ticket).summary)
