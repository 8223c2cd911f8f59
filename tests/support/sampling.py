"""Chooses which rows of long tables a test run takes.

A row combines a kind (such as an optimizer) with a companion (such as a program). `make test` and `make faults` take
each kind once, each day with another companion. Of slow tables, `make test` takes a part of the rows each day.
FIDELITY=whole (`make fidelity`) takes all kinds with all companions, each day with other seeds. FIDELITY=all also takes
every seed, and FAULTS=all takes every companion.
"""

import os
import time
from collections.abc import Sequence
from typing import TypeVar

WHICH = os.environ.get("FIDELITY", "few")
ALL = "all" in (WHICH, os.environ.get("FAULTS"))
WHOLE = WHICH == "whole" or ALL
DAY = int(os.environ.setdefault("FIDELITY_DAY", str(int(time.time() // 86400))))
"""The number of the day. A user sets FIDELITY_DAY to repeat another day. Processes that pytest starts inherit it."""

T = TypeVar("T")
U = TypeVar("U")


def of_the_day(seeds: Sequence[T], number: int = 0) -> list[T]:
    """Returns one seed, each day another, and for each `number` another. With ALL, returns all seeds."""
    return list(seeds) if ALL else [seeds[(DAY + number) % len(seeds)]]


def sample(rows: Sequence[T], step: int) -> list[T]:
    """Returns every `step`-th row, each day other rows. With WHOLE, returns all rows."""
    return list(rows) if WHOLE else list(rows[DAY % step :: step])


def paired(kinds: Sequence[T], companions: Sequence[U]) -> list[tuple[T, U]]:
    """Returns each kind with one companion, each day another companion. With WHOLE, returns all combinations."""
    return [
        (kind, companion)
        for number, kind in enumerate(kinds)
        for companion in (companions if WHOLE else of_the_day(companions, number))
    ]
