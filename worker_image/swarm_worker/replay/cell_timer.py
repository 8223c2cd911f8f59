"""Times cells, and ends a process whose cells do not end.

Python cannot end a thread. So a process ends itself when only late cells are left in it. A cell may hold Python's
interpreter lock, for example in an endless regular expression. Then no other thread can run, and SIGTERM has no effect.
In this case, a timer that does not need the lock prints the stack of every thread, and ends the process.
"""

import faulthandler
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

BEAT_SECONDS: Final = 1.0
SLACK_SECONDS: Final = 5.0
"""If no thread can run, the timer ends the process this long after its last cell is due."""
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
        """The block runs a cell, which may take `limits.cellSeconds` times `weight`."""
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
        """Returns the number of cells that exceed their time."""
        with self._lock:
            return sum(due < self._clock() for due in self._due.values())

    @property
    def only_late(self) -> bool:
        """Whether only late cells are under way, so that waiting is no use."""
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
