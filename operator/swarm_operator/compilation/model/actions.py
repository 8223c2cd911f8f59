"""What can be decided: actions as data, with all that carrying them out needs. `apply` knows how to do that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from swarm_operator.compilation.api import ObjectKind, Status
from swarm_operator.compilation.model.roles import Folder
from swarm_operator.compilation.model.shards import Artifact, Shard
from swarm_operator.compilation.model.world import PublishedArtifact, Run
from swarm_wire.messages import Assignment, RunRequest
from swarm_wire.rates import RateLimits
from swarm_wire.records import Framed
from swarm_wire.spending import UNLIMITED, Allowance


@dataclass(frozen=True)
class Event:
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    run_id: str


@dataclass(frozen=True)
class OpenRun:
    """Write the run's request."""

    request: RunRequest


@dataclass(frozen=True)
class KeepRecords:
    """Write records to the run's journal, in their order."""

    run_id: str
    kind: ObjectKind
    round: int
    attempt: int
    records: tuple[Framed, ...]


@dataclass(frozen=True)
class MergeShards:
    """Write what these shards of one run hold as one more, in their order. They stay until it is seen."""

    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class KeepAssignment:
    """Write which slice each pod of a Job does; the Job follows."""

    assignment: Assignment
    strikes: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class StartJob:
    """Create a Job.

    Attributes:
        role: whose row of `roles.ROLES` says what its pods run.
        seconds: that a pod may live.
        mounts: folders that the pods are given, and the shards in them.
        pods: how many, each with an index of its own.
        parallel: how many of them side by side.
        allowance: of each pod.
        rates: how fast they may ask providers.
        limiter: host:port of who keeps `rates`.
        environment: variables that only pods of this role have.
        partial: the limit that has ended the run: it brings the best program so far.
        queue: labels of the Job, for Kueue.
        pull_policy: of the run's image. Empty: Kubernetes' default.
    """

    role: ObjectKind
    run: Run
    round: int
    attempt: int
    seconds: int
    mounts: Mapping[Folder, tuple[Shard, ...]]
    pods: int = 1
    parallel: int = 1
    allowance: Allowance = UNLIMITED
    rates: RateLimits = field(default_factory=RateLimits)
    limiter: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    partial: str = ""
    queue: Mapping[str, str] = field(default_factory=dict)
    pull_policy: str = ""


@dataclass(frozen=True)
class ClaimName:
    """Make the artifact's ConfigMap, empty: an apply would overwrite what somebody else makes of that name."""

    name: str


@dataclass(frozen=True)
class Publish:
    """Write the artifact into its ConfigMap.

    Attributes:
        over: the very object that was found to be ours, as it was then.
    """

    run: Run
    artifact: Artifact
    over: PublishedArtifact


@dataclass(frozen=True)
class ReleasePod:
    """Take our finalizer off."""

    name: str
    uid: str


@dataclass(frozen=True)
class DropJob:
    name: str
    uid: str


@dataclass(frozen=True)
class DropMap:
    name: str
    uid: str


Action = (
    OpenRun
    | KeepRecords
    | MergeShards
    | KeepAssignment
    | StartJob
    | ClaimName
    | Publish
    | ReleasePod
    | DropJob
    | DropMap
)


@dataclass(frozen=True)
class Decision:
    """What to do, in order; then what to say; then what can go; then when to look again.

    Attributes:
        status: None: leave it as it is.
        tidying: what the run does not depend on.
        settled: the run is over: whatever fails, its status stays.
        wake_up: seconds; None: when something happens.
    """

    actions: tuple[Action, ...] = ()
    tidying: tuple[Action, ...] = ()
    settled: bool = False
    status: Status | None = None
    events: tuple[Event, ...] = ()
    wake_up: float | None = None
