"""How many tokens the requests of the last minute took, or will have taken. Pure.

What a request takes is known when it is answered; before, only how many it takes at most, which is several times as
many as a rule. So those under way are estimated together, by which part of their most the others took: the mean, and
four standard deviations of it; or the mean of the last few, where that is more.
"""

from collections import deque
from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

WINDOW: Final = 62.0
"""Seconds for which a request counts: a minute, and what some are longer on their way than others."""
SURE: Final = 4.0
"""Standard deviations."""
MEMORY: Final = 1000
"""Requests that the estimate is about."""
LATEST: Final = 10
"""The estimate is not below what so many took at last: answers may become longer all together."""
ENOUGH: Final = 20
"""Requests without which there is no estimate: each counts as much as it may take."""


@dataclass(eq=False)
class Counted:
    """The tokens of one request: the most that it may take, then what it took."""

    at: float
    tokens: int
    is_over: bool = False
    is_old: bool = False


class Tokens:
    """Of one group's requests."""

    def __init__(self) -> None:
        self._window: deque[Counted] = deque()
        self._taken = self._open = self._open_count = 0
        self._seen, self._mean, self._variance, self._latest = 0, 1.0, 0.0, 1.0

    def likely(self, most: int) -> float:
        """Expected tokens of a request that may take so many at most."""
        return most * self._mean

    def wait(self, most: int, limit: int, now: float) -> float:
        """Seconds until another request may count, 0 if it may now (inf: when one of those under way is over)."""
        self._forget(now)
        if self._total(most) <= limit:
            return 0.0
        if self._window:
            return self._window[0].at + WINDOW - now
        # One that is larger than the limit goes alone.
        return inf if self._open_count else 0.0

    def add(self, most: int, now: float) -> Counted:
        counted = Counted(now, most)
        self._window.append(counted)
        self._open += most
        self._open_count += 1
        return counted

    def settle(self, counted: Counted, taken: int | None) -> None:
        """A request is over. None: nobody knows what it took; it counts as much as it could."""
        most = counted.tokens
        self._open -= most
        self._open_count -= 1
        counted.tokens, counted.is_over = most if taken is None else taken, True
        if not counted.is_old:
            self._taken += counted.tokens
        if taken and most:
            self._learn(taken / most)

    def _total(self, most: int) -> float:
        """Tokens of the last minute with one request more."""
        part, count = 1.0, self._open_count + 1
        if self._seen >= ENOUGH:
            part = min(1.0, max(self._latest, self._mean + SURE * sqrt(self._variance / count)))
        return self._taken + (self._open + most) * part

    def _learn(self, part: float) -> None:
        """Weighted mean and variance as in Finch (2009), Incremental calculation of weighted mean and variance."""
        self._seen += 1
        self._latest += (part - self._latest) / LATEST
        weight = max(1 / MEMORY, 1 / self._seen)
        difference = part - self._mean
        self._mean += weight * difference
        self._variance = (1 - weight) * (self._variance + weight * difference**2) if self._seen > 1 else 0.0

    def _forget(self, now: float) -> None:
        while self._window and self._window[0].at + WINDOW <= now:
            counted = self._window.popleft()
            counted.is_old = True
            if counted.is_over:
                self._taken -= counted.tokens
