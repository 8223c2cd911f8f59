"""The job roles as a table: a new job role is a new row."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_wire import names
from swarm_wire.records import RecordKind


class Folder(StrEnum):
    """Folders that pods may mount. Each value is the folder's path."""

    JOURNAL = str(names.JOURNAL_DIR)
    """Shards of the run's results."""
    TASKS = str(names.TASKS_DIR)
    """Shards of a round's tasks."""
    ASSIGNMENT = str(names.WORK_DIR)
    """The assignment of slices to pods."""
    EARLIER = str(names.EARLIER_DIR)
    """Shards of earlier runs' results. A pod starts even if some of these shards are gone."""


class Retried(Enum):
    """Says what loses one of its attempts when a pod fails on its own."""

    JOB = auto()
    """The Job as a whole loses an attempt.

    If its pod exceeds the deadline, the pod hangs, so the end counts as the pod's fault.
    """
    CELLS = auto()
    """Each cell without a result loses an attempt.

    If a pod exceeds its deadline, it may only have had too many cells.
    """


@dataclass(frozen=True)
class Role:
    """A job role: a row of the table.

    Attributes:
        letter: marks the job role in names of Jobs.
        command: the argument with which the worker image starts.
        mounts: folders that the pods may mount, in the order of their volumes.
        environment: variables that the pods may have in addition to those of every pod.
        singly: kinds of records that count as soon as the operator has read them, each by itself.
        together: kinds of records that count only when the pod has succeeded and the operator has read all of them.
        is_dealt: whether the pods run cells that a plan has requested. Then only results of these cells count.
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
        """Returns the kinds of records that count. The operator ignores records of other kinds."""
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
"""The job roles, by the value of LABEL_ROLE on Jobs and pods."""
