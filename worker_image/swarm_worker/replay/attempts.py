"""Isolates the failure counts of `dspy.BestOfN` and `dspy.Refine`, which carry over from example to example.

The examples of a wave run concurrently, in many processes. So each example begins with the count of the plan's program,
whatever other examples its process has run.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dspy

from swarm_wire.names import WorkerReason
from swarm_worker.replay.calls import refuse

_SETTING = "swarm_counts_apart"
REFUSES = "refuses"


def install() -> None:
    """Makes `counting_apart` work in this process."""
    for kind in (dspy.BestOfN, dspy.Refine):
        kind.forward = _apart(kind.forward)


def _apart(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def forward(module: Any, **arguments: Any) -> Any:
        counts_apart = dspy.settings.get(_SETTING)
        # The copy shares all attributes with the module, but counts for itself.
        apart = module if counts_apart is None else copy.copy(module)
        try:
            return stock(apart, **arguments)
        finally:
            if counts_apart == REFUSES and apart.fail_count != module.fail_count:
                refuse(
                    WorkerReason.ORDER_DEPENDENT,
                    f"an attempt of dspy.{type(module).__name__} failed, and its fail_count counts that from example "
                    "to example: which example raises in stock DSPy depends on their order. Let the program and the "
                    "reward function return a bad score instead of raising.",
                )

    return forward


@contextmanager
def counting_apart(*, refuses: bool = False) -> Iterator[None]:
    """Within the block, calls do not change the failure counts of a program's modules.

    Args:
        refuses: whether a failed attempt ends the run.
    """
    with dspy.context(**{_SETTING: REFUSES if refuses else "apart"}):
        yield
