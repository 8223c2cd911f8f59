"""The kinds of effects that workers execute. Each is a module of this package that has the kind's name."""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from swarm_wire.messages import Task
from swarm_wire.records import Record
from swarm_worker.content.codec import Codec
from swarm_worker.replay.calls import Answers


class Work(Protocol):
    """A task that was made ready."""

    task: Task

    def run(self, position: int, answers: Answers) -> Record:
        """Runs one of its cells; its RESULT record. Raises as `run_cell`, and Drift."""


class Kind(Protocol):
    """A module of an effect."""

    def make_work(self, task: Task, blobs: Mapping[str, bytes], codec: Codec) -> Work:
        """Unpickles what a task refers to."""


def make_work(task: Task, blobs: Mapping[str, bytes], codec: Codec) -> Work:
    """As the module of its kind does."""
    kind: Kind = import_module(f"{__package__}.{task.kind}")
    return kind.make_work(task, blobs, codec)
