"""How long cells have been running.

A thread cannot be ended. So a process in which nothing but cells that do not come back is left ends itself.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Watch:
    """Cells under way, each with the moment by which it should be finished.

    Args:
        seconds: `limits.cellSeconds`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: dict[object, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, weight: int = 1) -> Iterator[None]:
        """Within, a cell runs that is as much work as so many runs of the program."""
        cell = object()
        with self._lock:
            self._due[cell] = time.monotonic() + self.seconds * weight
        try:
            yield
        finally:
            with self._lock:
                del self._due[cell]

    @property
    def late(self) -> int:
        """Cells that take longer than they may."""
        with self._lock:
            return sum(due < time.monotonic() for due in self._due.values())

    @property
    def only_late(self) -> bool:
        """Whether nothing but such cells is under way: there is nothing more to wait for."""
        with self._lock:
            return bool(self._due) and all(due < time.monotonic() for due in self._due.values())
