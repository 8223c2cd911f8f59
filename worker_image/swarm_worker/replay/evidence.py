"""Collects the evidence of decisions that DSPy's predictors record for some optimizers, such as ReAnchor.

Stock DSPy appends evidence to a list in the optimizer's process. Here each cell of such a wave has its own list, which
is part of its result. The plan appends these lists to the optimizer's list, in the order of the items.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

_SETTING = "_decision_evidence"
"""DSPy's setting with the list and its lock."""


def is_collected() -> bool:
    """Whether evidence is being collected."""
    return dspy.settings.get(_SETTING) is not None


@dataclass(frozen=True)
class Recorded:
    """A wave's function that also returns its evidence."""

    function: Callable[[Any], Any]

    def __call__(self, item: Any) -> tuple[Any, list[Any]]:
        log: list[Any] = []
        with dspy.context(**{_SETTING: (log, threading.Lock())}):
            return self.function(item), log


def collected(returned: tuple[Any, list[Any]]) -> Any:
    """The value of a cell. Appends its evidence to the current list."""
    value, entries = returned
    log, lock = dspy.settings.get(_SETTING)
    with lock:
        log.extend(entries)
    return value
