"""Builders for tests of decisions. They make a `World`, the state that the operator's pass sees, and its parts."""

from datetime import UTC, datetime, timedelta
from typing import Any

from support.operator_specs import spec
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.orders import POD_SECONDS
from swarm_operator.compilation.decide.retention import sifted
from swarm_operator.compilation.model.actions import StartJob
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.roles import Folder
from swarm_operator.compilation.model.shards import Artifact, Journal, Shard
from swarm_operator.compilation.model.world import (
    AssignmentMap,
    Compilation,
    Key,
    MapRef,
    PublishedArtifact,
    Run,
    World,
)
from swarm_operator.compilation.status import Status
from swarm_wire.messages import Assignment, Cell, EffectKind, PlanEnd, PlanOutcome, RunRequest, SliceRef, Task
from swarm_wire.report import Candidate, Report, Scores, Waste
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Usage

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
KEY = Key("team", "triage", "uid-1")
INPUTS = {"triage-program": frozenset({"triage.py"}), "triage-data": frozenset({"train.jsonl", "val.jsonl"})}
IMAGE = "worker:1"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def compilation(given: dict[str, Any] | None = None, status: Status | None = None, **fields: Any) -> Compilation:
    values: dict[str, Any] = {"resource_version": "1", "generation": 1, "requested_at": None, "deleting": False}
    return Compilation(key=KEY, given=given or spec(), status=status or Status(), **{**values, **fields})


RUN_ID = compilation().run_id

LABELS = {
    "app.kubernetes.io/managed-by": "dspy-swarm",
    "dspy-swarm.dev/compilation-uid": "uid-1",
    "dspy-swarm.dev/run": RUN_ID,
}
OWNER = {
    "apiVersion": "dspy-swarm.dev/v1alpha1",
    "kind": "DSPyCompilation",
    "name": "triage",
    "uid": "uid-1",
    "controller": True,
    "blockOwnerDeletion": False,
}


def run() -> Run:
    request = RunRequest(run_id=RUN_ID, name=KEY.name, spec=CompilationSpec.model_validate(spec(image=IMAGE)))
    return Run(KEY, RUN_ID, request, IMAGE)


def cell(round_: int, item: int) -> str:
    return f"{round_:016x}{item:016x}"


def task(round_: int, cells: int = 4, weight: int = 1, max_errors: int | None = None) -> Task:
    return Task(
        digest=f"{round_ + 1000:032x}",
        kind=EffectKind.WAVE,
        payload=f"{round_ + 2000:032x}",
        cells=[Cell(key=cell(round_, item), item=item) for item in range(cells)],
        weight=weight,
        max_errors=max_errors,
    )


def shard(kind: ObjectKind, round_: int, attempt: int = 0, number: int = 0, **content: Any) -> Shard:
    name = f"triage-{RUN_ID}-{kind[0]}{round_}-{attempt}-{number}"
    key = f"{kind}-{round_:04d}-{attempt:02d}-{number}.shard"
    return Shard(
        name=name, uid=f"uid-{name}", run_id=RUN_ID, kind=kind, round=round_, attempt=attempt, key=key, **content
    )


def planned(round_: int, asked: Task | None = None, guess: bool = False) -> list[Shard]:
    """Returns the shards of a round that a plan requested: its tasks and the plan's end."""
    asked = asked or task(round_)
    end = PlanEnd(
        outcome=PlanOutcome.BLOCKED,
        round=round_,
        binding="b",
        tasks=[asked.digest],
        cells=len(asked.cells),
        guesses={asked.digest: len(asked.cells)} if guess else {},
    )
    return [
        shard(ObjectKind.TASKS, round_, 1, tasks=(asked,)),
        shard(ObjectKind.RESULTS, round_, 1, plans=(end,)),
    ]


def results(round_: int, *items: int, failed: tuple[int, ...] = ()) -> Shard:
    """Returns a shard with results of these cells of a round. The cells `failed` have errors as results."""
    found = {cell(round_, item): Usage(calls=1) for item in items}
    errors = frozenset(cell(round_, item) for item in failed)
    return shard(ObjectKind.RESULTS, round_, 0, hash(items) % 1000, results=found, failed=errors)


ARTIFACT = Artifact(
    program="{}",
    report_text="{}",
    sha256="44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    report=Report(
        scores=Scores(baseline=50.0, best=75.0),
        candidates=[Candidate(name="seed 1", score=75.0)],
        wasted=Waste(cells=2, calls=3),
    ),
)


def compiled(round_: int) -> Shard:
    """Returns the shard of a plan that ended with the artifact."""
    end = PlanEnd(outcome=PlanOutcome.DONE, round=round_, binding="b", scores=ARTIFACT.report.scores)
    return shard(ObjectKind.RESULTS, round_, 1, plans=(end,), artifact=ARTIFACT)


def published(**fields: Any) -> PublishedArtifact:
    values: dict[str, Any] = {
        "name": "triage-artifact",
        "uid": "uid-artifact",
        "resource_version": "7",
        "owner_uid": KEY.uid,
        "run_id": RUN_ID,
        "sha256": ARTIFACT.sha256,
        "foreign": False,
    }
    return PublishedArtifact(**{**values, **fields})


def job(kind: ObjectKind, round_: int, attempt: int = 1, completions: int = 1, **fields: Any) -> Job:
    name = f"triage-{RUN_ID}-{kind[0]}{round_}-{attempt}"
    values: dict[str, Any] = {"run_id": RUN_ID, "created_at": ago(100)}
    return Job(
        name=name,
        uid=f"uid-{name}",
        kind=kind,
        round=round_,
        attempt=attempt,
        completions=completions,
        **{**values, **fields},
    )


def pod(of: Job, index: int = 0, **fields: Any) -> Pod:
    """Returns a running pod of a Job. With `exit_code`, the pod has ended and the operator has read its log."""
    values: dict[str, Any] = {"run_id": of.run_id, "created_at": ago(90), "started": True, "held": True}
    if fields.get("exit_code") is not None:
        values |= {"ended": True, "held": False, "finished_at": ago(60), "failure": f"exit code {fields['exit_code']}"}
    return Pod(
        name=f"{of.name}-{index}-x",
        uid=f"uid-{of.name}-{index}",
        kind=of.kind,
        round=of.round,
        attempt=of.attempt,
        index=index,
        job=of.name,
        job_uid=of.uid,
        **{**values, **fields},
    )


def assignment(round_: int, attempt: int, *slices: list[int], strikes: dict[str, int] | None = None) -> AssignmentMap:
    """Returns an assignment with one pod for each list of items."""
    digest = task(round_).digest
    given = Assignment(
        run_id=RUN_ID,
        round=round_,
        attempt=attempt,
        slices=[[SliceRef(task=digest, cells=cells)] for cells in slices],
    )
    return AssignmentMap(f"triage-{RUN_ID}-w{round_}-{attempt}", f"uid-a{round_}-{attempt}", given, strikes or {})


CLAIMED = PublishedArtifact("triage-artifact", "artifact", "1", KEY.uid, run_id="", sha256="", foreign=False)
"""The ConfigMap of the artifact while the run is in progress."""


def world(*shards: Shard | list[Shard], **fields: Any) -> World:
    """Returns a run that has begun, with these shards in its journal."""
    flat = [found for part in shards for found in (part if isinstance(part, list) else [part])]
    given = fields.pop("assignments", ())
    kept, superfluous = sifted(flat)
    maps = [
        MapRef(found.name, found.uid, found.run_id, found.kind, 0) for found in flat if found.kind is ObjectKind.RESULTS
    ]
    values: dict[str, Any] = {
        "compilation": compilation(),
        "run": run(),
        "inputs": INPUTS,
        "journal": Journal(kept),
        "superfluous": superfluous,
        "artifact": CLAIMED,
        "maps": tuple(maps),
        "assignments": {(found.assignment.round, found.assignment.attempt): found for found in given},
    }
    return World(**{**values, **fields})


def plan_order(ours: Run | None = None, round_: int = 0, attempt: int = 1, *journal: Shard, **fields: Any) -> StartJob:
    """Returns the order for a plan Job that mounts this journal."""
    mounts = {Folder.JOURNAL: journal, **fields.pop("mounts", {})}
    values: dict[str, Any] = {"seconds": POD_SECONDS, **fields}
    return StartJob(ObjectKind.PLAN, ours or run(), round_, attempt, mounts=mounts, **values)


def work_order(ours: Run | None, given: Assignment, *shards: Shard, **fields: Any) -> StartJob:
    """Returns the order for a work Job that mounts these shards of tasks and results."""
    mounts = {
        Folder.TASKS: tuple(found for found in shards if found.kind is ObjectKind.TASKS),
        Folder.JOURNAL: tuple(found for found in shards if found.kind is ObjectKind.RESULTS),
        Folder.ASSIGNMENT: (),
        **fields.pop("mounts", {}),
    }
    ours, slices = ours or run(), len(given.slices)
    parallel = min(slices, ours.spec.swarm.pods)
    values: dict[str, Any] = {"seconds": POD_SECONDS, "pods": slices, "parallel": parallel, **fields}
    return StartJob(ObjectKind.WORK, ours, given.round, given.attempt, mounts=mounts, **values)
