"""The operator decides about pods that wait, that cannot start, or that report why the run fails."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.decisions import (
    PLAN,
    PLAN_0,
    RESULT,
    SETTINGS,
    WORK_0,
    Row,
    begin_plan,
    drop,
    keep,
    over,
    said,
    scatter,
    waited,
)
from support.operator_specs import spec
from support.worlds import (
    NOW,
    ago,
    assignment,
    compilation,
    job,
    planned,
    pod,
    results,
    world,
)
from swarm_operator.compilation.api import RERUN_AT, ObjectKind, Reason
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.pods import Trouble
from swarm_operator.compilation.model.world import Harvest
from swarm_wire.names import ExitCode, WorkerReason

JOURNAL_0 = frozenset(shard.name for shard in planned(0) if shard.kind is ObjectKind.RESULTS)


def stuck(reason: Reason, message: str) -> dict[str, Any]:
    return {"started": False, "trouble": Trouble(reason, message)}


OVERDUE_PLAN = replace(PLAN_0, finished=True)
OVERDUE_POD = replace(pod(OVERDUE_PLAN, exit_code=0), exit_code=None, started=False, failure="DeadlineExceeded")
PODS = [
    Row(
        "the operator waits for a running plan",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [],
        reason=Reason.PLANNING,
        wake_up=5,
    ),
    Row("the operator waits for a Job that has no pods yet", world(jobs=(PLAN_0,)), [], reason=Reason.PLANNING),
    Row(
        "the operator waits for a suspended Job without a deadline",
        world(jobs=(replace(PLAN_0, suspended=True),)),
        [],
        reason=Reason.QUEUED,
        says=["is suspended", "Kueue"],
    ),
    Row(
        "the operator plans no further pass for a suspended Job",
        world(jobs=(replace(PLAN_0, suspended=True),)),
        [],
        reason=Reason.QUEUED,
        wake_up=None,
    ),
    Row(
        "the operator waits until the pods of a suspended Job have ended",
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
        "the operator waits for a suspended Job that has no results",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(replace(WORK_0, suspended=True, mounted=JOURNAL_0),),
        ),
        [],
        reason=Reason.QUEUED,
    ),
    Row(
        "a suspended Job that has results is replaced by a Job for the missing cells",
        world(
            planned(0),
            results(0, 1),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(replace(WORK_0, suspended=True, mounted=JOURNAL_0),),
        ),
        [*scatter(assignment(0, 2, [0, 3], [2]), planned(0), results(0, 1)), drop(WORK_0)],
        reason=Reason.RETRYING,
    ),
    Row(
        "a Job whose pods all wait for a deleted shard is deleted",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(waits_for_gone := replace(WORK_0, needed=frozenset({*JOURNAL_0, "gone"})),),
            pods=(pod(WORK_0, 0, started=False),),
        ),
        [drop(WORK_0)],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a Job is kept while one of its pods works, although another waits for a deleted shard",
        world(planned(0), jobs=(waits_for_gone,), pods=(pod(WORK_0, 0), pod(WORK_0, 1, started=False))),
        [],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a Job that waited for a deleted shard is followed at once by another attempt, without a strike",
        world(planned(0), assignments=(assignment(0, 1, [0, 1], [2, 3]),), jobs=(waits_for_gone,)),
        [*scatter(assignment(0, 2, [0, 2], [1, 3]), planned(0)), drop(WORK_0)],
    ),
    Row(
        "a run waits for the missing Secret of a pod",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, **stuck(Reason.MISSING_SECRET, 'secret "key" not found')),)),
        [],
        reason=Reason.MISSING_SECRET,
        says=['secret "key" not found'],
    ),
    Row(
        "a Compilation is Stalled if a Secret of a pod is missing until the deadline",
        world(
            compilation=waited(Reason.MISSING_SECRET, 901),
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0, **stuck(Reason.MISSING_SECRET, 'secret "key" not found')),),
        ),
        [],
        State.STUCK,
        Reason.MISSING_SECRET,
        wake_up=60,
    ),
    Row(
        "a pod whose time is over before it started uses up no attempt, and the wait goes on",
        world(
            compilation=waited(Reason.IMAGE_PULL_FAILED, 5000),
            jobs=(OVERDUE_PLAN,),
            pods=(
                pod(
                    OVERDUE_PLAN, started=False, ended=True, held=False, failure="DeadlineExceeded", finished_at=ago(1)
                ),
            ),
        ),
        [begin_plan(0, 2)],
        reason=Reason.RETRYING,
    ),
    Row(
        "the run of a Stalled Compilation goes on when its pod starts",
        world(
            compilation=compilation(status=over(State.STUCK, Reason.MISSING_SECRET)),
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0),),
        ),
        [],
        reason=Reason.PLANNING,
    ),
    Row(
        "the status does not show pods that cannot start while other pods of the Job run",
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
        "the status says where to look if a pod does not start for long",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, started=False, created_at=ago(121)),)),
        [],
        reason=Reason.POD_CANNOT_START,
        says=["since 2026-11-21T11:57:59Z", "kubectl describe pod"],
    ),
    Row(
        "the status says why pods of a Job are rejected",
        world(jobs=(PLAN_0,), rejections={PLAN_0.uid: "exceeded quota: pods=0"}),
        [],
        reason=Reason.PODS_REJECTED,
        says=["exceeded quota: pods=0"],
    ),
    Row(
        "bad input fails the run with the pod's message",
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
        "before the run fails, its other pods end, and the pod with the reason is kept",
        world(
            jobs=(PLAN_0, other := job(PLAN, 0, 2)),
            pods=(pod(PLAN_0, exit_code=64, commit=said("DataInvalid", "line 3 is not JSON")), pod(other)),
        ),
        [drop(job(PLAN, 0, 2))],
        reason=WorkerReason.DATA_INVALID,
        says=["line 3 is not JSON"],
    ),
    Row(
        "a pod that says why the run fails is not released when its results are written",
        world(
            jobs=(PLAN_0,),
            pods=(proof := replace(pod(PLAN_0, exit_code=64), held=True),),
            harvest=Harvest(results={0: (RESULT,)}, settled=(proof,)),
        ),
        [keep(0, RESULT)],
        state=None,
    ),
    Row(
        "if sources have changed, the message says how to begin a new run",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=67, commit=said("SourceChanged", "the data changed.")),)),
        [],
        State.FAILED,
        WorkerReason.SOURCE_CHANGED,
        ["the data changed. A change of the spec, or this, begins a new run", f'{RERUN_AT}="$(date -Is)"'],
    ),
    Row(
        "a terminal exit code without a message determines the reason",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=int(ExitCode.DRIFT)),)),
        [],
        State.FAILED,
        WorkerReason.DIGEST_DRIFT,
    ),
]


@pytest.mark.parametrize("row", [*PODS], ids=lambda row: row.name)
def test_the_operator_decides_what_it_does_about_pods(row: Row) -> None:
    row.holds()


def test_the_wait_goes_on_with_the_next_pod_until_a_pod_starts() -> None:
    before = waited(Reason.IMAGE_PULL_FAILED, 5000)
    replaced = decide(world(compilation=before, jobs=(OVERDUE_PLAN,), pods=(OVERDUE_POD,)), NOW, SETTINGS).status
    started = decide(world(compilation=before, jobs=(PLAN_0,), pods=(pod(PLAN_0),)), NOW, SETTINGS).status
    assert replaced is not None
    assert started is not None
    assert (replaced.waiting, started.waiting) == (before.status.waiting, None)


def test_an_event_says_that_a_compilation_is_stalled() -> None:
    waits = pod(PLAN_0, **stuck(Reason.MISSING_SECRET, 'secret "key" not found'))
    status = over(State.RUNNING, Reason.MISSING_SECRET).model_copy(
        update={"waiting": waited(Reason.MISSING_SECRET, 901).status.waiting, "round": 0}
    )
    [event] = decide(world(compilation=compilation(status=status), jobs=(PLAN_0,), pods=(waits,)), NOW, SETTINGS).events
    assert (event.type, event.reason) == ("Warning", Reason.MISSING_SECRET)
    assert "It has not for 900 s." in event.message


@pytest.mark.parametrize(("limits", "state"), [({}, "Unknown"), ({"pendingSeconds": 20}, "False")])
def test_the_limits_in_the_spec_say_how_long_pods_may_wait(limits: dict[str, Any], state: str) -> None:
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
def test_the_waiting_time_that_the_spec_allows_begins_with_the_creation_of_the_pod(
    seconds: float, trouble: Trouble | None, state: str
) -> None:
    waits = pod(PLAN_0, started=False, created_at=ago(seconds), trouble=trouble)
    seen = compilation(spec(limits={"pendingSeconds": 30}))
    status = decide(world(compilation=seen, jobs=(PLAN_0,), pods=(waits,)), NOW, SETTINGS).status
    assert status is not None
    assert status.conditions[0].status == state


def test_the_message_about_a_slow_pod_does_not_change_with_time() -> None:
    seen = world(jobs=(PLAN_0,), pods=(pod(PLAN_0, started=False, created_at=ago(200)),))
    first = decide(seen, NOW, SETTINGS).status
    assert first is not None
    later = decide(replace(seen, compilation=compilation(status=first)), NOW + timedelta(seconds=7), SETTINGS).status
    assert later is not None
    assert later.conditions == first.conditions
