"""What a plan prints while threads are at work: whatever is paid for comes before its last word, and nothing after."""

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
"""A plan whose optimizer runs threads leaves when they have run nothing, and asked for nothing, for so long."""


class Output:
    """Journals what was finished here, and ends the process."""

    def __init__(self, store: Store, asked: Asked, host: Host) -> None:
        self._store, self._asked, self._host = store, asked, host
        self._lock = asked.lock
        self._active_at = 0.0
        self._at_work: Counter[int] = Counter()

    def keep(self, record: Record) -> None:
        """Journals what was finished here."""
        with self._lock:
            self._store.put(record)
            self._host.emit(record)
            self.touch()

    def end(self, error: SwarmError | None = None) -> NoReturn:
        """Ends the process. Of several threads one does."""
        with self._lock:
            if error is None:
                for record in self._asked.records():
                    self._host.emit(record)
            self._host.leave(error)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Whatever is raised within ends the process: an optimizer may catch, and make a score of it."""
        try:
            yield
        except SwarmError as error:
            self.end(error)
        except Exception as error:
            self.end(InfrastructureFailed(error))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within, something is paid for that would be lost with the process."""
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
        """Threads are active."""
        self._active_at = time.monotonic()

    def wait_for_others(self) -> None:
        """Until nothing is under way in other threads."""
        while self._others_work:
            time.sleep(0.01)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Within, nothing is under way, and nothing begins: other threads of the optimizer might still come to what
        they lack, which joins the round, and what they run here is paid for.
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
        """What coroutines of this thread began waits for this one."""
        return any(count for thread, count in self._at_work.items() if thread != threading.get_ident())
