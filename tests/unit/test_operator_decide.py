"""The state machine as a table: what is seen -> what is done, and why.

Each row is a world, the actions that follow (by their names, in order), the state and the reason.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.operator_specs import spec
from support.worlds import (
    ARTIFACT,
    CLAIMED,
    IMAGE,
    INPUTS,
    KEY,
    NOW,
    RUN_ID,
    ago,
    assignment,
    cell,
    compilation,
    compiled,
    job,
    planned,
    pod,
    published,
    results,
    shard,
    task,
    world,
)
from swarm_operator.compilation.api import RERUN_AT, AnyReason, ObjectKind, Reason, ScoresStatus, Status, WaitingStatus
from swarm_operator.compilation.decide.conditions import CONDITIONS, State, timestamp
from swarm_operator.compilation.decide.retention import FEW
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import (
    Action,
    DropJob,
    DropMap,
    KeepRecords,
    Publish,
    ReleasePod,
    StartPlan,
    StartWork,
)
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import Harvest, MapRef, NewPlan, Trouble, World
from swarm_operator.settings import MEBIBYTE, Settings
from swarm_wire.messages import Commit
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import UNLIMITED, Usage

SETTINGS = Settings()
PLAN, WORK, RESULTS = ObjectKind.PLAN, ObjectKind.WORK, ObjectKind.RESULTS
PLAN_0, WORK_0 = job(PLAN, 0), job(WORK, 0, completions=2)
JOURNAL_MAPS = (
    MapRef("run", "u", RUN_ID, "run", 0),
    MapRef("results", "u", RUN_ID, "results", 0),
    MapRef("triage-artifact", "u", RUN_ID, "artifact", 0),
)
JOURNAL_0 = frozenset(shard.name for shard in planned(0) if shard.kind is ObjectKind.RESULTS)
CLAIMS = (MapRef("triage-artifact", "u", "", "artifact", 0), MapRef("another-name", "u", "", "artifact", 0))
RESULT = Record(RecordKind.RESULT, {"key": cell(0, 0), "outcome": "ok"})
TASK, END = Record(RecordKind.TASK, {}), Record(RecordKind.PLAN, {})
SUSPENDED = compilation(spec(suspend=True))


def small(round_: int, count: int) -> list[Shard]:
    """Shards of one result each, of cells that no task asks for."""
    return [
        shard(RESULTS, round_, 0, number, size=200, results={cell(900, number): Usage(calls=1)})
        for number in range(count)
    ]


def merged(round_: int, count: int) -> Shard:
    """What they become."""
    found = {cell(900, number): Usage(calls=1) for number in range(count)}
    return shard(RESULTS, round_, 0, 1000, size=200 * count, results=found)


FAILED, OOM = int(ExitCode.FAILED), 137


def said(reason: str, message: str) -> Commit:
    return Commit(nonce="n", exit_code=64, reason=reason, message=message)


def waited(reason: Reason, seconds: float) -> Any:
    """A Compilation whose status has told of a reason for so long."""
    status = Status(run_id=RUN_ID, waiting=WaitingStatus(reason=reason, since=timestamp(ago(seconds))))
    return compilation(status=status)


def settled(state: State, reason: str = "Published", ended: float | None = None, **given: Any) -> Any:
    """A Compilation whose status says that this run is over, and has been for so many seconds."""
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
    return compilation(spec(**given), status=Status.of(status))


@dataclass
class Row:
    name: str
    world: World
    actions: list[str]
    state: State | None = State.RUNNING
    reason: AnyReason | None = None
    says: list[str] = field(default_factory=list)
    wake_up: float | None = -1
    """-1: not looked at."""


def stuck(reason: Reason, message: str) -> dict[str, Any]:
    return {"started": False, "trouble": Trouble(reason, message)}


NEW = [
    Row("a new Compilation gets its request", world(run=None), ["OpenRun"], reason=Reason.PLANNING, wake_up=0),
    Row("an opened run gets the plan of round 0", world(), ["StartPlan"], reason=Reason.PLANNING, wake_up=5),
    Row(
        "a Compilation under deletion lets its pods go, and ends what would spend, and nothing else",
        world(compilation=compilation(deleting=True), jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        ["ReleasePod", "DropJob"],
        state=None,
    ),
    Row(
        "an invalid spec is refused with path and cure",
        world(compilation=compilation(spec(metric={"entrypoint": "no-colon"})), run=None),
        [],
        State.FAILED,
        Reason.INVALID_SPEC,
        ["spec.metric.entrypoint", "'no-colon'", "Correct the spec"],
    ),
    Row(
        "so is a name that an artifact's ConfigMap cannot have, before anything is paid",
        world(compilation=replace(compilation(), key=replace(KEY, name="a" * 245)), run=None),
        [],
        State.FAILED,
        Reason.INVALID_SPEC,
        ["a-artifact", "253 characters", "spec.artifact.configMap.name"],
    ),
    Row(
        "a suspended Compilation gets nothing",
        world(compilation=compilation(spec(suspend=True)), run=None),
        [],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["no pod runs", "Set spec.suspend to false"],
        wake_up=None,
    ),
    Row(
        "a suspended run ends its pods",
        world(compilation=SUSPENDED, jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        ["DropJob"],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["its last pod is ending"],
        wake_up=5,
    ),
    Row(
        "while pods end, what they print is still waited for",
        world(planned(0), compilation=SUSPENDED, pods=(pod(WORK_0, 0), pod(WORK_0, 1))),
        [],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["2 pods are ending", "in round 0, 0 of 4 cells have results, which are kept"],
        wake_up=5,
    ),
    Row(
        "what they printed is kept first",
        world(planned(0), compilation=SUSPENDED, jobs=(WORK_0,), harvest=Harvest(results={0: (RESULT,)})),
        ["KeepRecords"],
        state=None,
        wake_up=0,
    ),
    Row(
        "a run that has its winner publishes it, suspended or not",
        world(compiled(0), compilation=SUSPENDED),
        ["Publish"],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "a request that cannot be read any more ends the run",
        world(run=None, maps=(MapRef(f"triage-{RUN_ID}-run", "u", RUN_ID, "run", 0),)),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
        ["A change of the spec, or this, begins a new run", "kubectl -n team annotate --overwrite dspyc/triage"],
    ),
]

INPUT = [
    Row(
        "the artifact's name is claimed before anything is paid for",
        world(artifact=None),
        ["ClaimName", "StartPlan"],
        reason=Reason.PLANNING,
    ),
    Row(
        "and again where somebody has deleted the ConfigMap",
        world(planned(0), artifact=None),
        ["ClaimName", "StartWork"],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a name that another Compilation has claimed is waited for",
        world(artifact=replace(CLAIMED, owner_uid="another")),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["ConfigMap 'triage-artifact', which is not this Compilation's", "spec.artifact.configMap.name"],
    ),
    Row(
        "until the deadline",
        world(compilation=waited(Reason.ARTIFACT_CONFLICT, 60), artifact=replace(CLAIMED, owner_uid="another")),
        [],
        State.FAILED,
        Reason.ARTIFACT_CONFLICT,
    ),
    Row(
        "a missing ConfigMap is waited for",
        world(inputs={**INPUTS, "triage-data": None}),
        [],
        reason=Reason.MISSING_CONFIG_MAP,
        says=["'triage-data'", "Create it"],
    ),
    Row(
        "a missing key is waited for",
        world(inputs={**INPUTS, "triage-data": frozenset({"train.jsonl"})}),
        [],
        reason=Reason.MISSING_CONFIG_MAP_KEY,
        says=["'val.jsonl'", "which has: train.jsonl"],
    ),
    Row(
        "a missing ConfigMap fails the run after the deadline",
        world(compilation=waited(Reason.MISSING_CONFIG_MAP, 60), inputs={**INPUTS, "triage-data": None}),
        [],
        State.FAILED,
        Reason.MISSING_CONFIG_MAP,
        ["60 s", f"kubectl -n {KEY.namespace} annotate --overwrite dspyc/{KEY.name} dspy-swarm.dev/rerun-at="],
    ),
    Row(
        "another reason has a deadline of its own",
        world(compilation=waited(Reason.UNSCHEDULABLE, 600), inputs={**INPUTS, "triage-data": None}),
        [],
        reason=Reason.MISSING_CONFIG_MAP,
    ),
    Row(
        "a missing ConfigMap does not stop pods that run already",
        world(inputs={}, jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [],
        reason=Reason.PLANNING,
    ),
    Row(
        "a foreign ConfigMap of the artifact's name stops the run before it costs anything",
        world(artifact=published(owner_uid="somebody")),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["'triage-artifact'", "not overwritten"],
    ),
    Row(
        "an artifact of ours that somebody edited is foreign too",
        world(artifact=published(foreign=True)),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["edited"],
    ),
    Row("our own artifact of an earlier run is no conflict", world(artifact=published(run_id="old")), ["StartPlan"]),
]

PODS = [
    Row(
        "a running plan is waited for",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [],
        reason=Reason.PLANNING,
        wake_up=5,
    ),
    Row("a Job without pods yet is waited for", world(jobs=(PLAN_0,)), [], reason=Reason.PLANNING),
    Row(
        "a Job that somebody has suspended is waited for, however long",
        world(jobs=(replace(PLAN_0, suspended=True),)),
        [],
        reason=Reason.QUEUED,
        says=["is suspended", "Kueue"],
    ),
    Row(
        "which nobody has to look at",
        world(jobs=(replace(PLAN_0, suspended=True),)),
        [],
        reason=Reason.QUEUED,
        wake_up=None,
    ),
    Row(
        "a Job that is suspended while its pods run is waited for until they are over",
        world(
            planned(0),
            results(0, 1),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(replace(WORK_0, suspended=True, mounted=JOURNAL_0),),
            pods=(pod(WORK_0, 0),),
        ),
        [],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a Job that was suspended before it brought anything is waited for",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(replace(WORK_0, suspended=True, mounted=JOURNAL_0),),
        ),
        [],
        reason=Reason.QUEUED,
    ),
    Row(
        "a Job that was suspended in the middle of its work is replaced by one that does what is missing",
        world(
            planned(0),
            results(0, 1),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(replace(WORK_0, suspended=True, mounted=JOURNAL_0),),
        ),
        ["StartWork", "DropJob"],
        reason=Reason.RETRYING,
    ),
    Row(
        "a Job whose pods wait for a shard that somebody has deleted is of no use",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(waits_for_gone := replace(WORK_0, needed=frozenset({*JOURNAL_0, "gone"})),),
            pods=(pod(WORK_0, 0, started=False),),
        ),
        ["DropJob"],
        reason=Reason.SCATTERING,
    ),
    Row(
        "not while one of them works",
        world(planned(0), jobs=(waits_for_gone,), pods=(pod(WORK_0, 0), pod(WORK_0, 1, started=False))),
        [],
        reason=Reason.SCATTERING,
    ),
    Row(
        "then another attempt follows, as if there had been none",
        world(planned(0), assignments=(assignment(0, 1, [0, 1], [2, 3]),), jobs=(waits_for_gone,)),
        ["StartWork", "DropJob"],
    ),
    Row(
        "a pod without its Secret is waited for",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, **stuck(Reason.MISSING_SECRET, 'secret "key" not found')),)),
        [],
        reason=Reason.MISSING_SECRET,
        says=['secret "key" not found'],
    ),
    Row(
        "a pod without its Secret fails the run after the deadline",
        world(
            compilation=waited(Reason.MISSING_SECRET, 61),
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0, **stuck(Reason.MISSING_SECRET, 'secret "key" not found')),),
        ),
        [],
        State.FAILED,
        Reason.MISSING_SECRET,
        wake_up=0,
    ),
    Row(
        "a pod that no node takes is waited for longer",
        world(
            compilation=waited(Reason.UNSCHEDULABLE, 600),
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0, **stuck(Reason.UNSCHEDULABLE, "0/1 nodes are available")),),
        ),
        [],
        reason=Reason.UNSCHEDULABLE,
    ),
    Row(
        "pods that cannot start are no trouble while others of the Job run",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(WORK_0,),
            pods=(pod(WORK_0, 0), pod(WORK_0, 1, **stuck(Reason.UNSCHEDULABLE, "0/1 nodes are available"))),
        ),
        [],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a pod that starts for too long says where to look",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, started=False, created_at=ago(121)),)),
        [],
        reason=Reason.POD_CANNOT_START,
        says=["since 2026-11-21T11:57:59Z", "kubectl describe pod"],
    ),
    Row(
        "a Job whose pods are rejected says why",
        world(jobs=(PLAN_0,), rejections={PLAN_0.uid: "exceeded quota: pods=0"}),
        [],
        reason=Reason.PODS_REJECTED,
        says=["exceeded quota: pods=0"],
    ),
    Row(
        "bad input ends the run in the pod's words",
        world(
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0, exit_code=64, commit=said("DataInvalid", "line 3 is not JSON")),),
        ),
        [],
        State.FAILED,
        WorkerReason.DATA_INVALID,
        ["line 3 is not JSON"],
    ),
    Row(
        "what else runs comes to its end first, and the pod that tells why stays",
        world(
            jobs=(PLAN_0, other := job(PLAN, 0, 2)),
            pods=(pod(PLAN_0, exit_code=64, commit=said("DataInvalid", "line 3 is not JSON")), pod(other)),
        ),
        ["DropJob"],
        reason=WorkerReason.DATA_INVALID,
        says=["line 3 is not JSON"],
    ),
    Row(
        "it is not let go when what it printed is kept",
        world(
            jobs=(PLAN_0,),
            pods=(proof := replace(pod(PLAN_0, exit_code=64), held=True),),
            harvest=Harvest(results={0: (RESULT,)}, settled=(proof,)),
        ),
        ["KeepRecords"],
        state=None,
    ),
    Row(
        "where sources were edited, the new state may be the right one: another run is advised, which is paid for once",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=67, commit=said("SourceChanged", "the data changed.")),)),
        [],
        State.FAILED,
        WorkerReason.SOURCE_CHANGED,
        ["the data changed. A change of the spec, or this, begins a new run", f'{RERUN_AT}="$(date -Is)"'],
    ),
    Row(
        "a terminal exit without a word is named by its code",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=int(ExitCode.DRIFT)),)),
        [],
        State.FAILED,
        WorkerReason.DIGEST_DRIFT,
    ),
]

ROUNDS = [
    Row(
        "results are written before anything else, and only then their pods are released",
        world(
            planned(0),
            jobs=(WORK_0,),
            pods=(settled_pod := pod(WORK_0, exit_code=0, held=True),),
            harvest=Harvest(results={0: (RESULT,)}, settled=(settled_pod,)),
        ),
        ["KeepRecords", "ReleasePod"],
        state=None,
        wake_up=0,
    ),
    Row(
        "a plan's tasks are written before its end",
        world(jobs=(PLAN_0,), harvest=Harvest(plans=(NewPlan(0, 1, (TASK,), (END,)),))),
        ["KeepRecords", "KeepRecords"],
        state=None,
        wake_up=0,
    ),
    Row(
        "a planned round is scattered, and its plan's Job goes",
        world(planned(0), jobs=(PLAN_0,)),
        ["StartWork", "DropJob"],
        reason=Reason.SCATTERING,
        says=["0 of 4 cells"],
    ),
    Row(
        "a round of which fewer cells failed than a task bears goes on",
        world(planned(0, task(0, max_errors=2)), results(0, 0, 1, failed=(1,)), jobs=(WORK_0,), pods=(pod(WORK_0),)),
        [],
        reason=Reason.SCATTERING,
        says=["2 of 4 cells have results."],
    ),
    Row(
        "a round of which a task has failed is over: its pods end before the next plan could ask for the same",
        world(planned(0, task(0, max_errors=2)), results(0, 0, 1, failed=(0, 1)), jobs=(WORK_0,), pods=(pod(WORK_0),)),
        ["DropJob"],
        reason=Reason.PLANNING,
    ),
    Row(
        "when they have, the next plan goes on from what failed",
        world(planned(0, task(0, max_errors=2)), results(0, 0, 1, failed=(0, 1))),
        ["StartPlan"],
        reason=Reason.PLANNING,
    ),
    Row(
        "a round that guesses says so",
        world(planned(0, guess=True)),
        ["StartWork"],
        reason=Reason.SCATTERING,
        says=["0 of 4 cells have results; 1 of 1 tasks are guesses."],
    ),
    Row(
        "LM calls are no results, whatever their keys",
        world(planned(0), shard(ObjectKind.RESULTS, 0, calls={cell(0, item): Usage(calls=1) for item in range(4)})),
        ["StartWork"],
        reason=Reason.SCATTERING,
        says=["0 of 4 cells have results."],
    ),
    Row(
        "an assignment without its Job is taken up again after a crash",
        world(planned(0), assignments=(assignment(0, 1, [0, 1, 2, 3]),)),
        ["StartWork"],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a deleted Job whose pods brought something is another attempt",
        world(planned(0), results(0, 0), assignments=(assignment(0, 1, [0, 1, 2, 3]),)),
        ["StartWork"],
        reason=Reason.RETRYING,
    ),
    Row(
        "a complete round is planned on, whatever its Job says",
        world(planned(0), results(0, 0, 1, 2, 3), jobs=(WORK_0,)),
        ["StartPlan", "DropJob"],
        reason=Reason.PLANNING,
        says=["round 1"],
    ),
    Row(
        "a Job stays while a pod of it is unread",
        world(planned(0), results(0, 0, 1, 2, 3), jobs=(WORK_0,), pods=(pod(WORK_0, exit_code=0, held=True),)),
        ["StartPlan"],
    ),
    Row(
        "tasks of rounds before the last planned one go",
        world(
            planned(0),
            results(0, 0, 1, 2, 3),
            planned(1),
            jobs=(job(WORK, 1),),
            maps=(MapRef("t", "t", RUN_ID, "tasks", 0), MapRef("r", "r", RUN_ID, "results", 0)),
            assignments=(assignment(1, 1, [0, 1, 2, 3]),),
        ),
        ["DropMap"],
    ),
    Row(
        "a round whose tasks were lost is planned anew",
        world(planned(0)[1:]),
        ["StartPlan"],
        reason=Reason.PLANNING,
        says=["round 1"],
    ),
    Row(
        "two such rounds without a result are a damaged journal",
        world(planned(0)[1:], planned(1)[1:]),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
    ),
    Row(
        "a gap in the plans is a damaged journal",
        world(planned(0), planned(2)),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
        ["[0, 2]"],
    ),
    Row(
        "a plan that asks for what was there is no progress",
        world(planned(0), results(0, 0, 1, 2, 3), planned(1, asked=task(0))),
        [],
        State.FAILED,
        Reason.NO_PROGRESS,
    ),
]

ATTEMPTS = [
    Row(
        "what failed pods left is tried again",
        world(
            planned(0),
            results(0, 0, 1),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(WORK_0,),
            pods=(pod(WORK_0, 0, exit_code=0), pod(WORK_0, 1, exit_code=OOM, failure="OOMKilled (exit code 137)")),
        ),
        ["StartWork"],
        reason=Reason.RETRYING,
        says=["2 cells have no result", "OOMKilled"],
    ),
    Row(
        "not before a delay, where it was the pods' own fault",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), 0, exit_code=FAILED, finished_at=ago(4)),),
        ),
        [],
        reason=Reason.RETRYING,
        wake_up=6,
    ),
    Row(
        "at once, where it was not",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), 0, exit_code=143, disrupted=True, finished_at=ago(0)),),
        ),
        ["StartWork"],
        reason=Reason.RETRYING,
    ),
    Row(
        "at once, and without a strike, where the output was full",
        world(
            planned(0),
            results(0, 0, 1),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), 0, exit_code=75, finished_at=ago(0), commit=said("OutputFull", "another")),),
        ),
        ["StartWork"],
        reason=Reason.RETRYING,
        says=["OutputFull: another."],
    ),
    Row(
        "a plan whose output was full goes on at once, however often",
        world(
            jobs=tuple(job(PLAN, 0, attempt) for attempt in (1, 2, 3)),
            pods=tuple(pod(job(PLAN, 0, attempt), exit_code=75, finished_at=ago(0)) for attempt in (1, 2, 3)),
        ),
        ["StartPlan"],
        reason=Reason.RETRYING,
    ),
    Row(
        "three failures of its own are enough for a cell",
        world(
            planned(0),
            results(0, 1, 2, 3),
            assignments=(assignment(0, 3, [0], strikes={cell(0, 0): 2}),),
            jobs=(job(WORK, 0, 3),),
            pods=(pod(job(WORK, 0, 3), 0, exit_code=FAILED, commit=said("ProviderFailed", "no answer")),),
        ),
        [],
        State.FAILED,
        Reason.ATTEMPTS_EXHAUSTED,
        ["1 cells of round 0", "after 3 attempts", "no answer"],
    ),
    Row(
        "disruptions may repeat it more often",
        world(
            planned(0),
            assignments=(assignment(0, 5, [0, 1, 2, 3], strikes={cell(0, 0): 2}),),
            jobs=(job(WORK, 0, 5),),
            pods=(pod(job(WORK, 0, 5), 0, exit_code=int(ExitCode.INTERRUPTED)),),
        ),
        ["StartWork"],
    ),
    Row(
        "but not for ever",
        world(
            planned(0),
            assignments=tuple(assignment(0, attempt, [0, 1, 2, 3]) for attempt in range(1, 14)),
            jobs=(job(WORK, 0, 13),),
            pods=(pod(job(WORK, 0, 13), 0, exit_code=143, disrupted=True),),
        ),
        [],
        State.FAILED,
        Reason.ATTEMPTS_EXHAUSTED,
    ),
    Row(
        "an attempt that brought something does not count",
        world(
            planned(0),
            results(0, 0),
            assignments=tuple(assignment(0, attempt, [0, 1, 2, 3]) for attempt in range(1, 14)),
            jobs=(job(WORK, 0, 13),),
            pods=(pod(job(WORK, 0, 13), 0, exit_code=143, disrupted=True),),
        ),
        ["StartWork"],
    ),
    Row(
        "an attempt is not over before each of its pods was there",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(WORK_0,),
            pods=(pod(WORK_0, 0, exit_code=FAILED),),
        ),
        [],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a pod on a lost node is given up and released",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(WORK_0,),
            pods=(pod(WORK_0, 0, exit_code=0), pod(WORK_0, 1, deleted_at=ago(31))),
        ),
        ["StartWork", "ReleasePod"],
        reason=Reason.RETRYING,
    ),
    Row(
        "pods of a deleted Job may still bring something",
        world(
            planned(0),
            results(0, 0),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            pods=(pod(job(WORK, 0), 0, deleted_at=ago(-20)),),
        ),
        [],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a plan that died is planned again",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=FAILED),)),
        ["StartPlan"],
        reason=Reason.RETRYING,
    ),
    Row(
        "a plan that ended well without a readable end is planned again",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=0),)),
        ["StartPlan"],
        reason=Reason.RETRYING,
    ),
    Row(
        "a plan that hangs until its deadline has died, whatever it says then",
        world(
            jobs=tuple(job(PLAN, 0, n) for n in (1, 2, 3)),
            pods=tuple(
                pod(job(PLAN, 0, n), exit_code=int(ExitCode.INTERRUPTED), failure="DeadlineExceeded: too long")
                for n in (1, 2, 3)
            ),
        ),
        [],
        State.FAILED,
        Reason.ATTEMPTS_EXHAUSTED,
        ["DeadlineExceeded: too long"],
    ),
    Row(
        "a plan dies three times at most",
        world(
            jobs=tuple(job(PLAN, 0, n) for n in (1, 2, 3)),
            pods=tuple(pod(job(PLAN, 0, n), exit_code=FAILED, commit=said("ProviderFailed", "401")) for n in (1, 2, 3)),
        ),
        [],
        State.FAILED,
        Reason.ATTEMPTS_EXHAUSTED,
        ["ProviderFailed: 401"],
    ),
]

EARLIER_MAPS = (
    MapRef("first-r0", "u", "first", "results", 0, size=10),
    MapRef("first-t0", "u", "first", "tasks", 0, size=10),
    MapRef("second-r0", "u", "second", "results", 0, size=10),
    MapRef("other-r0", "u", "other", "results", 0, size=10),
)

MANY_MAPS = tuple(
    MapRef(run, f"{run}-{number}", run, "results", 0, size=MEBIBYTE)
    for run in ("other", "first", "second")
    for number in range(40)
)

ENDS = [
    Row("a compiled program is written", world(compiled(0)), ["Publish"], reason=Reason.PUBLISHING, wake_up=0),
    Row(
        "where somebody has deleted what it goes to, the name is claimed again first",
        world(compiled(0), artifact=None),
        ["ClaimName"],
        reason=Reason.PUBLISHING,
        wake_up=0,
    ),
    Row(
        "it is published when its ConfigMap is seen",
        world(compiled(0), artifact=published()),
        [],
        State.PUBLISHED,
        Reason.PUBLISHED,
        ["'triage-artifact'", "50 -> 75"],
    ),
    Row(
        "an artifact of an earlier run is replaced",
        world(compiled(0), artifact=published(run_id="old", sha256="old")),
        ["Publish"],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "an artifact that somebody edited meanwhile is not",
        world(compiled(0), artifact=published(run_id="old", foreign=True)),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
    ),
    Row(
        "what is over is tidied up and not spoken of again",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED),
            artifact=published(),
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0, exit_code=0, held=True),),
            maps=(
                MapRef("tasks", "u", RUN_ID, "tasks", 0),
                MapRef("results", "u", RUN_ID, "results", 0),
                MapRef("older", "u", "older", "results", 0),
                MapRef("triage-artifact", "u", "older", "artifact", 0),
            ),
        ),
        ["ReleasePod", "DropJob", "DropMap tasks", "DropMap older"],
        state=None,
        wake_up=None,
    ),
    Row(
        "journals of the same request are kept for later runs, but for what was passing",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED),
            artifact=published(),
            maps=EARLIER_MAPS,
            earlier=("first", "second"),
        ),
        ["DropMap first-t0", "DropMap other-r0"],
        state=None,
    ),
    Row(
        "as many of the newest as there is room for",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED),
            artifact=published(),
            maps=MANY_MAPS,
            earlier=("first", "second"),
        ),
        ["DropMap other"] * 40 + ["DropMap first"] * 40,
        state=None,
    ),
    Row(
        "also while a run is under way",
        world(maps=MANY_MAPS, earlier=("first", "second")),
        ["StartPlan", *["DropMap other"] * 40, *["DropMap first"] * 40],
    ),
    Row(
        "also after a failure, and of other requests as well",
        world(compilation=settled(State.FAILED), maps=MANY_MAPS),
        ["DropMap other"] * 40 + ["DropMap first"] * 40,
        state=None,
    ),
    Row(
        "but none that a pod may mount",
        world(
            maps=MANY_MAPS,
            earlier=("first", "second"),
            jobs=(job(PLAN, 0, mounted=frozenset({"other", "first"})),),
            pods=(pod(PLAN_0),),
        ),
        [],
    ),
    Row(
        "none of them before the new run is opened",
        world(run=None, maps=MANY_MAPS, earlier=("first", "second")),
        ["OpenRun"],
    ),
    Row(
        "all of them until there is an artifact",
        world(maps=EARLIER_MAPS, earlier=("first", "second")),
        ["StartPlan", "DropMap first-t0"],
    ),
    Row(
        "and no longer than the spec says",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED, ended=61, ttlSecondsAfterFinished=60),
            artifact=published(),
            maps=EARLIER_MAPS,
            earlier=("first", "second"),
        ),
        ["DropMap first-r0", "DropMap first-t0", "DropMap second-r0", "DropMap other-r0"],
        state=None,
    ),
    Row(
        "a journal that is too large ends the run",
        world(replace(results(0, 1), size=64 * MEBIBYTE + 1), maps=(MapRef("r", "u", RUN_ID, "results", 0, size=1),)),
        [],
        State.FAILED,
        Reason.JOURNAL_TOO_LARGE,
        ["64.0 MiB", "spec.journal"],
    ),
    Row(
        "when its pods have ended",
        world(replace(results(0, 1), size=64 * MEBIBYTE + 1), jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        ["DropJob"],
        reason=Reason.JOURNAL_TOO_LARGE,
        wake_up=5,
    ),
    Row(
        "whatever somebody has written beside it",
        world(maps=(MapRef("r", "u", RUN_ID, "results", 0, size=64 * MEBIBYTE + 1),)),
        ["StartPlan"],
    ),
    Row(
        "but not one that has come to its end",
        world(
            replace(compiled(0), size=64 * MEBIBYTE + 1),
            artifact=published(),
        ),
        [],
        State.PUBLISHED,
        Reason.PUBLISHED,
    ),
    Row(
        "a journal stays for as long as the spec says",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED, ended=50, ttlSecondsAfterFinished=60),
            artifact=published(),
            maps=JOURNAL_MAPS,
        ),
        [],
        state=None,
        wake_up=10,
    ),
    Row(
        "and then goes, but for the artifact, and the request by which its run is known",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED, ended=61, ttlSecondsAfterFinished=60),
            artifact=published(),
            maps=JOURNAL_MAPS,
        ),
        ["DropMap results"],
        state=None,
        wake_up=None,
    ),
    Row(
        "without its journal a run that a limit has ended is over for good",
        world(
            compilation=settled(
                State.FAILED, "LimitReached", ended=61, ttlSecondsAfterFinished=60, limits={"lmCalls": 9}
            ),
            run=None,
        ),
        [],
        state=None,
    ),
    Row(
        "after a failure the older journal stays",
        world(
            compilation=settled(State.FAILED),
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0),),
            maps=(MapRef("older", "u", "older", "results", 0),),
        ),
        ["ReleasePod", "DropJob"],
        state=None,
    ),
    Row(
        "a published artifact that was deleted is written again: first its name",
        world(compiled(0), compilation=settled(State.PUBLISHED), artifact=None),
        ["ClaimName"],
        state=None,
        wake_up=0,
    ),
    Row(
        "a run that failed lets go the name that it claimed",
        world(compilation=settled(State.FAILED), maps=CLAIMS),
        ["DropMap triage-artifact", "DropMap another-name"],
        state=None,
    ),
    Row(
        "another name that a run before it claimed is let go",
        world(maps=CLAIMS),
        ["StartPlan", "DropMap another-name"],
        reason=Reason.PLANNING,
    ),
    Row(
        "also where the operator died between its two writes",
        world(compiled(0), compilation=settled(State.PUBLISHED), artifact=published(sha256="", run_id="")),
        ["Publish"],
        state=None,
    ),
    Row(
        "not over somebody else's",
        world(compiled(0), compilation=settled(State.PUBLISHED), artifact=published(sha256="", owner_uid="theirs")),
        [],
        state=None,
    ),
    Row(
        "pods and Jobs of another run go",
        world(
            jobs=(old := job(WORK, 0, run_id="older"),),
            pods=(pod(old),),
            maps=(MapRef("older", "u", "older", "results", 0),),
        ),
        ["StartPlan", "ReleasePod", "DropJob"],
    ),
]

MERGING = [
    Row("a few small shards stay as they are", world(planned(0), small(0, FEW)), ["StartWork"]),
    Row("too many become one before a Job mounts them", world(planned(0), small(0, FEW + 1)), ["MergeShards"], None),
    Row(
        "when that is seen, they go, and nothing that is not in it",
        world(planned(0), merged(0, FEW + 1), small(0, FEW + 1), results(0, 99)),
        ["StartWork", *["DropMap"] * (FEW + 1)],
    ),
    Row("then the run goes on", world(planned(0), merged(0, FEW + 1)), ["StartWork"]),
    Row(
        "what a Job mounts stays for as long as a pod may start",
        world(
            planned(0),
            small(0, FEW + 1),
            jobs=(mounting := job(WORK, 0, mounted=frozenset(found.name for found in small(0, FEW + 1))),),
            pods=(pod(mounting),),
        ),
        [],
    ),
    Row(
        "also what is in a larger one",
        world(planned(0), merged(0, FEW + 1), small(0, FEW + 1), jobs=(mounting,), pods=(pod(mounting),)),
        [],
    ),
    Row(
        "and its pods may start",
        world(
            planned(0),
            merged(0, FEW + 1),
            small(0, FEW + 1),
            jobs=(replace(mounting, needed=mounting.mounted),),
            pods=(pod(mounting, started=False),),
        ),
        [],
    ),
    Row(
        "also what another run mounts",
        world(planned(0), small(0, FEW + 1), jobs=(replace(mounting, run_id="older"),), pods=(pod(mounting),)),
        ["DropJob"],
    ),
    Row(
        "and what came since is merged meanwhile",
        world(planned(0), small(0, FEW + 1), jobs=(replace(mounting, mounted=frozenset()),), pods=(pod(mounting),)),
        ["MergeShards"],
        None,
        wake_up=0,
    ),
    Row(
        "a pod that has not started and whose Job is gone may mount anything",
        world(planned(0), small(0, FEW + 1), pods=(pod(mounting, started=False),)),
        [],
    ),
    Row(
        "nothing is merged where a ConfigMap was altered: it may be the large one",
        world(planned(0), small(0, FEW + 1), maps=(MapRef("altered", "u", RUN_ID, "results", 0),)),
        ["StartWork"],
    ),
    Row(
        "of a run that is over nothing is merged",
        world(
            compiled(0),
            small(0, FEW + 1),
            compilation=settled(State.PUBLISHED),
            artifact=published(),
        ),
        [],
        None,
    ),
    Row(
        "what an earlier run left is merged before a Job mounts it",
        world(earlier=("older",), earlier_shards=tuple(replace(found, run_id="older") for found in small(0, FEW + 1))),
        ["MergeShards"],
        None,
    ),
    Row(
        "a journal that is too large only while its shards are there twice goes on",
        world(
            planned(0),
            *(replace(found, size=found.size * 10_000) for found in [merged(0, FEW + 1), *small(0, FEW + 1)]),
        ),
        ["StartWork", *["DropMap"] * (FEW + 1)],
    ),
]

TABLE = [*NEW, *INPUT, *PODS, *ROUNDS, *ATTEMPTS, *ENDS, *MERGING]


def shown(action: Action) -> str:
    return type(action).__name__


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_decision(row: Row) -> None:
    decision = decide(row.world, NOW, SETTINGS)
    actions = (*decision.actions, *decision.tidying)
    assert [shown(action) for action in actions] == [wanted.split()[0] for wanted in row.actions]
    dropped = [f"DropMap {action.name}" for action in actions if isinstance(action, DropMap)]
    assert [wanted for wanted in row.actions if wanted.startswith("DropMap ")] in ([], dropped)
    if row.state is None:
        assert decision.status is None
    else:
        assert decision.status is not None
        told = {condition.type: condition.status for condition in decision.status.conditions}
        assert told == CONDITIONS[row.state]
        reasons = {condition.reason for condition in decision.status.conditions}
        assert row.reason is None or reasons == {row.reason}
        for part in row.says:
            assert part in decision.status.conditions[0].message
    if row.wake_up != -1:
        assert decision.wake_up == row.wake_up


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_decision_is_a_function_of_what_it_was_given(row: Row) -> None:
    assert decide(row.world, NOW, SETTINGS) == decide(row.world, NOW, SETTINGS)


def test_later_attempts_take_the_missing_cells_alone_and_smaller() -> None:
    seen = world(
        planned(0),
        results(0, 0, 1),
        assignments=(assignment(0, 1, [0, 1, 2, 3]),),
        jobs=(job(WORK, 0),),
        pods=(pod(job(WORK, 0), 0, exit_code=OOM),),
    )
    (start,) = (action for action in decide(seen, NOW, SETTINGS).actions if isinstance(action, StartWork))
    assert [[ref.cells for ref in part] for part in start.assignment.slices] == [[[2]], [[3]]]
    assert start.assignment.attempt == 2
    assert dict(start.strikes) == {cell(0, 2): 1, cell(0, 3): 1}


def test_everything_is_asked_for_by_its_very_uid() -> None:
    old = job(WORK, 0, run_id="older")
    actions = decide(world(jobs=(old,), pods=(pod(old),)), NOW, SETTINGS).tidying
    assert DropJob(old.name, old.uid) in actions
    assert ReleasePod(pod(old).name, pod(old).uid) in actions


def test_the_second_plan_follows_the_first() -> None:
    decision = decide(world(planned(0), results(0, 0, 1, 2, 3)), NOW, SETTINGS)
    assert StartPlan(1, 1, UNLIMITED) in decision.actions


def test_the_published_artifact_is_told_in_the_status() -> None:
    decision = decide(world(compiled(0), artifact=published()), NOW, SETTINGS)
    assert decision.status is not None
    assert decision.status.as_written()["artifact"] == {
        "runId": RUN_ID,
        "sha256": ARTIFACT.sha256,
        "score": 75.0,
        "configMap": {"name": "triage-artifact"},
    }
    assert not any(isinstance(action, Publish) for action in decision.actions)


def test_every_reason_that_a_rule_may_give_is_documented() -> None:
    source = Path(__file__).parents[2] / "operator" / "swarm_operator" / "compilation" / "api.py"
    text = source.read_text(encoding="utf-8")
    body = text[text.index("class Reason(") : text.index("AnyReason = ")].splitlines()
    for number, line in enumerate(body):
        if " = " in line:
            assert body[number + 1].strip().startswith('"""'), line
    assert json.dumps([reason.value for reason in Reason])


# --- cells that end their pods -----------------------------------------------------------------------------------

THIRD = job(WORK, 0, 3)


def alone(*done: int, **ended: Any) -> World:
    """The last cell of a round was alone in the last of its attempts."""
    return world(
        planned(0),
        results(0, *done),
        assignments=(assignment(0, 3, [3], strikes={cell(0, 3): 2}),),
        jobs=(THIRD,),
        pods=(pod(THIRD, 0, **ended),),
    )


TIMEOUT = Commit(nonce="n", exit_code=1, reason="CellTimeout", message="a cell took longer")
UNANSWERED = Commit(nonce="n", exit_code=1, reason="ProviderFailed", message="no answer")


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        (alone(0, 1, 2, exit_code=OOM, failure="OOMKilled (exit code 137)"), "OOMKilled (exit code 137)"),
        (alone(0, exit_code=1, commit=TIMEOUT), "CellTimeout: a cell took longer"),
        # not the cell's fault, or nobody knows
        (alone(0, 1, 2, exit_code=1, commit=UNANSWERED), None),
        (alone(0, 1, 2, exit_code=137, disrupted=True), None),
        (alone(exit_code=OOM), None),
        (
            world(
                planned(0),
                results(0, 0, 1),
                assignments=(assignment(0, 3, [2, 3], strikes={cell(0, 2): 2, cell(0, 3): 2}),),
                jobs=(THIRD,),
                pods=(pod(THIRD, 0, exit_code=OOM),),
            ),
            None,
        ),
        (
            world(
                planned(0),
                results(0, 0, 1),
                assignments=(assignment(0, 3, [2], [3], strikes={cell(0, 2): 2, cell(0, 3): 2}),),
                jobs=(three := job(WORK, 0, 3, completions=2),),
                pods=(pod(three, 0, exit_code=OOM), pod(three, 1, exit_code=OOM)),
            ),
            None,
        ),
    ],
    ids=["memory", "time", "provider", "disruption", "nothing works", "not alone", "too many"],
)
def test_a_cell_that_ends_its_pod_whenever_it_is_tried_is_an_error(seen: World, error: str | None) -> None:
    kept = [action for action in decide(seen, NOW, SETTINGS).actions if isinstance(action, KeepRecords)]
    if error is None:
        assert kept == []
        return
    [[record]] = [action.records for action in kept]
    assert (record.header["key"], record.header["outcome"]) == (cell(0, 3), "error")
    assert error in record.header["error"]


def test_after_a_plan_that_ended_by_itself_workers_run_small_waves() -> None:
    failed = world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=OOM),))
    assert StartPlan(0, 2, UNLIMITED, runs_cells=False) in decide(failed, NOW, SETTINGS).actions
    deleted = world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=143, disrupted=True),))
    assert StartPlan(0, 2, UNLIMITED) in decide(deleted, NOW, SETTINGS).actions


@pytest.mark.parametrize(("limits", "state"), [({}, "Unknown"), ({"pendingSeconds": 20}, "False")])
def test_how_long_pods_may_wait_is_the_specs_to_say(limits: dict[str, Any], state: str) -> None:
    stuck_pod = pod(PLAN_0, **stuck(Reason.IMAGE_PULL_FAILED, "no such image"))
    status = waited(Reason.IMAGE_PULL_FAILED, 30).status
    seen = world(compilation=compilation(spec(limits=limits), status=status), jobs=(PLAN_0,), pods=(stuck_pod,))
    decided = decide(seen, NOW, SETTINGS).status
    assert decided is not None
    assert decided.conditions[0].status == state


@pytest.mark.parametrize(
    ("seconds", "trouble", "state"),
    [
        (29, None, "Unknown"),
        (31, None, "False"),
        (29, Trouble(Reason.IMAGE_PULL_FAILED, "no such image"), "Unknown"),
        (31, Trouble(Reason.IMAGE_PULL_FAILED, "no such image"), "False"),
    ],
)
def test_where_the_spec_says_it_the_time_counts_from_the_pods_creation(
    seconds: float, trouble: Trouble | None, state: str
) -> None:
    waits = pod(PLAN_0, started=False, created_at=ago(seconds), trouble=trouble)
    seen = compilation(spec(limits={"pendingSeconds": 30}))
    status = decide(world(compilation=seen, jobs=(PLAN_0,), pods=(waits,)), NOW, SETTINGS).status
    assert status is not None
    assert status.conditions[0].status == state


def test_what_is_said_of_a_pod_that_starts_slowly_changes_with_the_pod_alone() -> None:
    seen = world(jobs=(PLAN_0,), pods=(pod(PLAN_0, started=False, created_at=ago(200)),))
    first = decide(seen, NOW, SETTINGS).status
    assert first is not None
    later = decide(replace(seen, compilation=compilation(status=first)), NOW + timedelta(seconds=7), SETTINGS).status
    assert later is not None
    assert later.conditions == first.conditions


def test_what_was_told_of_a_run_stays_when_its_journal_is_gone() -> None:
    seen = settled(State.PUBLISHED, ended=61, ttlSecondsAfterFinished=60)
    told = seen.status.model_copy(update={"scores": ScoresStatus(best=80.0), "round": 2})
    later = replace(seen, status=told, generation=2, goes_on=True)
    status = decide(world(compilation=later, run=None, artifact=published()), NOW, SETTINGS).status
    assert status is not None
    assert (status.scores, status.round, status.completion_time) == (told.scores, 2, told.completion_time)
    assert status.observed_generation == 2


@pytest.mark.parametrize(
    ("of_the_run", "now", "goes_on"),
    [
        (None, None, True),
        (None, "monday", False),
        ("monday", "monday", True),
        ("monday", "tuesday", False),
        ("monday", None, True),
    ],
)
def test_a_new_value_of_rerun_at_asks_for_a_new_run(of_the_run: str | None, now: str | None, goes_on: bool) -> None:
    before = world().run
    assert before is not None
    request = before.request.model_copy(update={"rerun_at": of_the_run})
    seen = compilation(spec(image=IMAGE), status=Status(run_id=RUN_ID), generation=2, rerun_at=now)
    assert (seen.continued(request).run_id == RUN_ID) is goes_on
    assert seen.continued(request, has_pods=True).superseded is not goes_on, "what its pods paid for is kept first"
