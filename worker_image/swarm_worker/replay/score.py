"""Checks a metric's values: stock DSPy must be able to compute a finite percentage from them."""

import functools
import inspect
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from swarm_wire.names import WorkerReason
from swarm_worker.content.masking import beginning
from swarm_worker.errors import BadInput

WRITE = "Return a bool, a finite number (between 0 and 1, say), or a dspy.Prediction(score=..., feedback=...)."
VALUE = 100
"""How many characters of a value a message shows at most."""


def check(score: Any, metric: Callable[..., Any]) -> None:
    """Raises BadInput if an evaluation cannot compute a percentage from the metric's value."""
    try:
        number = float(round(100 * sum([score]), 2))  # dspy.Evaluate does the same with all values
    except Exception:
        raise _refusal(_told(score), metric) from None
    finally:
        if inspect.iscoroutine(score):
            score.close()
    if not isfinite(number):
        raise _refusal(f"{score!r}", metric)


def check_all(score: float, metric: Callable[..., Any]) -> None:
    """Raises BadInput if the average of the values is not finite."""
    if not isfinite(score):
        raise _refusal(f"values whose average is {score!r}", metric)


def defined_at(function: Any) -> str:
    """Returns file and line of a function, or of an object's `__call__`. If there are none, returns the repr."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    called = function if hasattr(function, "__code__") else vars(type(function)).get("__call__")
    code = getattr(called, "__code__", None)
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}" if code else repr(function)


def _told(score: Any) -> str:
    if inspect.iscoroutine(score):
        return "a coroutine (it is an async function; write one that is not)"
    if score is None:
        return "None"
    return f"a {type(score).__name__} ({_shown(score)})"


def _shown(score: Any) -> str:
    try:
        text = repr(score)
    except Exception:  # a user's own `__repr__` may raise any exception
        return "that cannot be shown"
    shown = beginning(text, VALUE + 1)
    return shown if len(shown) <= VALUE else f"{shown[:VALUE]}..."


def _refusal(what: str, metric: Callable[..., Any]) -> BadInput:
    return BadInput(
        WorkerReason.EVALUATION_FAILED, f"the metric ({defined_at(metric)}) returns {what}, which is no score. {WRITE}"
    )
