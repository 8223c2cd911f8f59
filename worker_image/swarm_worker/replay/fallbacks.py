"""Tells LM calls that repeat a question from those that ask it first.

If DSPy cannot read an answer, `ChatAdapter` asks again by `JSONAdapter`, and DSPy 3.3's `JSONAdapter` asks once more in
plain JSON. Such a call costs as much as the first one, and a tuned model has never seen its prompt.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from dspy.adapters.chat_adapter import ChatAdapter
from dspy.adapters.json_adapter import JSONAdapter

from swarm_worker.content import stand_ins


@dataclass
class _Question:
    """What a predictor asks. An adapter that asks again passes on the same inputs."""

    inputs: Any
    is_answered: bool = False


_asked: ContextVar[_Question | None] = ContextVar("asked", default=None)


def install() -> None:
    """Makes `repeats` work in this process."""
    for kind in (ChatAdapter, JSONAdapter):
        stand_ins.put(kind, "__call__", _asking(kind.__call__))
        stand_ins.put(kind, "acall", _asking_later(kind.acall))


def repeats() -> bool:
    """Notes that a model has answered. Returns whether it has answered the same question before."""
    if (question := _asked.get()) is None:
        return False
    before, question.is_answered = question.is_answered, True
    return before


def _asking(stock: Callable[..., Any]) -> Callable[..., Any]:
    def call(adapter: Any, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        with _question(inputs):
            return stock(adapter, lm, lm_kwargs, signature, demos, inputs)

    return call


def _asking_later(stock: Callable[..., Any]) -> Callable[..., Any]:
    async def acall(adapter: Any, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        with _question(inputs):
            return await stock(adapter, lm, lm_kwargs, signature, demos, inputs)

    return acall


@contextmanager
def _question(inputs: Any) -> Iterator[None]:
    """Within the block, a question is asked. A tool or a type of the user's may ask another one within it."""
    outer = _asked.get()
    if outer is not None and outer.inputs is inputs:
        yield
        return
    token = _asked.set(_Question(inputs))
    try:
        yield
    finally:
        _asked.reset(token)
