"""What a pass has read, as immutable facts. `observe` and `interpret` make these facts, and `decide` reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from swarm_engine.identity import is_same_run
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.status import ArtifactStatus, Status
from swarm_wire.messages import Assignment, RunRequest
from swarm_wire.records import Framed
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.problems import parse, problems
from swarm_wire.spending import Spending


@dataclass(frozen=True)
class Key:
    """Identifies the Compilation of a pass. A later Compilation of the same name has another uid."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Compilation:
    """A DSPyCompilation as it is in the cluster.

    Attributes:
        status: the status that the operator wrote last.
        rerun_at: value of the annotation that requests another run.
        queue: labels of the Compilation for Kueue.
        goes_on: whether the run named in the status is still the current one, although the spec may be newer.
        superseded: whether that run goes on only until its pods have ended. Then the next run begins.
    """

    key: Key
    resource_version: str
    generation: int
    requested_at: str | None
    deleting: bool
    given: Mapping[str, Any]
    status: Status
    rerun_at: str | None = None
    queue: Mapping[str, str] = field(default_factory=dict)
    goes_on: bool = False
    superseded: bool = False

    @property
    def run_id(self) -> str:
        new = object_names.run_id(self.key.uid, self.generation, self.requested_at, self.rerun_at)
        return (self.goes_on and self.status.run_id) or new

    @property
    def told(self) -> Spending:
        """Returns what this run has spent, according to the status."""
        return self.status.spent if self.status.run_id == self.run_id else Spending()

    def published(self, before: "Predecessor | None") -> tuple[ArtifactStatus | None, str]:
        """Returns what is published, and the uid of the Compilation that owns it: this one, or its predecessor.

        With `compare`, it is always that of the predecessor: its program runs today.
        """
        compares = self.spec is not None and self.spec.compare is not None
        if before is not None and before.artifact is not None and (compares or self.status.artifact is None):
            return before.artifact, before.uid
        return self.status.artifact, self.key.uid

    def lacks(self, artifact: "PublishedArtifact | None") -> bool:
        """Whether the operator must write the artifact's ConfigMap again, because it was deleted or never filled."""
        if artifact is None:
            return True
        return not artifact.sha256 and artifact.owner_uid == self.key.uid and not artifact.foreign

    def continued(self, request: RunRequest, has_pods: bool = False) -> "Compilation":
        """Returns this Compilation with `goes_on` and `superseded` set, by the RunRequest of the run in the status.

        That run goes on if the new spec is of the same run (`is_same_run`) and no other rerun is requested. A run that
        has pods goes on until these pods have ended, because the next run can reuse their results.
        """
        if self.requested_at != self.status.last_handled_requested_at:
            return self
        if self._is_same(request):
            return replace(self, goes_on=True)
        under_way = has_pods and self.status.completion_time is None and self.status.run_id != self.run_id
        return replace(self, goes_on=under_way, superseded=under_way)

    def _is_same(self, request: RunRequest) -> bool:
        if self.spec is None or self.rerun_at not in (None, request.rerun_at):
            return False
        return is_same_run(request.spec, self.spec)

    @cached_property
    def spec(self) -> CompilationSpec | None:
        """Returns the parsed spec, or None if the spec is invalid. Then `problems` says why."""
        return None if self.problems else parse(self.given)

    @cached_property
    def problems(self) -> str:
        """Returns the errors in the spec.

        Each error is a clause with the field, what is wrong, and the field's value.
        """
        try:
            parse(self.given)
        except ValidationError as error:
            return "; ".join(map(str, problems(error)))
        return ""


@dataclass(frozen=True)
class Run:
    """One execution of a Compilation. The operator makes all objects of the run from these values."""

    key: Key
    id: str
    request: RunRequest
    image: str

    @property
    def spec(self) -> CompilationSpec:
        return self.request.spec


@dataclass(frozen=True)
class AssignmentMap:
    """The ConfigMap that gives each pod of a work Job its slice.

    Attributes:
        strikes: key of a cell -> number of earlier attempts that ended on their own without a result for this cell.
    """

    name: str
    uid: str
    assignment: Assignment
    strikes: Mapping[str, int]


@dataclass(frozen=True)
class MapRef:
    """A ConfigMap of the operator, without its data.

    Attributes:
        size: number of bytes of a shard, according to the ConfigMap's annotation.
    """

    name: str
    uid: str
    run_id: str
    kind: str
    round: int
    size: int = 0
    created_at: datetime | None = None


@dataclass(frozen=True)
class PublishedArtifact:
    """The ConfigMap that has the artifact's name, whoever has written it.

    Attributes:
        owner_uid: uid of the ConfigMap's controller; "" if it has none.
        partial: why the ConfigMap holds only the best program so far; "" if it holds the optimizer's winner.
        foreign: whether another field manager owns some of the ConfigMap's data.
    """

    name: str
    uid: str
    resource_version: str
    owner_uid: str
    run_id: str
    sha256: str
    foreign: bool
    partial: str = ""


@dataclass(frozen=True)
class PublishedProgram:
    """The ConfigMap with the program that the status names as published, before a run begins.

    Attributes:
        place: the ConfigMap.
        sha256: of the program's text; "" if the ConfigMap has no program.
    """

    place: PublishedArtifact
    sha256: str


@dataclass(frozen=True)
class Predecessor:
    """The Compilation that spec.predecessor names.

    Attributes:
        uid: its uid; empty if there is nothing to reuse.
        artifact: what its status says about its published artifact.
        runs: ids of its runs whose results may be used, oldest first.
        maps: the operator's ConfigMaps for it.
        why_not: why the run reuses nothing of it, as a clause; None if it does.
    """

    uid: str = ""
    artifact: ArtifactStatus | None = None
    runs: tuple[str, ...] = ()
    maps: tuple[MapRef, ...] = ()
    why_not: str | None = None


@dataclass(frozen=True)
class NewPlan:
    """The output of a completed plan: the tasks of its round, and the records that complete the plan."""

    round: int
    attempt: int
    tasks: tuple[Framed, ...]
    closing: tuple[Framed, ...]


@dataclass(frozen=True)
class Harvest:
    """Records that pods have printed and that the journal lacks.

    Attributes:
        results: round -> RESULT, CALL, BOUND and BOOKED records.
        settled: pods that will add no more records, because the operator has read their output to its end, or it is
            gone.
        snapshots: SNAPSHOT records of fetched files, by what they are (`Snapshot.of`).
    """

    results: Mapping[int, tuple[Framed, ...]] = field(default_factory=dict)
    plans: tuple[NewPlan, ...] = ()
    settled: tuple[Pod, ...] = ()
    snapshots: Mapping[str, tuple[Framed, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """Everything on which a decision about one Compilation is based.

    Attributes:
        run: None until the RunRequest is written.
        inputs: ConfigMaps that the spec names -> their keys; None if there is no such ConfigMap.
        assignments: assignments of the current run, by (round, attempt).
        rejections: uid of a Job -> why the API server admits none of the Job's pods.
        published: the published program, if a run is about to begin that needs it; None if its ConfigMap is gone.
        maps: the operator's ConfigMaps for this Compilation, of all runs.
        earlier: ids of other runs with the same requested-at, oldest first.
        predecessor: the Compilation that the spec names as predecessor; None if it names none, or if the run is over.
        earlier_shards: the reusable results of those runs and of the predecessor's, while a run is under way.
        superfluous: names of shards whose records are all in larger shards. They are in no journal, and no pod mounts
            them.
    """

    compilation: Compilation
    run: Run | None = None
    inputs: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()
    journal: Journal = field(default_factory=Journal)
    assignments: Mapping[tuple[int, int], AssignmentMap] = field(default_factory=dict)
    rejections: Mapping[str, str] = field(default_factory=dict)
    artifact: PublishedArtifact | None = None
    published: PublishedProgram | None = None
    maps: tuple[MapRef, ...] = ()
    earlier: tuple[str, ...] = ()
    predecessor: Predecessor | None = None
    earlier_shards: tuple[Shard, ...] = ()
    superfluous: frozenset[str] = frozenset()
    harvest: Harvest = field(default_factory=Harvest)
