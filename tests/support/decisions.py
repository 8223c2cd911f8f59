"""Tests of decisions are tables. A row has the observed state, all actions of the operator, and its messages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from support.operator_specs import spec
from support.worlds import KEY, NOW, RUN_ID, ago, assignment, cell, compilation, job, plan_order, run, work_order
from swarm_operator.compilation.api import AnyReason, ObjectKind, Reason
from swarm_operator.compilation.decide.conditions import CONDITIONS, State, timestamp
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import (
    Action,
    ClaimName,
    DropJob,
    DropMap,
    KeepAssignment,
    KeepRecords,
    OpenRun,
    Publish,
    ReleasePod,
)
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.roles import Folder
from swarm_operator.compilation.model.shards import Artifact, Shard
from swarm_operator.compilation.model.world import AssignmentMap, Compilation, MapRef, PublishedArtifact, World
from swarm_operator.compilation.status import Status, WaitingStatus
from swarm_operator.settings import Settings
from swarm_wire.messages import Commit, RunRequest
from swarm_wire.names import ExitCode
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import UNLIMITED, Allowance

SETTINGS = Settings()
PLAN, WORK, RESULTS = ObjectKind.PLAN, ObjectKind.WORK, ObjectKind.RESULTS
PLAN_0, WORK_0 = job(PLAN, 0), job(WORK, 0, completions=2)
RESULT = Record(RecordKind.RESULT, {"key": cell(0, 0), "outcome": "ok"})
TASK, END = Record(RecordKind.TASK, {}), Record(RecordKind.PLAN, {})
CLAIMS = (MapRef("triage-artifact", "u", "", "artifact", 0), MapRef("another-name", "u", "", "artifact", 0))
FAILED, OOM = int(ExitCode.FAILED), 137

DEALT = assignment(0, 1, [0, 2], [1, 3])
"""The first assignment of round 0."""

# Actions that many rows share
CLAIM = ClaimName("triage-artifact")
OPEN = OpenRun(
    RunRequest(
        run_id=RUN_ID,
        name=KEY.name,
        namespace=KEY.namespace,
        spec=CompilationSpec.model_validate(spec(image=SETTINGS.worker_image)),
    )
)
SHORT_SECONDS: Final = 5400
"""The seconds for which a worker may live if its slices have one or two cells."""


@dataclass
class Row:
    """A row of a table of decisions.

    If `state` is None, the status must stay unchanged. A test leaves these fields unchecked: a `reason` of None, an
    empty `says`, and a `wake_up` of -1.
    """

    name: str
    world: World
    actions: Sequence[Action]
    state: State | None = State.RUNNING
    reason: AnyReason | None = None
    says: list[str] = field(default_factory=list)
    wake_up: float | None = -1

    def holds(self) -> None:
        decision = decide(self.world, NOW, SETTINGS)
        assert [*decision.actions, *decision.tidying] == list(self.actions)
        if self.state is None:
            assert decision.status is None
        else:
            assert decision.status is not None
            told = {condition.type: condition.status for condition in decision.status.conditions}
            assert told == CONDITIONS[self.state]
            reasons = {condition.reason for condition in decision.status.conditions}
            assert self.reason is None or reasons == {self.reason}
            for part in self.says:
                assert part in decision.status.conditions[0].message
        if self.wake_up != -1:
            assert decision.wake_up == self.wake_up


# Actions


def release(pod: Pod) -> ReleasePod:
    return ReleasePod(pod.name, pod.uid)


def drop(job: Job) -> DropJob:
    return DropJob(job.name, job.uid)


def keep(round_: int, *records: Record, kind: ObjectKind = ObjectKind.RESULTS, attempt: int = 0) -> KeepRecords:
    return KeepRecords(RUN_ID, kind, round_, attempt, records)


def publish(artifact: Artifact, over: PublishedArtifact) -> Publish:
    return Publish(run(), artifact, over)


def gone(*shards: Shard | list[Shard]) -> list[DropMap]:
    """Returns the actions that delete the ConfigMaps of these shards."""
    return [DropMap(found.name, found.uid) for found in flat(shards)]


def begin_plan(
    round_: int, attempt: int, *journal: Shard | list[Shard], tasks: Sequence[Shard] = (), **fields: Any
) -> Action:
    """Returns the action that starts a plan. The plan mounts the shards of `journal` that hold results, and the shards
    `tasks`."""
    left = tuple(found for found in tasks if found.kind is ObjectKind.TASKS)
    mounts = {Folder.TASKS: left} if left else {}
    return plan_order(None, round_, attempt, *_results(journal), mounts=mounts, **fields)


def begin_work(
    given: AssignmentMap, *journal: Shard | list[Shard], each: Allowance = UNLIMITED, seconds: int = SHORT_SECONDS
) -> Action:
    """Returns the action that starts workers. The workers mount these shards of tasks and results."""
    tasks = [found for found in flat(journal) if found.kind is ObjectKind.TASKS]
    return work_order(None, given.assignment, *tasks, *_results(journal), allowance=each, seconds=seconds)


def scatter(given: AssignmentMap, *journal: Shard | list[Shard], **fields: Any) -> list[Action]:
    """Returns the actions that assign the cells of a round and start its workers."""
    strikes = tuple(sorted(given.strikes.items()))
    return [KeepAssignment(given.assignment, strikes), begin_work(given, *journal, **fields)]


def flat(shards: Iterable[Shard | list[Shard]]) -> list[Shard]:
    return [found for part in shards for found in (part if isinstance(part, list) else [part])]


def _results(shards: Iterable[Shard | list[Shard]]) -> list[Shard]:
    """Returns the shards of results in the order in which pods mount them."""
    found = [shard for shard in flat(shards) if shard.kind is ObjectKind.RESULTS]
    return sorted(found, key=lambda shard: shard.key)


# Observed states


def waited(reason: Reason, seconds: float) -> Compilation:
    """Returns a Compilation whose status has shown a reason for so many seconds."""
    status = Status(run_id=RUN_ID, waiting=WaitingStatus(reason=reason, since=timestamp(ago(seconds))))
    return compilation(status=status)


def said(reason: str, message: str) -> Commit:
    """Returns the commit of a pod that reports this reason and message."""
    return Commit(nonce="n", exit_code=64, reason=reason, message=message)


def settled(state: State, reason: str = "Published", ended: float | None = None, **given: Any) -> Compilation:
    """Returns a Compilation whose status says that this run ended `ended` seconds ago."""
    return compilation(spec(**given), status=over(state, reason, ended))


def over(state: State, reason: str = "Published", ended: float | None = None) -> Status:
    """Returns a status that says that this run ended `ended` seconds ago."""
    conditions = [
        {
            "type": type_,
            "status": truth,
            "observedGeneration": 1,
            "lastTransitionTime": timestamp(NOW),
            "reason": reason,
            "message": "",
        }
        for type_, truth in CONDITIONS[state].items()
    ]
    status = {"observedGeneration": 1, "runId": RUN_ID, "conditions": conditions}
    if ended is not None:
        status["completionTime"] = timestamp(ago(ended))
    return Status.of(status)
