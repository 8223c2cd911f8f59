"""Programs and metrics, as users write them, that hold objects that DSPy cannot copy."""

import logging
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import httpx

SHARED = httpx.Client(verify=False)
"""A client in a variable of the module."""


def look_up(text: str) -> str:
    """Finds a page with the client at module level."""
    return f"{text} {type(SHARED).__name__}"


class Retriever:
    """A user's class around the client of a vector store."""

    def __init__(self, k: int = 3) -> None:
        self.http, self.k = httpx.Client(verify=False), k

    def __call__(self, text: str) -> list[str]:
        return [f"{text} {number}" for number in range(self.k)]


class Holder(dspy.Module):
    """A program with an attribute `held`, which the test chooses."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held
        self.answer = dspy.Predict("text -> label")

    def forward(self, text: str) -> Any:
        return self.answer(text=text)


class OwnLock(dspy.Module):
    """Guards its connection with its lock. Both must be the original objects, not copies."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.connection = threading.Lock(), sqlite3.connect(":memory:", check_same_thread=False)
        self.answer = dspy.Predict("text -> label")


class OwnClient(httpx.Client):
    """A user's subclass of `httpx.Client`."""


def pages() -> Iterator[str]:
    yield from ("one", "two")


def searching(client: Any) -> Any:
    def search(text: str) -> str:
        """Searches."""
        return f"{text} {client}"

    return search


HELD: dict[str, Any] = {
    "client": lambda: httpx.Client(verify=False),
    "client within an object": Retriever,
    "client in a dict": lambda: {"a": Retriever(), "b": [httpx.Client(verify=False)]},
    "extended client": lambda: OwnClient(verify=False),
    "connection": lambda: sqlite3.connect(":memory:", check_same_thread=False),
    "open file": lambda: tempfile.TemporaryFile("w"),  # noqa: SIM115
    "lock": threading.Lock,
    "reentrant lock": threading.RLock,
    "condition": threading.Condition,
    "semaphore": lambda: threading.Semaphore(2),
    "event": threading.Event,
    "thread pool": ThreadPoolExecutor,
    "lambda": lambda: lambda text: (text, SHARED),
    "client at module level": lambda: SHARED,
    "function that uses it": lambda: look_up,
    "tool": lambda: dspy.Tool(searching(httpx.Client(verify=False))),
    "agent": lambda: dspy.ReAct("text -> label", tools=[searching(httpx.Client(verify=False)), look_up]),
    "logger": lambda: logging.getLogger("app"),
    "bound method": lambda: Retriever().http.get,
}


def metric_with(client: Any) -> Any:
    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        return bool(client) and example.label == prediction.label

    return metric


class Judge:
    """A metric that has a client as an attribute."""

    def __init__(self) -> None:
        self.http = httpx.Client(verify=False)

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> bool:
        return bool(example.label == prediction.label)


KEY = "sk-of-the-users-own-5f1c"


class OwnModels(dspy.Module):
    """A program whose predictors each have their own model with its own key."""

    def __init__(self) -> None:
        super().__init__()
        self.draft, self.final = dspy.Predict("text -> draft"), dspy.Predict("text, draft -> label")
        self.draft.lm = dspy.LM("openai/small", api_base="http://m/v1", api_key=KEY)
        self.final.lm = dspy.LM("openai/large", api_base="http://m/v1", api_key=KEY + "-2")
        self.search = {"api_key": KEY + "-3"}
