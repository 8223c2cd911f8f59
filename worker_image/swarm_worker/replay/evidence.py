"""Collects decision evidence, which DSPy's predictors record for some optimizers, such as ReAnchor.

Stock DSPy appends evidence to a list in the optimizer's process. Here each cell has its own list, which is part of the
cell's result. The plan appends these lists to the optimizer's list, in the order of the items.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

_SETTING = "_decision_evidence"
"""Name of DSPy's setting that holds the list of evidence and the list's lock."""


def is_collected() -> bool:
    """Whether evidence is being collected."""
    return dspy.settings.get(_SETTING) is not None


@dataclass(frozen=True)
class Recorded:
    """Calls a wave's function, and returns its value and its evidence."""

    function: Callable[[Any], Any]

    def __call__(self, item: Any) -> tuple[Any, list[Any]]:
        log: list[Any] = []
        with dspy.context(**{_SETTING: (log, threading.Lock())}):
            return self.function(item), log


def collected(returned: tuple[Any, list[Any]]) -> Any:
    """Appends a cell's evidence to the optimizer's list, and returns the cell's value."""
    value, entries = returned
    log, lock = dspy.settings.get(_SETTING)
    with lock:
        log.extend(entries)
    return value
