"""What a plan asks for in one round."""

import threading
from collections.abc import Iterable

from swarm_wire.messages import Task
from swarm_wire.records import Record, RecordKind
from swarm_worker.journal.run_journal import Stream
from swarm_worker.lookahead.concurrency import is_ordered
from swarm_worker.replay.effects.call import Call
from swarm_worker.replay.effects.tasks import Tasks


class Asked:
    """Tasks for workers, and LM calls for the plan itself.

    Attributes:
        tasks: so far.
        guesses: digests of those among them that are guesses, and about how many runs of the program each takes.
        calls: LM calls that scouts found, pickled, by digest.
        joined: digests of effects that are no guess.
        lock: whoever holds it knows that nothing joins.
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
        """Asks for an effect, once."""
        with self.lock:
            if digest in {task.digest for task in self.tasks}:
                return
            self.joined.add(digest)
            if not is_ordered():
                self._unordered.add(digest)
            for record in records:
                if record.kind is RecordKind.BLOB:
                    # Waves over the same data share a blob: it is printed once.
                    self._blobs.setdefault(record.header["key"], record)
                if record.kind is RecordKind.TASK:
                    self.tasks.append(Task.model_validate(record.header))

    def forget(self) -> None:
        """Takes back the tasks."""
        for asked in (self.tasks, self.joined, self._blobs):
            asked.clear()

    def take(self) -> Tasks:
        """Takes back the only task."""
        [task] = self.tasks
        blobs = {key: record.body for key, record in self._blobs.items()}
        self.forget()
        return Tasks(task, blobs)

    def take_calls(self) -> dict[str, bytes]:
        """The LM calls: whoever takes them makes them."""
        with self.lock:
            taken, self.calls = self.calls, {}
        return taken

    def note(self, digest: str, place: int, errors_left: int | None) -> None:
        """Where the optimizer comes to an effect, and how many errors it must not have."""
        self._places[digest] = place
        if errors_left:
            self._most_errors[digest] = min(errors_left, self._most_errors.get(digest, errors_left))

    def guess_since(self, certain: int) -> None:
        """The tasks from this one on are guesses."""
        self.guesses = {task.digest: len(task.cells) * task.weight for task in self.tasks[certain:]}

    def found(self) -> Stream:
        """Kind and digest of whatever was asked for in the order in which every process asks."""
        tasks = [(str(task.kind), task.digest) for task in self.tasks if task.digest not in self._unordered]
        return [*tasks, *((Call.kind, digest) for digest in self.calls)]

    def records(self) -> list[Record]:
        """To be printed, as the optimizer comes to them: of tasks, each with the fewest errors that it must not have.
        Where one fails, those behind it may not be needed.
        """
        self.tasks = [
            task.model_copy(update={"max_errors": self._most_errors.get(task.digest, task.max_errors)})
            for task in sorted(self.tasks, key=lambda task: self._places.get(task.digest, 0))
        ]
        return [*self._blobs.values(), *(Record(RecordKind.TASK, task.to_header()) for task in self.tasks)]
