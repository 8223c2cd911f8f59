"""How long cells have been running.

A thread cannot be ended. So a process in which nothing but cells that do not come back is left ends itself. Where one
of them keeps Python's interpreter lock (a regular expression that never ends), no thread can do that, nor does SIGTERM
come through: a timer that needs no interpreter ends the process then, and says where every thread was.
"""

import faulthandler
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

BEAT_SECONDS: Final = 1.0
SLACK_SECONDS: Final = 5.0
"""How long after the last cell's time a process in which no thread comes to its turn is ended."""
_STDERR: Final = 2


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
        self._beats = False

    @contextmanager
    def timed(self, weight: int = 1) -> Iterator[None]:
        """Within, a cell runs that is as much work as so many runs of the program."""
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
        """Cells that take longer than they may."""
        with self._lock:
            return sum(due < self._clock() for due in self._due.values())

    @property
    def only_late(self) -> bool:
        """Whether nothing but such cells is under way: there is nothing more to wait for."""
        with self._lock:
            return bool(self._due) and all(due < self._clock() for due in self._due.values())

    def _beat(self) -> None:
        """Winds the timer up as long as threads come to their turns."""
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
