"""Counts failing cells: a task of which too many fail is over, and what comes behind it may not be needed."""

import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from swarm_wire.messages import Outcome, Task
from swarm_wire.records import Record


class Failures:
    """Counts failing cells of tasks that run here.

    Args:
        own: how many cells of a task run here, by its digest; all of them where nothing is said.

    Attributes:
        is_over: whether a task has failed: begin nothing more.
        doubtful: digests of the tasks that fail if their other cells, elsewhere, fail as often as those here. What the
            optimizer comes to after them may not be needed: begin nothing of that.
    """

    def __init__(self, own: Mapping[str, int] = MappingProxyType({})) -> None:
        self._own, self._counts = own, Counter[str]()
        self._lock = threading.Lock()
        self.is_over = False
        self.doubtful: set[str] = set()

    def note(self, task: Task, result: Record) -> None:
        if task.max_errors is not None and result.header["outcome"] == Outcome.ERROR:
            with self._lock:
                self._counts[task.digest] += 1
                errors, cells = self._counts[task.digest], len(task.cells)
                self.is_over |= errors >= task.max_errors
                # A single error says too little of the others.
                if errors > 1 and errors * cells >= task.max_errors * self._own.get(task.digest, cells):
                    self.doubtful.add(task.digest)
