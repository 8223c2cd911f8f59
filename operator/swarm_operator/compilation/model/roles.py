"""The roles of pods as a table: a new role is a new row."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_wire import names
from swarm_wire.records import RecordKind


class Folder(StrEnum):
    """Folders that pods may mount, and their paths."""

    JOURNAL = str(names.JOURNAL_DIR)
    """Shards of the run's results."""
    TASKS = str(names.TASKS_DIR)
    """Shards of a round's tasks."""
    ASSIGNMENT = str(names.WORK_DIR)
    """The assignment of slices to pods."""
    EARLIER = str(names.EARLIER_DIR)
    """Shards of earlier runs' results. A pod also starts if some of them are gone."""


class Retried(Enum):
    """What loses an attempt when a pod fails by its own fault."""

    JOB = auto()
    """The Job as a whole. A pod that exceeds its deadline hangs, which is its own fault."""
    CELLS = auto()
    """Each cell that the pod leaves without a result. A pod that exceeds its deadline may have had too much to do."""


@dataclass(frozen=True)
class Role:
    """A row of the table.

    Attributes:
        letter: marks the role in names of Jobs.
        command: the worker image's argument.
        mounts: folders that its pods may mount, in the order of their volumes.
        environment: variables that its pods may have in addition to those of every pod.
        singly: records that count as soon as they are read, each by itself.
        together: records that count only when the pod has succeeded and all of them were read.
        is_dealt: its pods run cells that a plan requested, and only results of these cells count.
    """

    letter: str
    command: str
    mounts: tuple[Folder, ...]
    environment: tuple[str, ...]
    singly: frozenset[RecordKind]
    together: frozenset[RecordKind]
    retried: Retried
    is_dealt: bool

    @property
    def prints(self) -> frozenset[RecordKind]:
        """Kinds of records that count; others are ignored."""
        return self.singly | self.together


ROLES: Final[Mapping[ObjectKind, Role]] = {
    ObjectKind.PLAN: Role(
        letter="p",
        command="plan",
        mounts=(Folder.JOURNAL, Folder.TASKS, Folder.EARLIER),
        environment=(names.ENV_SMALL_WAVE, names.ENV_PARTIAL),
        singly=frozenset({RecordKind.RESULT, RecordKind.CALL, RecordKind.BOOKED, RecordKind.BOUND}),
        together=frozenset({RecordKind.TASK, RecordKind.BLOB, RecordKind.ARTIFACT, RecordKind.PLAN}),
        retried=Retried.JOB,
        is_dealt=False,
    ),
    ObjectKind.WORK: Role(
        letter="w",
        command="work",
        mounts=(Folder.TASKS, Folder.JOURNAL, Folder.ASSIGNMENT, Folder.EARLIER),
        environment=(),
        singly=frozenset({RecordKind.RESULT, RecordKind.CALL, RecordKind.BOOKED}),
        together=frozenset(),
        retried=Retried.CELLS,
        is_dealt=True,
    ),
}
"""By LABEL_ROLE of Jobs and pods."""
