"""Counts LM calls and tokens where they are made.

DSPy's own usage tracker is copied for each thread of a nested executor and loses what those threads used; a meter is
shared. It is found through `dspy.settings`, whose overrides DSPy carries into the threads that it starts itself.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.clients import execution

from swarm_wire.messages import Usage

_SETTING = "swarm_meter"
_installed = threading.Event()


class Meter:
    """Adds up the usage of LM calls from any thread. Calls that DSPy's cache answered cost nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usage = Usage()

    def add(self, calls: int, usage: dict[str, Any]) -> None:
        more = Usage(
            calls=calls,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
        )
        with self._lock:
            self._usage += more

    @property
    def usage(self) -> Usage:
        with self._lock:
            return self._usage

    def __deepcopy__(self, memo: object) -> "Meter":
        return self


@contextmanager
def metered() -> Iterator[Meter]:
    """Within the block, LM calls of this context (and of threads that DSPy starts in it) count for the meter.

    `install` must have been called in this process.
    """
    meter = Meter()
    with dspy.context(**{_SETTING: meter}):
        yield meter


def install() -> None:
    """Makes LM calls of this process countable. Before any other hook, so that those count too."""
    if _installed.is_set():
        return
    _installed.set()
    stock, stock_async = execution.execute, execution.aexecute

    def execute(lm: Any, call: Any) -> Any:
        return _count(stock(lm, call))

    async def aexecute(lm: Any, call: Any) -> Any:
        return _count(await stock_async(lm, call))

    execution.execute, execution.aexecute = execute, aexecute


def _count(result: Any) -> Any:
    meter = dspy.settings.get(_SETTING)
    if meter is not None and not result.cache_hit:
        meter.add(max(1, len(result.responses)), result.usage)
    return result
