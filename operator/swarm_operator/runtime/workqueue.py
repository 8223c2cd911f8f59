"""The queue of passes. It runs one pass at a time for each key, and repeats a failed pass with growing delays."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from swarm_operator.cluster import errors

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0


@dataclass(frozen=True)
class _Failures:
    """How many passes in a row have failed at the same place, which the exception's `__notes__` name."""

    count: int
    place: tuple[str, ...]


class Schedule(Generic[K]):
    """Knows when the next pass over each key is due. A key identifies one object, such as a Compilation.

    A key that is woken during its pass gets another pass afterwards.

    Args:
        work: makes one pass; returns the seconds until the next pass, or None if only `wake` starts the next pass.
        concurrency: how many passes, over different keys, run at the same time.
        pause: least number of seconds between two passes over a key, so that a burst of events causes only one pass.
    """

    def __init__(
        self, work: Callable[[K], Awaitable[float | None]], *, concurrency: int = 8, pause: float = 0.2
    ) -> None:
        self._work, self._pause = work, pause
        self._gate = asyncio.Semaphore(concurrency)
        self._due: dict[K, float] = {}
        self._not_before: dict[K, float] = {}
        self._woken = asyncio.Event()
        self._running: dict[K, asyncio.Task[None]] = {}
        self._failures: dict[K, _Failures] = {}

    def wake(self, key: K, after: float = 0.0) -> None:
        """Schedules a pass over the key in at most `after` seconds, but after the key's pause or delay."""
        at = _now() + after
        if key not in self._due or at < self._due[key]:
            self._due[key] = at
            self._woken.set()

    async def run(self) -> None:
        """Runs passes until this task is cancelled."""
        try:
            while True:
                self._woken.clear()
                now = _now()
                self._not_before = {key: at for key, at in self._not_before.items() if at > now}
                for key in [key for key in self._due if self._at(key) <= now and key not in self._running]:
                    del self._due[key]
                    self._running[key] = asyncio.create_task(self._pass(key))
                waiting = [self._at(key) for key in self._due if key not in self._running]
                timeout = max(0.0, min(waiting) - now) if waiting else None
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), timeout)
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _at(self, key: K) -> float:
        return max(self._due[key], self._not_before.get(key, 0.0))

    async def _pass(self, key: K) -> None:
        try:
            async with self._gate:
                began = _now()
                wish = await self._work(key)
                # A pass over thousands of pods takes long. After it, the key rests for as long as the pass took.
                pause = max(self._pause, _now() - began)
            self._failures.pop(key, None)
        except Exception as error:
            wish = pause = self._delay(key, error)
        finally:
            del self._running[key]
            self._woken.set()
        if wish is not None:
            self.wake(key, wish)
        self._not_before[key] = _now() + pause

    def _delay(self, key: K, error: Exception) -> float:
        """Returns the seconds until the next try of a failed pass."""
        place = tuple(getattr(error, "__notes__", ()))
        before = self._failures.get(key)
        # A pass that fails at another place than the pass before it has made progress, so its delay starts anew.
        count = before.count + 1 if before is not None and before.place == place else 1
        self._failures[key] = _Failures(count, place)
        delay = min(FIRST_DELAY * 2.0 ** (count - 1), LONGEST_DELAY)
        if isinstance(error, errors.Unavailable) and error.retry_after:
            delay = max(delay, error.retry_after)
        if isinstance(error, errors.ApiError):
            log.warning("%s: %s; tried again in %g s", key, error, delay)
        else:
            log.error("%s: a fault of ours; tried again in %g s", key, delay, exc_info=error)
        return delay


def _now() -> float:
    return asyncio.get_running_loop().time()
