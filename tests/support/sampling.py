"""How much of the long tables a test run takes.

`make test` and `make faults` take each kind once, each day with other companions. FIDELITY=whole (`make fidelity`)
takes all kinds with all companions, each day with other seeds; FIDELITY=all takes every seed, FAULTS=all every
companion.
"""

import os
import time
from collections.abc import Sequence
from typing import TypeVar

WHICH = os.environ.get("FIDELITY", "few")
ALL = "all" in (WHICH, os.environ.get("FAULTS"))
WHOLE = WHICH == "whole" or ALL
DAY = int(os.environ.setdefault("FIDELITY_DAY", str(int(time.time() // 86400))))
"""Set it to repeat the failure of another day. Processes that pytest starts inherit it."""

T = TypeVar("T")
U = TypeVar("U")


def of_the_day(seeds: Sequence[T], number: int = 0) -> list[T]:
    """One of the seeds, another for each number; all, if FIDELITY=all."""
    return list(seeds) if ALL else [seeds[(DAY + number) % len(seeds)]]


def sample(rows: Sequence[T], step: int) -> list[T]:
    """One of every `among` consecutive rows, each day another; all, if the tables are whole."""
    return list(rows) if WHOLE else list(rows[DAY % step :: step])


def paired(kinds: Sequence[T], companions: Sequence[U]) -> list[tuple[T, U]]:
    """Each kind with one of the companions, each day another; with all, if the tables are whole."""
    return [
        (kind, companion)
        for number, kind in enumerate(kinds)
        for companion in (companions if WHOLE else of_the_day(companions, number))
    ]
