"""What an evaluation will probably come to, from what is known of the program and of others."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, pstdev

RECENT = 8
"""So many programs say what the next one may be like."""


class Forecast:
    """Scores so far, by program."""

    def __init__(self) -> None:
        self._scores: dict[str, list[float]] = {}

    def add(self, program: str, scores: Sequence[float]) -> None:
        """Known scores of a program: those of one evaluation's items."""
        if not scores:
            return
        self._scores.setdefault(program, []).extend(scores)

    def of(self, program: str, items: int) -> tuple[float, float]:
        """Mean and deviation of the score that an evaluation on so many items may come to.

        A program that was scored before is itself again; another one is like the last ones that were new: optimizers
        learn.
        """
        if not self._scores:
            return 0.5, 0.1
        seen = self._scores.get(program)
        means = [fmean(scores) for scores in list(self._scores.values())[-RECENT:]]
        mean = fmean(seen) if seen else fmean(means)
        between = 0.0 if seen else pstdev(means)
        within = sqrt(max(mean * (1 - mean), 0.0) / max(items, 1)) if 0 <= mean <= 1 else 0.0
        return mean, max(sqrt(between**2 + within**2), 0.001)
