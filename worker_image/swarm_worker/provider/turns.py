"""Gives turns to send requests, within this process."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from math import inf
from typing import Protocol

from swarm_limiter.rate import Rate, Turn
from swarm_wire.rates import Answered, RateLimit

POLL_SECONDS = 0.05
"""How often a coroutine checks for its turn."""

End = Callable[[Answered], None]
"""Reports the outcome of a request."""


class Turns(Protocol):
    """Gives turns to send requests."""

    def wait(self, tokens: int) -> End:
        """Waits until a request of at most this many tokens may be sent.

        Returns a function that reports the request's outcome.
        """

    async def async_wait(self, tokens: int) -> End:
        """Waits as `wait` does, without blocking the event loop."""


class OwnTurns:
    """Gives turns at once, and more slowly after the provider has objected."""

    def __init__(self) -> None:
        self._rate, self._limit = Rate(), RateLimit(group="own")
        self._over = threading.Condition()

    def wait(self, tokens: int) -> End:
        with self._over:
            while not isinstance(found := self._take(tokens), Turn):
                self._over.wait(None if found == inf else found)
            return self._ends(found)

    async def async_wait(self, tokens: int) -> End:
        while True:
            with self._over:
                if isinstance(found := self._take(tokens), Turn):
                    return self._ends(found)
            await asyncio.sleep(min(found, POLL_SECONDS))

    def _take(self, tokens: int) -> Turn | float:
        return self._rate.take(self._limit, tokens, time.monotonic())

    def _ends(self, turn: Turn) -> End:
        def end(answered: Answered) -> None:
            with self._over:
                self._rate.end(turn, answered, time.monotonic(), random.random())
                self._over.notify_all()

        return end
