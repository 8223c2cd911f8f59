"""Prints a plan's records while threads are at work. The final record comes after all paid results."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from swarm_wire.records import Record
from swarm_worker.errors import InfrastructureFailed, SwarmError
from swarm_worker.journal.store import Store
from swarm_worker.replay.asked import Asked
from swarm_worker.replay.host import Host

SETTLE_SECONDS = 0.3
"""A plan ends when its optimizer's threads have run nothing, and requested nothing, for this long."""


class Output:
    """Journals results that the plan has computed itself, and ends the process."""

    def __init__(self, store: Store, asked: Asked, host: Host) -> None:
        self._store, self._asked, self._host = store, asked, host
        self._lock = asked.lock
        self._active_at = 0.0
        self._at_work: Counter[int] = Counter()

    def keep(self, record: Record) -> None:
        """Journals a result that this process has computed."""
        with self._lock:
            self._store.put(record)
            self._host.emit(record)
            self.touch()

    def end(self, error: SwarmError | None = None) -> NoReturn:
        """Ends the process. If several threads call this, only one ends it."""
        with self._lock:
            if error is None:
                for record in self._asked.records():
                    self._host.emit(record)
            self._host.leave(error)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Ends the process if the block raises an exception, which an optimizer might count as a score."""
        try:
            yield
        except SwarmError as error:
            self.end(error)
        except Exception as error:
            self.end(InfrastructureFailed(error))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within the block, this thread does paid work, which would be lost if the process ended."""
        thread = threading.get_ident()
        with self._lock:
            self._at_work[thread] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[thread] -= 1
                self.touch()

    @property
    def is_at_work(self) -> bool:
        """Whether this process runs cells or makes LM calls, so that paid answers may not be journaled yet."""
        return any(self._at_work.values())

    def touch(self) -> None:
        """Notes that a thread is active now."""
        self._active_at = time.monotonic()

    def wait_for_others(self) -> None:
        """Waits until other threads have no work under way."""
        while self._others_work:
            time.sleep(0.01)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Waits until other threads are quiet. Within the block, they have no work under way and begin none.

        While this waits, the optimizer's threads may finish paid work. They may also reach missing effects, which join
        the round.
        """
        while True:
            with self._lock:
                silent_for = time.monotonic() - self._active_at
                if silent_for >= SETTLE_SECONDS and not self._others_work:
                    yield
                    return
            time.sleep(max(0.01, SETTLE_SECONDS - silent_for))

    @property
    def _others_work(self) -> bool:
        """Whether other threads work. Coroutines of this thread do not count: they stand still while it waits."""
        return any(count for thread, count in self._at_work.items() if thread != threading.get_ident())
