"""A plan's output while threads are at work: all paid results come before its final record, and nothing after."""

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
"""A plan whose optimizer runs threads ends after they have run and requested nothing for so long."""


class Output:
    """Journals the plan's own results, and ends the process."""

    def __init__(self, store: Store, asked: Asked, host: Host) -> None:
        self._store, self._asked, self._host = store, asked, host
        self._lock = asked.lock
        self._active_at = 0.0
        self._at_work: Counter[int] = Counter()

    def keep(self, record: Record) -> None:
        """Journals a result of this process."""
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
        """An exception of the block ends the process: an optimizer might catch it and turn it into a score."""
        try:
            yield
        except SwarmError as error:
            self.end(error)
        except Exception as error:
            self.end(InfrastructureFailed(error))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within the block, paid work is under way that would be lost with the process."""
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
        """Whether cells run here, or calls are made, whose answers may not be journaled yet."""
        return any(self._at_work.values())

    def touch(self) -> None:
        """Notes activity of threads."""
        self._active_at = time.monotonic()

    def wait_for_others(self) -> None:
        """Waits until other threads have no work under way."""
        while self._others_work:
            time.sleep(0.01)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Waits for other threads; within the block, no work is under way or begins. Meanwhile the optimizer's threads
        may reach missing effects, which join the round, and finish work that is paid for.
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
        """Whether other threads work. Coroutines of this thread cannot go on while it waits, so they do not count."""
        return any(count for thread, count in self._at_work.items() if thread != threading.get_ident())
