"""What the pods of a Job are for, as a table: a role to come is a row here."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_wire import names
from swarm_wire.records import RecordKind


class Folder(StrEnum):
    """What pods may be given, and the path that it is mounted at."""

    JOURNAL = str(names.JOURNAL_DIR)
    """Shards of the run's results."""
    TASKS = str(names.TASKS_DIR)
    """Shards of a round's tasks."""
    ASSIGNMENT = str(names.WORK_DIR)
    """Which slice each pod does."""
    EARLIER = str(names.EARLIER_DIR)
    """Shards of earlier runs' results. A pod starts without those that are gone."""


class Retried(Enum):
    """What an end that is a pod's own fault uses up an attempt of."""

    JOB = auto()
    """The Job as a whole. A pod that comes to its deadline hangs, so that is its own fault."""
    CELLS = auto()
    """Each cell that the pod leaves without a result. A pod that comes to its deadline may have had that much to do."""


@dataclass(frozen=True)
class Role:
    """A row.

    Attributes:
        letter: in names of its Jobs.
        command: the worker image's argument.
        mounts: folders that its pods may be given, in the order of their volumes.
        environment: variables that its pods may have beside those of every pod.
        singly: records that count as soon as they are read, each by itself.
        together: records that count only when the pod has ended well and all of them were read.
        is_dealt: its pods do cells that a plan asked for, and no results of others count.
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
        """Records that count; others are as if they had not been printed."""
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
