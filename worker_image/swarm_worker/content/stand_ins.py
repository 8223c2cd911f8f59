"""Replaces functions of DSPy's by ours.

Objects may contain them: GEPA collects traces with a closure over a program's `forward`. In digests and payloads, they
count as the functions that they replace, because a worker has the original ones.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

_stock: dict[Callable[..., Any], types.FunctionType] = {}


def put(owner: type, name: str, function: Callable[..., Any]) -> None:
    """Replaces a method of a class. The function gets the method's names, so that pickle stores only those."""
    stock = getattr(owner, name)
    _stock[function] = stock_of(stock)
    setattr(owner, name, functools.wraps(stock)(function))


def stock_of(function: types.FunctionType) -> types.FunctionType:
    """The function that one of ours replaces; any other function itself."""
    return _stock.get(function, function)
