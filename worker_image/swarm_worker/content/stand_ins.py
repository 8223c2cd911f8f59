"""Functions of ours in the place of DSPy's.

Objects may hold them: where GEPA collects traces, it takes a program's `forward` and puts it into a closure. There they
count, and travel, as the functions that they stand for: a worker has nothing else in that place.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

_stock: dict[Callable[..., Any], types.FunctionType] = {}


def put(owner: type, name: str, function: Callable[..., Any]) -> None:
    """Replaces a method of a class. The function gets its names: pickle then stores no more than these."""
    stock = getattr(owner, name)
    _stock[function] = stock_of(stock)
    setattr(owner, name, functools.wraps(stock)(function))


def stock_of(function: types.FunctionType) -> types.FunctionType:
    """What a function stands for; itself, if it is none of ours."""
    return _stock.get(function, function)
