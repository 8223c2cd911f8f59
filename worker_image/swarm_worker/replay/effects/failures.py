"""Counts failed cells. A task with too many failed cells has failed, and tasks after it may not be needed."""

import threading
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from swarm_wire.messages import Outcome, Task
from swarm_wire.records import Record


class Failures:
    """Counts the failed cells of tasks that run here.

    Args:
        own: how many cells of a task run in this process, by the task's digest. For any other task, it is all cells.

    Attributes:
        is_over: whether a task has failed. The caller then begins no more cells.
        doubtful: digests of tasks that fail if their cells in other processes fail as often as those here. Later tasks
            may not be needed, so the caller begins none of their cells.
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
                # A single error says too little about other cells.
                if errors > 1 and errors * cells >= task.max_errors * self._own.get(task.digest, cells):
                    self.doubtful.add(task.digest)
