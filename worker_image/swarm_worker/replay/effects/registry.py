"""Finds the module of each kind of effect that workers execute: it has the kind's name, in this package."""

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
        """Runs one of its cells, and returns the RESULT record. Raises as `run_cell`, and Drift."""


class Kind(Protocol):
    """A kind's module."""

    def make_work(self, task: Task, blobs: Mapping[str, bytes], codec: Codec) -> Work:
        """Unpickles the task's blobs."""


def make_work(task: Task, blobs: Mapping[str, bytes], codec: Codec) -> Work:
    """The work of a task, by its kind's module."""
    kind: Kind = import_module(f"{__package__}.{task.kind}")
    return kind.make_work(task, blobs, codec)
