"""The job roles as a table: a new job role is a new row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_wire import names
from swarm_wire.messages import PROGRAM_FILES, Assignment
from swarm_wire.records import RecordKind
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.data import SETS
from swarm_wire.spec.git import GitDestination, GitRepository
from swarm_wire.spec.references import SecretKeyRef


class Folder(StrEnum):
    """Folders that pods may mount. Each value is the folder's path."""

    JOURNAL = str(names.JOURNAL_DIR)
    """Shards of the run's results."""
    TASKS = str(names.TASKS_DIR)
    """Shards of a round's tasks."""
    ASSIGNMENT = str(names.WORK_DIR)
    """The assignment of slices to pods."""
    SNAPSHOT = str(names.SNAPSHOT_DIR)
    """Shards of the program's files, if the run has fetched them."""
    DATA = str(names.DATA_DIR)
    """Shards of the files that spec.data names by their URLs. Only plans read data."""
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
        fetches: what the pods may fetch, as values of `Snapshot.of`.
        runs_code: whether the pods run code of the user. Only then they get the variables of spec.env, the ConfigMaps
            and the volumes that the spec names.
        secrets: finds the variables that the pods get from Secrets.
        is_dealt: whether the pods run cells that a plan has requested. Then only results of these cells count.
        repository: finds the git repository whose credentials the pods mount; None for pods without git. Pods with git
            run the git image, all others the worker image.
        trains: whether the user's trainer runs before the pods' own container.
    """

    letter: str
    command: str
    mounts: tuple[Folder, ...]
    environment: tuple[str, ...]
    singly: frozenset[RecordKind]
    together: frozenset[RecordKind]
    retried: Retried
    fetches: frozenset[str] = frozenset()
    runs_code: bool = False
    secrets: Callable[[CompilationSpec], dict[str, SecretKeyRef]] = lambda spec: {}
    is_dealt: bool = False
    repository: Callable[[CompilationSpec], GitRepository | None] | None = None
    trains: bool = False

    @property
    def prints(self) -> frozenset[RecordKind]:
        """Returns the kinds of records that count. The operator ignores records of other kinds."""
        return self.singly | self.together


def source(spec: CompilationSpec) -> GitRepository | None:
    """Returns the repository that the program's files come from; None if they come from elsewhere."""
    return spec.program.source.git if spec.program.source else None


def destination(spec: CompilationSpec) -> GitDestination | None:
    """Returns the repository that the artifact goes to; None if it goes to none."""
    return spec.artifact.git


def fetched(spec: CompilationSpec) -> dict[str, str]:
    """Returns the URLs of what a run fetches before its first plan, by the values of `Snapshot.of`."""
    program = source(spec)
    return {**({} if program is None else {PROGRAM_FILES: program.url}), **spec.data.urls}


def _of_models(spec: CompilationSpec) -> dict[str, SecretKeyRef]:
    return {names.api_key_env(role): secret for role, secret in sorted(spec.secrets().items())} | _of_depot(spec)


def _of_urls(spec: CompilationSpec) -> dict[str, SecretKeyRef]:
    return {names.url_options_env(name): key for name, key in spec.data.url_secrets.items()} | _of_depot(spec)


def _of_weights(spec: CompilationSpec) -> dict[str, SecretKeyRef]:
    given = spec.trainer.output.options if spec.trainer is not None else None
    return ({} if given is None else {names.ENV_WEIGHTS_OPTIONS: given.secret}) | _of_depot(spec)


def _of_depot(spec: CompilationSpec) -> dict[str, SecretKeyRef]:
    given = spec.journal.options if spec.journal else None
    return {} if given is None else {names.ENV_DEPOT_OPTIONS: given.secret}


ROLES: Final[Mapping[ObjectKind, Role]] = {
    ObjectKind.PLAN: Role(
        letter="p",
        command="plan",
        mounts=(Folder.JOURNAL, Folder.TASKS, Folder.SNAPSHOT, Folder.DATA, Folder.EARLIER),
        environment=(names.ENV_SMALL_WAVE, names.ENV_PARTIAL),
        singly=frozenset({RecordKind.RESULT, RecordKind.CALL, RecordKind.BOOKED, RecordKind.BOUND}),
        together=frozenset({RecordKind.TASK, RecordKind.BLOB, RecordKind.ARTIFACT, RecordKind.PLAN}),
        retried=Retried.JOB,
        runs_code=True,
        secrets=_of_models,
    ),
    ObjectKind.WORK: Role(
        letter="w",
        command="work",
        mounts=(Folder.TASKS, Folder.JOURNAL, Folder.ASSIGNMENT, Folder.SNAPSHOT, Folder.EARLIER),
        environment=(),
        singly=frozenset({RecordKind.RESULT, RecordKind.PENDING, RecordKind.CALL, RecordKind.BOOKED}),
        together=frozenset(),
        retried=Retried.CELLS,
        runs_code=True,
        secrets=_of_models,
        is_dealt=True,
    ),
    ObjectKind.TRAIN: Role(
        letter="t",
        command="deliver",
        mounts=(Folder.TASKS, Folder.ASSIGNMENT),
        environment=(),
        singly=frozenset({RecordKind.RESULT, RecordKind.BOOKED}),
        together=frozenset(),
        retried=Retried.CELLS,
        secrets=_of_weights,
        is_dealt=True,
        trains=True,
    ),
    ObjectKind.FETCH: Role(
        letter="f",
        command="fetch",
        mounts=(),
        environment=(),
        singly=frozenset(),
        together=frozenset({RecordKind.SNAPSHOT}),
        retried=Retried.JOB,
        fetches=frozenset({PROGRAM_FILES}),
        repository=source,
    ),
    ObjectKind.DOWNLOAD: Role(
        letter="d",
        command="download",
        mounts=(),
        environment=(),
        singly=frozenset(),
        together=frozenset({RecordKind.SNAPSHOT}),
        retried=Retried.JOB,
        fetches=frozenset(SETS),
        secrets=_of_urls,
    ),
    ObjectKind.PUBLISH: Role(
        letter="g",
        command="publish",
        mounts=(),
        environment=(names.ENV_ARTIFACT_SHA256,),
        singly=frozenset(),
        together=frozenset({RecordKind.PUSHED}),
        retried=Retried.JOB,
        repository=destination,
    ),
}
"""The job roles, by the value of LABEL_ROLE on Jobs and pods."""
DEALT: Final = tuple(kind for kind, role in ROLES.items() if role.is_dealt)
"""The job roles whose pods run the cells of a round."""


def dealt_role(assignment: Assignment) -> ObjectKind:
    """Returns the job role whose pods run the slices of an assignment."""
    return ObjectKind.TRAIN if assignment.trains else ObjectKind.WORK
