"""`dspy.BestOfN` and `dspy.Refine` count failed attempts on themselves, from each example to the next.

The examples of a wave run side by side, in many processes. So each of them begins with the count that the plan's
program has, whatever other examples there are in its process.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dspy

_SETTING = "swarm_counts_apart"


def install() -> None:
    """Makes `counting_apart` work in this process."""
    for kind in (dspy.BestOfN, dspy.Refine):
        kind.forward = _apart(kind.forward)


def _apart(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def forward(module: Any, **arguments: Any) -> Any:
        # The copy shares all but the count.
        return stock(copy.copy(module) if dspy.settings.get(_SETTING) else module, **arguments)

    return forward


@contextmanager
def counting_apart() -> Iterator[None]:
    """Within the block no call changes what the modules of a program have counted."""
    with dspy.context(**{_SETTING: True}):
        yield
