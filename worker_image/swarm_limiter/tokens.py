"""How many tokens the requests of the last minute took or will take. Pure.

The tokens of a request are known only when it is answered. Before, only their maximum is known, which is usually
several times as large. So running requests are estimated together, by the share of the maximum that answered requests
took: the mean plus four standard deviations, or the mean of the last few if that is more.
"""

from collections import deque
from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

WINDOW: Final = 62.0
"""Seconds for which a request counts: a minute, plus the difference in travel time between requests."""
SURE: Final = 4.0
"""Standard deviations that are added to the mean."""
MEMORY: Final = 1000
"""Requests on which the estimate is based."""
LATEST: Final = 10
"""The estimate is not below the share of so many latest requests, since all answers may become longer."""
ENOUGH: Final = 20
"""Requests before the first estimate. Until then, each request counts with its maximum."""


@dataclass(eq=False)
class Counted:
    """The tokens of one request: its maximum, then what it took."""

    at: float
    tokens: int
    is_over: bool = False
    is_old: bool = False


class Tokens:
    """The tokens of a group's requests."""

    def __init__(self) -> None:
        self._window: deque[Counted] = deque()
        self._taken = self._open = self._open_count = 0
        self._seen, self._mean, self._variance, self._latest = 0, 1.0, 0.0, 1.0

    def likely(self, most: int) -> float:
        """Expected tokens of a request with this maximum."""
        return most * self._mean

    def wait(self, most: int, limit: int, now: float) -> float:
        """Seconds until another request may start (0: now; inf: when a running request ends)."""
        self._forget(now)
        if self._total(most) <= limit:
            return 0.0
        if self._window:
            return self._window[0].at + WINDOW - now
        # A request larger than the limit runs alone.
        return inf if self._open_count else 0.0

    def add(self, most: int, now: float) -> Counted:
        counted = Counted(now, most)
        self._window.append(counted)
        self._open += most
        self._open_count += 1
        return counted

    def settle(self, counted: Counted, taken: int | None) -> None:
        """Ends a request. `taken` None: its tokens are unknown, so it counts with its maximum."""
        most = counted.tokens
        self._open -= most
        self._open_count -= 1
        counted.tokens, counted.is_over = most if taken is None else taken, True
        if not counted.is_old:
            self._taken += counted.tokens
        if taken and most:
            self._learn(taken / most)

    def _total(self, most: int) -> float:
        """Tokens of the last minute, including one more request."""
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
