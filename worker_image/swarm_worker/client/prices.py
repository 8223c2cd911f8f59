"""Avoids DSPy's work for the prices of LM calls: a download, and a search after every call.

For a model that is not in its price list, DSPy searches the whole list, which takes a quarter of a worker's CPU time.
The list does not change while a process runs, so each model is looked up once.
"""

import copy
import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

_USERS = ("dspy.clients.costs", "dspy.clients.capabilities")


def keep_offline() -> None:
    """Keeps LiteLLM from downloading a newer price list. Call this before DSPy needs a price or imports LiteLLM."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


def remember() -> None:
    """Makes DSPy cache its look-ups. Does nothing for a DSPy without such a list."""
    try:
        users = [importlib.import_module(name) for name in _USERS]
        model_info = importlib.import_module("dspy.clients.model_metadata").model_info
    except (ImportError, AttributeError):
        return
    remembering = remembered(model_info)
    for user in users:
        user.model_info = remembering  # type: ignore[attr-defined]


def remembered(look_up: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Returns a function that calls `look_up` once for the same arguments. Each caller gets a copy of the result."""

    @functools.cache
    def known(provider: Any, model: Any, namespaces: Any) -> dict[str, Any]:
        return look_up(provider, model, namespaces=namespaces)

    @functools.wraps(look_up)
    def found(provider: Any, model: Any, *, namespaces: Any = None) -> dict[str, Any]:
        return copy.deepcopy(known(provider, model, namespaces if namespaces is None else tuple(namespaces)))

    return found
