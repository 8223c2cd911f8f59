"""How much of the long tables a run of the tests takes.

FIDELITY=whole (`make fidelity`) takes every kind, each day with other seeds; FIDELITY=all takes every seed.
"""

import os
import time
from collections.abc import Sequence
from typing import TypeVar

WHICH = os.environ.get("FIDELITY", "few")
ALL = WHICH == "all"
WHOLE = WHICH == "whole" or ALL
DAY = int(os.environ.get("FIDELITY_DAY", time.time() // 86400))
"""To be given where a test failed on another day."""

T = TypeVar("T")


def of_the_day(seeds: Sequence[T], number: int = 0) -> list[T]:
    """One of the seeds, for each number another one; all, where all are asked for."""
    return list(seeds) if ALL else [seeds[(DAY + number) % len(seeds)]]
