"""Each case of the faults tier names its kind of fault, and the summary counts cases by kind."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def case(kind: str, *values: Any, besides: Iterable[str] = (), some: bool = False, **options: Any) -> Any:
    """Returns a row of a table of faults.

    Args:
        besides: other kinds of fault that the case also covers.
        some: if true, the case is among the few that run for every change of the code.
    """
    marks = [
        *map(pytest.mark.fault, (kind, *besides)),
        *([pytest.mark.some] if some else []),
        *options.pop("marks", []),
    ]
    return pytest.param(*values, id=options.pop("id", kind), marks=marks, **options)


def every_kind(kinds: Iterable[str]) -> Callable[[T], T]:
    """Marks a test that covers all these kinds in each run."""
    marks = [pytest.mark.fault(kind) for kind in kinds]

    def mark(test: T) -> T:
        for found in marks:
            found(test)
        return test

    return mark


def summary(outcomes: list[tuple[str, str]]) -> list[str]:
    """Returns lines that say for each kind how many cases had which outcome."""
    by_kind: dict[str, dict[str, int]] = {}
    for kind, outcome in outcomes:
        counts = by_kind.setdefault(kind, {})
        counts[outcome] = counts.get(outcome, 0) + 1
    lines = [f"{len(by_kind)} kinds of faults, {len(outcomes)} cases"]
    for kind, counts in sorted(by_kind.items()):
        lines.append(f"  {kind:<60} " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return lines
