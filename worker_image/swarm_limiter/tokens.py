"""Counts how many tokens the requests of the last minute took or will take (pure).

The limiter learns a request's tokens only from its answer. Before the answer, it knows only their maximum, which is
usually several times as large. So it estimates the running requests together, from the share of their maximum that
answered requests took. It uses the mean of these shares plus four standard deviations, or the mean of the last few
shares if that is more.
"""

from collections import deque
from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

WINDOW: Final = 62.0
"""Seconds for which a request counts: a minute, and two seconds since some requests travel longer than others."""
SURE: Final = 4.0
"""Number of standard deviations that the estimate adds to the mean."""
MEMORY: Final = 1000
"""Number of requests on which the estimate is based."""
LATEST: Final = 10
"""Number of latest requests whose mean share the estimate does not fall below, since answers may become longer."""
ENOUGH: Final = 20
"""Number of requests before the first estimate. Until then, each request counts with its maximum."""


@dataclass(eq=False)
class Counted:
    """The tokens of one request: the maximum while it runs, then the number that it took."""

    at: float
    tokens: int
    is_over: bool = False
    is_old: bool = False


class Tokens:
    """The tokens of all requests of a group."""

    def __init__(self) -> None:
        self._window: deque[Counted] = deque()
        self._taken = self._open = self._open_count = 0
        self._seen, self._mean, self._variance, self._latest = 0, 1.0, 0.0, 1.0

    def likely(self, most: int) -> float:
        """Returns the tokens that a request with this maximum is expected to take."""
        return most * self._mean

    def wait(self, most: int, limit: int, now: float) -> float:
        """Returns the seconds until another request may start (0: now; inf: when a running request ends)."""
        self._forget(now)
        if self._total(most) <= limit:
            return 0.0
        if self._window:
            return self._window[0].at + WINDOW - now
        # A request whose maximum exceeds the limit runs alone.
        return inf if self._open_count else 0.0

    def add(self, most: int, now: float) -> Counted:
        counted = Counted(now, most)
        self._window.append(counted)
        self._open += most
        self._open_count += 1
        return counted

    def settle(self, counted: Counted, taken: int | None) -> None:
        """Notes that a request has ended.

        If `taken` is None, its tokens are unknown, and it counts with its maximum.
        """
        most = counted.tokens
        self._open -= most
        self._open_count -= 1
        counted.tokens, counted.is_over = most if taken is None else taken, True
        if not counted.is_old:
            self._taken += counted.tokens
        if taken and most:
            self._learn(taken / most)

    def _total(self, most: int) -> float:
        """Returns the tokens of the last minute's requests, with one more request."""
        part, count = 1.0, self._open_count + 1
        if self._seen >= ENOUGH:
            part = min(1.0, max(self._latest, self._mean + SURE * sqrt(self._variance / count)))
        return self._taken + (self._open + most) * part

    def _learn(self, part: float) -> None:
        """Updates mean and variance as in Finch (2009), Incremental calculation of weighted mean and variance."""
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
