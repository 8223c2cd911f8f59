"""Times cells, and ends a process whose cells do not end.

A thread cannot be ended, so a process ends itself once only late cells are left. If a cell holds Python's interpreter
lock, for example in an endless regular expression, no thread can do this, and SIGTERM has no effect. Then a timer that
needs no interpreter ends the process, and prints the stack of every thread.
"""

import faulthandler
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

BEAT_SECONDS: Final = 1.0
SLACK_SECONDS: Final = 5.0
"""The timer ends a process so long after its last cell is due, if no thread has run meanwhile."""
_STDERR: Final = 2


class Watch:
    """The cells under way, each with the time when it is due.

    Args:
        seconds: `limits.cellSeconds`.
        clock: the clock for due times.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock = seconds, clock
        self._due: dict[object, float] = {}
        self._lock = threading.Lock()
        self._beats = False

    @contextmanager
    def timed(self, weight: int = 1) -> Iterator[None]:
        """The block runs a cell that takes as long as `weight` runs of the program."""
        cell = object()
        with self._lock:
            self._due[cell] = self._clock() + self.seconds * weight
            self._wind_up()
            if not self._beats:
                self._beats = True
                threading.Thread(target=self._beat, daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                del self._due[cell]
                self._wind_up()

    @property
    def late(self) -> int:
        """Number of cells that exceed their time."""
        with self._lock:
            return sum(due < self._clock() for due in self._due.values())

    @property
    def only_late(self) -> bool:
        """Whether only late cells are under way, so that there is nothing to wait for."""
        with self._lock:
            return bool(self._due) and all(due < self._clock() for due in self._due.values())

    def _beat(self) -> None:
        """Resets the timer as long as threads can run."""
        while True:
            time.sleep(BEAT_SECONDS)
            with self._lock:
                if not self._due:
                    self._beats = False
                    return
                self._wind_up()

    def _wind_up(self) -> None:
        if self._due:
            left = max(0.0, max(self._due.values()) - self._clock())
            seconds = min(left + SLACK_SECONDS, threading.TIMEOUT_MAX)
            faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
        else:
            faulthandler.cancel_dump_traceback_later()
