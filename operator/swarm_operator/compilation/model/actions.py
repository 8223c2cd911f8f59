"""Actions as data. Each action has everything that `apply` needs to carry it out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.model.roles import Folder
from swarm_operator.compilation.model.shards import Artifact, Shard
from swarm_operator.compilation.model.world import PublishedArtifact, PublishedProgram, Run
from swarm_operator.compilation.status import Status
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
    """Write the RunRequest, with which the run begins.

    Attributes:
        published: the published program, which is written beside the request. None: the run has or needs none.
    """

    request: RunRequest
    published: PublishedProgram | None = None


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
    """Write the records of these shards, in their order, as one more shard.

    The shards stay until a pass has read it.
    """

    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class KeepAssignment:
    """Write the assignment of slices to the pods of a Job, before the Job is created."""

    assignment: Assignment
    strikes: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class StartJob:
    """Create a Job.

    Attributes:
        role: the job role, as the key of its row in `roles.ROLES`.
        seconds: how long a pod may live.
        mounts: the folders that the pods mount, and the shards in each folder.
        pods: number of pods, each with its own index.
        parallel: how many of the pods run at the same time.
        allowance: what each pod may spend.
        rates: how fast the pods may send requests to providers.
        limiter: host:port of the limiter that enforces `rates`.
        environment: variables that only pods of this job role have.
        partial: the limit that has ended the run, if the Job is to publish the best program so far.
        queue: labels of the Job for Kueue.
        pull_policy: pull policy of the image. Empty: Kubernetes' default.
        image: image of the pods. Empty: the run's.
        artifact: name of the ConfigMap with the artifact that the pods publish.
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
    image: str = ""
    artifact: str = ""


@dataclass(frozen=True)
class ClaimName:
    """Create the artifact's ConfigMap, empty. Without this step, an apply would overwrite somebody else's ConfigMap."""

    name: str


@dataclass(frozen=True)
class Publish:
    """Write the artifact into its ConfigMap.

    Attributes:
        over: the ConfigMap to write to. It was this Compilation's when the pass read it.
    """

    run: Run
    artifact: Artifact
    over: PublishedArtifact


@dataclass(frozen=True)
class KeepRefused:
    """Write a winner that spec.gate has refused, and its report, for people to look at."""

    run: Run
    artifact: Artifact


@dataclass(frozen=True)
class ReleasePod:
    """Remove the operator's finalizer from a pod."""

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
    | KeepRefused
    | ReleasePod
    | DropJob
    | DropMap
)


@dataclass(frozen=True)
class Decision:
    """The actions of a pass in order, the status to write after them, and when the next pass begins.

    Attributes:
        status: the status to write; None leaves it as it is.
        tidying: deletions on which the run does not depend. They come last.
        settled: whether the run is over. Then no failure of an action changes its status.
        wake_up: seconds until the next pass; None if only an event starts it.
    """

    actions: tuple[Action, ...] = ()
    tidying: tuple[Action, ...] = ()
    settled: bool = False
    status: Status | None = None
    events: tuple[Event, ...] = ()
    wake_up: float | None = None
