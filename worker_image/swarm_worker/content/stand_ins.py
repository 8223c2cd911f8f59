"""Replaces functions of DSPy by ours, and remembers the originals.

Objects that travel may contain our functions: GEPA collects traces with a closure over a program's `forward`. In
digests and payloads, our functions count as the originals, because a worker has the originals.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

_stock: dict[Callable[..., Any], types.FunctionType] = {}


def put(owner: type, name: str, function: Callable[..., Any]) -> None:
    """Replaces a method of a class. The function gets the method's name, so pickle stores only this name."""
    stock = getattr(owner, name)
    _stock[function] = stock_of(stock)
    setattr(owner, name, functools.wraps(stock)(function))


def stock_of(function: types.FunctionType) -> types.FunctionType:
    """Returns the original that one of our functions replaces. Other functions are returned unchanged."""
    return _stock.get(function, function)
