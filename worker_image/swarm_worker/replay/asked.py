"""Collects what a plan requests in one round: tasks and LM calls."""

import threading
from collections.abc import Iterable

from swarm_wire.messages import Task
from swarm_wire.records import Record, RecordKind
from swarm_worker.journal.run_journal import Stream
from swarm_worker.lookahead.concurrency import is_ordered
from swarm_worker.replay.effects.call import Call
from swarm_worker.replay.effects.tasks import Tasks


class Asked:
    """The tasks that workers will run, and the LM calls that the plan itself will make.

    Attributes:
        tasks: the tasks so far.
        guesses: digests of the tasks that are guesses, each with its approximate number of program runs.
        calls: LM calls that scouts found, pickled, by digest.
        joined: digests of effects that are in the round. Scouts do not find these again.
        lock: prevents further requests while it is held.
    """

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.guesses: dict[str, int] = {}
        self.calls: dict[str, bytes] = {}
        self.joined: set[str] = set()
        self.lock = threading.RLock()
        self._blobs: dict[str, Record] = {}
        self._unordered: set[str] = set()
        self._most_errors: dict[str, int] = {}
        self._places: dict[str, int] = {}

    def ask(self, digest: str, records: Iterable[Record]) -> None:
        """Requests an effect, unless it is requested already."""
        with self.lock:
            if digest in {task.digest for task in self.tasks}:
                return
            self.joined.add(digest)
            if not is_ordered():
                self._unordered.add(digest)
            for record in records:
                if record.kind is RecordKind.BLOB:
                    # Waves over the same data share a blob, which is printed once.
                    self._blobs.setdefault(record.header["key"], record)
                if record.kind is RecordKind.TASK:
                    self.tasks.append(Task.model_validate(record.header))

    def forget(self) -> None:
        """Withdraws the tasks."""
        for asked in (self.tasks, self.joined, self._blobs):
            asked.clear()

    def take(self) -> Tasks:
        """Withdraws the only task, and returns it."""
        [task] = self.tasks
        blobs = {key: record.body for key, record in self._blobs.items()}
        self.forget()
        return Tasks(task, blobs)

    def take_calls(self) -> dict[str, bytes]:
        """Removes and returns the LM calls; the caller makes them."""
        with self.lock:
            taken, self.calls = self.calls, {}
        return taken

    def note(self, digest: str, place: int, errors_left: int | None) -> None:
        """Notes an effect's position in the optimizer's order, and the number of failed cells with which it fails."""
        self._places[digest] = place
        if errors_left:
            self._most_errors[digest] = min(errors_left, self._most_errors.get(digest, errors_left))

    def guess_since(self, certain: int) -> None:
        """Notes that the tasks from this position on are guesses."""
        self.guesses = {task.digest: len(task.cells) * task.weight for task in self.tasks[certain:]}

    def found(self) -> Stream:
        """Returns kind and digest of each request.

        It omits requests of threads and coroutines: they have no fixed order.
        """
        tasks = [(str(task.kind), task.digest) for task in self.tasks if task.digest not in self._unordered]
        return [*tasks, *((Call.kind, digest) for digest in self.calls)]

    def records(self) -> list[Record]:
        """Returns the records to print.

        Tasks are in the optimizer's order, because tasks after a failed task may not be needed. Each task says with how
        many failed cells it fails. If scouts have reported several such numbers, the lowest counts.
        """
        self.tasks = [
            task.model_copy(update={"max_errors": self._most_errors.get(task.digest, task.max_errors)})
            for task in sorted(self.tasks, key=lambda task: self._places.get(task.digest, 0))
        ]
        return [*self._blobs.values(), *(Record(RecordKind.TASK, task.to_header()) for task in self.tasks)]
