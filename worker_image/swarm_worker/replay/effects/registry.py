"""Finds the module for a kind of effect that workers execute. The module is in this package, under the kind's name."""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from swarm_wire.messages import Task
from swarm_wire.records import Record
from swarm_worker.content.codec import Codec
from swarm_worker.replay.calls import Answers


class Work(Protocol):
    """A task that is ready to run."""

    task: Task

    def run(self, position: int, answers: Answers) -> Record:
        """Runs one cell of the task, and returns the RESULT record. Raises the errors of `run_cell`, and Drift."""


class Kind(Protocol):
    """The module for one kind of effect."""

    def make_work(self, task: Task, blobs: Mapping[str, bytes], codec: Codec) -> Work:
        """Unpickles the task's blobs."""


def make_work(task: Task, blobs: Mapping[str, bytes], codec: Codec) -> Work:
    """Makes the work of a task, with the module for the task's kind."""
    kind: Kind = import_module(f"{__package__}.{task.kind}")
    return kind.make_work(task, blobs, codec)
