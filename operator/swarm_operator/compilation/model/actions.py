"""What can be decided: actions as data. `apply` knows how to carry them out."""

from dataclasses import dataclass
from typing import Literal

from swarm_operator.compilation.api import ObjectKind, Status
from swarm_operator.compilation.model.shards import Artifact, Shard
from swarm_wire.messages import Assignment, Ending
from swarm_wire.records import Framed
from swarm_wire.spending import Allowance


@dataclass(frozen=True)
class Event:
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    run_id: str


@dataclass(frozen=True)
class OpenRun:
    """Write the run's request."""


@dataclass(frozen=True)
class KeepRecords:
    """Write records to the journal, in their order."""

    kind: ObjectKind
    round: int
    attempt: int
    records: tuple[Framed, ...]


@dataclass(frozen=True)
class MergeShards:
    """Write what these shards of one run hold as one more, in their order. They stay until it is seen."""

    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class StartPlan:
    """Create the plan Job of a round; it mounts the whole journal.

    Attributes:
        ending: a limit ends the run: the plan is to bring the best program so far.
        runs_cells: it may run small waves itself.
    """

    round: int
    attempt: int
    allowance: Allowance
    ending: Ending | None = None
    runs_cells: bool = True


@dataclass(frozen=True)
class StartWork:
    """Create the work Job of an assignment, and the ConfigMap with the assignment before it.

    Like a plan, it mounts the journal as it is then.

    Attributes:
        allowance: of each of its pods.
    """

    assignment: Assignment
    strikes: tuple[tuple[str, int], ...]
    allowance: Allowance


@dataclass(frozen=True)
class ClaimName:
    """Make the artifact's ConfigMap, empty: an apply would overwrite what somebody else makes of that name."""


@dataclass(frozen=True)
class Publish:
    """Write the artifact into its ConfigMap, which is there."""

    artifact: Artifact


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
    OpenRun | KeepRecords | MergeShards | StartPlan | StartWork | ClaimName | Publish | ReleasePod | DropJob | DropMap
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
