"""How long cells have been running.

A thread cannot be ended. So a process in which nothing but cells that do not come back is left ends itself.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Watch:
    """Cells under way, each with the moment by which it should be finished.

    Args:
        seconds: `limits.cellSeconds`.
        clock: by which they count.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock = seconds, clock
        self._due: dict[object, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, weight: int = 1) -> Iterator[None]:
        """Within, a cell runs that is as much work as so many runs of the program."""
        cell = object()
        with self._lock:
            self._due[cell] = self._clock() + self.seconds * weight
        try:
            yield
        finally:
            with self._lock:
                del self._due[cell]

    @property
    def late(self) -> int:
        """Cells that take longer than they may."""
        with self._lock:
            return sum(due < self._clock() for due in self._due.values())

    @property
    def only_late(self) -> bool:
        """Whether nothing but such cells is under way: there is nothing more to wait for."""
        with self._lock:
            return bool(self._due) and all(due < self._clock() for due in self._due.values())
