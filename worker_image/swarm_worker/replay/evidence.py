"""The evidence of decisions that DSPy's predictors record while an optimizer collects it, as ReAnchor does.

Stock DSPy appends it to a list in the optimizer's process. A cell of such a wave has a list of its own, which is part
of its result; the plan appends that to the optimizer's list, in the order of the items.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

_SETTING = "_decision_evidence"
"""DSPy's: the list, and its lock."""


def is_collected() -> bool:
    """Whether the code that runs here collects evidence."""
    return dspy.settings.get(_SETTING) is not None


@dataclass(frozen=True)
class Recorded:
    """A wave's function that returns what was recorded as well."""

    function: Callable[[Any], Any]

    def __call__(self, item: Any) -> tuple[Any, list[Any]]:
        log: list[Any] = []
        with dspy.context(**{_SETTING: (log, threading.Lock())}):
            return self.function(item), log


def collected(returned: tuple[Any, list[Any]]) -> Any:
    """The value of a cell, once what it recorded is in the list of the code that runs here."""
    value, entries = returned
    log, lock = dspy.settings.get(_SETTING)
    with lock:
        log.extend(entries)
    return value
