"""Tasks, the blobs that they refer to, and the results of their cells."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from swarm_wire.messages import Outcome, Task
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_worker.content.codec import Codec, Walks
from swarm_worker.content.digest import combine
from swarm_worker.content.outcome import Value
from swarm_worker.errors import Drift
from swarm_worker.exceptions import ProcessEnded
from swarm_worker.journal.store import Store


@dataclass
class Tasks:
    """A task and the blobs it refers to."""

    task: Task
    blobs: dict[str, bytes]

    def records(self) -> list[Record]:
        blobs = [Record(RecordKind.BLOB, {"key": key}, body) for key, body in self.blobs.items()]
        return [*blobs, Record(RecordKind.TASK, self.task.to_header())]

    def part(self, keys: Collection[str]) -> "Tasks":
        """Returns the task with only those of its cells that have these keys."""
        cells = [cell for cell in self.task.cells if cell.key in keys]
        return replace(self, task=self.task.model_copy(update={"cells": cells}))

    def rest(self, store: Store) -> "Tasks":
        """Returns the unfinished part of the task."""
        errors = sum(store.has_error(cell.key) for cell in self.task.cells)
        left = self.part({cell.key for cell in self.task.cells if cell.key not in store})
        if self.task.max_errors is None:
            return left
        return replace(left, task=left.task.model_copy(update={"max_errors": max(1, self.task.max_errors - errors)}))


def blob(data: bytes) -> tuple[bytes, str]:
    """Returns a blob and its name."""
    return data, combine("blob", data).hex()


def value_of(store: Store, key: str, codec: Codec, walks: Walks) -> Value:
    """Returns a cell's outcome and value. A result without a body means that the cell ended all its processes."""
    if body := store.body(key):
        value: Value = codec.loads(body, walks)
        return value
    return Outcome.ERROR, ProcessEnded(store.result(key).error or "")


def check_drift(asked: str, found: str) -> None:
    """Raises Drift if this worker computes another digest for a cell than the plan did."""
    if asked != found:
        raise Drift(
            WorkerReason.DIGEST_DRIFT,
            f"a task named {asked} by the plan is {found} to this worker: the program or its data depends on something "
            "that differs between processes (time, randomness, an unordered set, the environment). Make it the same "
            "everywhere.",
        )
