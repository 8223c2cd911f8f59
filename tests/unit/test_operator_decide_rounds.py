"""In each round, the operator keeps results, creates the next plan, deals cells into slices, and repeats cells."""

from typing import Any

import pytest

from support.decisions import (
    DEALT,
    END,
    FAILED,
    OOM,
    PLAN,
    PLAN_0,
    RESULT,
    SETTINGS,
    TASK,
    WORK,
    WORK_0,
    Row,
    begin_plan,
    begin_work,
    drop,
    keep,
    release,
    said,
    scatter,
)
from support.worlds import (
    NOW,
    RUN_ID,
    ago,
    assignment,
    cell,
    job,
    planned,
    pod,
    results,
    shard,
    task,
    world,
)
from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import DropMap, KeepRecords
from swarm_operator.compilation.model.world import Harvest, MapRef, NewPlan, World
from swarm_wire.messages import Commit
from swarm_wire.names import ExitCode
from swarm_wire.spending import Usage

ROUNDS = [
    Row(
        "results are written first, and then their pods are released",
        world(
            planned(0),
            jobs=(WORK_0,),
            pods=(settled_pod := pod(WORK_0, exit_code=0, held=True),),
            harvest=Harvest(results={0: (RESULT,)}, settled=(settled_pod,)),
        ),
        [keep(0, RESULT), release(pod(WORK_0))],
        state=None,
        wake_up=0,
    ),
    Row(
        "a plan's tasks are written before its end",
        world(jobs=(PLAN_0,), harvest=Harvest(plans=(NewPlan(0, 1, (TASK,), (END,)),))),
        [keep(0, TASK, kind=ObjectKind.TASKS, attempt=1), keep(0, END, attempt=1)],
        state=None,
        wake_up=0,
    ),
    Row(
        "workers of a planned round are started, and the plan's Job is deleted",
        world(planned(0), jobs=(PLAN_0,)),
        [*scatter(DEALT, planned(0)), drop(PLAN_0)],
        reason=Reason.SCATTERING,
        says=["0 of 4 cells"],
    ),
    Row(
        "a round goes on if fewer cells have failed than its task tolerates",
        world(planned(0, task(0, max_errors=2)), results(0, 0, 1, failed=(1,)), jobs=(WORK_0,), pods=(pod(WORK_0),)),
        [],
        reason=Reason.SCATTERING,
        says=["2 of 4 cells have results."],
    ),
    Row(
        "if a task of a round has failed, the round's pods end before the next plan",
        world(planned(0, task(0, max_errors=2)), results(0, 0, 1, failed=(0, 1)), jobs=(WORK_0,), pods=(pod(WORK_0),)),
        [drop(WORK_0)],
        reason=Reason.PLANNING,
    ),
    Row(
        "when the pods of a failed task have ended, the next plan starts",
        world(planned(0, task(0, max_errors=2)), results(0, 0, 1, failed=(0, 1))),
        [begin_plan(1, 1, planned(0, task(0, max_errors=2)), results(0, 0, 1, failed=(0, 1)))],
        reason=Reason.PLANNING,
    ),
    Row(
        "the status says how many tasks of a round are guesses",
        world(planned(0, guess=True)),
        scatter(DEALT, planned(0, guess=True)),
        reason=Reason.SCATTERING,
        says=["0 of 4 cells have results; 1 of 1 tasks are guesses."],
    ),
    Row(
        "LM calls do not count as results even if their keys are those of cells",
        world(planned(0), shard(ObjectKind.RESULTS, 0, calls={cell(0, item): Usage(calls=1) for item in range(4)})),
        [
            *scatter(
                DEALT,
                planned(0),
                shard(ObjectKind.RESULTS, 0, calls={cell(0, item): Usage(calls=1) for item in range(4)}),
            )
        ],
        reason=Reason.SCATTERING,
        says=["0 of 4 cells have results."],
    ),
    Row(
        "if the operator died after it wrote an assignment, the Job is created later",
        world(planned(0), assignments=(assignment(0, 1, [0, 1, 2, 3]),)),
        [begin_work(assignment(0, 1, [0, 1, 2, 3]), planned(0), seconds=7200)],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a deleted Job whose pods had results is followed by another attempt",
        world(planned(0), results(0, 0), assignments=(assignment(0, 1, [0, 1, 2, 3]),)),
        scatter(assignment(0, 2, [1, 3], [2]), planned(0), results(0, 0)),
        reason=Reason.RETRYING,
    ),
    Row(
        "after a complete round the next plan starts, whatever the state of the Job",
        world(planned(0), results(0, 0, 1, 2, 3), jobs=(WORK_0,)),
        [begin_plan(1, 1, planned(0), results(0, 0, 1, 2, 3)), drop(WORK_0)],
        reason=Reason.PLANNING,
        says=["round 1"],
    ),
    Row(
        "a Job is kept while the operator has not read one of its pods",
        world(planned(0), results(0, 0, 1, 2, 3), jobs=(WORK_0,), pods=(pod(WORK_0, exit_code=0, held=True),)),
        [begin_plan(1, 1, planned(0), results(0, 0, 1, 2, 3))],
    ),
    Row(
        "tasks of rounds before the last planned round are deleted",
        world(
            planned(0),
            results(0, 0, 1, 2, 3),
            planned(1),
            jobs=(job(WORK, 1),),
            maps=(MapRef("t", "t", RUN_ID, "tasks", 0), MapRef("r", "r", RUN_ID, "results", 0)),
            assignments=(assignment(1, 1, [0, 1, 2, 3]),),
        ),
        [DropMap("t", "t")],
    ),
    Row(
        "a round whose tasks were lost is followed by another plan",
        world(planned(0)[1:]),
        [begin_plan(1, 1, planned(0)[1:])],
        reason=Reason.PLANNING,
        says=["round 1"],
    ),
    Row(
        "after two rounds without tasks and results the run fails with a damaged journal",
        world(planned(0)[1:], planned(1)[1:]),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
    ),
    Row(
        "if the plan of a round is missing, the run fails with a damaged journal",
        world(planned(0), planned(2)),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
        ["[0, 2]"],
    ),
    Row(
        "a plan that requests only known results fails the run",
        world(planned(0), results(0, 0, 1, 2, 3), planned(1, asked=task(0))),
        [],
        State.FAILED,
        Reason.NO_PROGRESS,
    ),
]


ATTEMPTS = [
    Row(
        "cells that failed pods left are tried again",
        world(
            planned(0),
            results(0, 0, 1),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(WORK_0,),
            pods=(pod(WORK_0, 0, exit_code=0), pod(WORK_0, 1, exit_code=OOM, failure="OOMKilled (exit code 137)")),
        ),
        [*scatter(assignment(0, 2, [2], [3], strikes={cell(0, 2): 1, cell(0, 3): 1}), planned(0), results(0, 0, 1))],
        reason=Reason.RETRYING,
        says=["2 cells have no result", "OOMKilled"],
    ),
    Row(
        "another attempt starts after a delay if pods failed on their own",
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
        "another attempt starts at once if Kubernetes disrupted the pods",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), 0, exit_code=143, disrupted=True, finished_at=ago(0)),),
        ),
        scatter(assignment(0, 2, [0, 2], [1, 3]), planned(0)),
        reason=Reason.RETRYING,
    ),
    Row(
        "another attempt starts at once and without a strike if a pod's output was full",
        world(
            planned(0),
            results(0, 0, 1),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), 0, exit_code=75, finished_at=ago(0), commit=said("OutputFull", "another")),),
        ),
        scatter(assignment(0, 2, [2, 3]), planned(0), results(0, 0, 1)),
        reason=Reason.RETRYING,
        says=["OutputFull: another."],
    ),
    Row(
        "a plan whose output was full is repeated at once, however often",
        world(
            jobs=tuple(job(PLAN, 0, attempt) for attempt in (1, 2, 3)),
            pods=tuple(pod(job(PLAN, 0, attempt), exit_code=75, finished_at=ago(0)) for attempt in (1, 2, 3)),
        ),
        [begin_plan(0, 4)],
        reason=Reason.RETRYING,
    ),
    Row(
        "a cell fails the run after three failures of its pods",
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
        "after disruptions, a cell is repeated more than three times",
        world(
            planned(0),
            assignments=(assignment(0, 5, [0, 1, 2, 3], strikes={cell(0, 0): 2}),),
            jobs=(job(WORK, 0, 5),),
            pods=(pod(job(WORK, 0, 5), 0, exit_code=int(ExitCode.INTERRUPTED)),),
        ),
        [*scatter(assignment(0, 6, [0], [1], [2], [3], strikes={cell(0, 0): 2}), planned(0))],
    ),
    Row(
        "after thirteen disrupted attempts without a result the run fails",
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
        "an attempt with results does not count",
        world(
            planned(0),
            results(0, 0),
            assignments=tuple(assignment(0, attempt, [0, 1, 2, 3]) for attempt in range(1, 14)),
            jobs=(job(WORK, 0, 13),),
            pods=(pod(job(WORK, 0, 13), 0, exit_code=143, disrupted=True),),
        ),
        scatter(assignment(0, 14, [1, 3], [2]), planned(0), results(0, 0)),
    ),
    Row(
        "an attempt is not over before each of its pods has existed",
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
        "a pod on a lost node is given up and released after its grace period",
        world(
            planned(0),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(WORK_0,),
            pods=(pod(WORK_0, 0, exit_code=0), pod(WORK_0, 1, deleted_at=ago(31))),
        ),
        [
            *scatter(assignment(0, 2, [0], [1], [2], [3], strikes={cell(0, 0): 1, cell(0, 1): 1}), planned(0)),
            release(pod(WORK_0, 1)),
        ],
        reason=Reason.RETRYING,
    ),
    Row(
        "the operator waits for pods of a deleted Job, which may still have results",
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
        "a plan that died is repeated",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=FAILED),)),
        [begin_plan(0, 2, environment={"SWARM_SMALL_WAVE": "0"})],
        reason=Reason.RETRYING,
    ),
    Row(
        "a plan that has just died is repeated after a delay that doubles each time",
        world(
            jobs=(PLAN_0, second := job(PLAN, 0, 2)),
            pods=(
                pod(PLAN_0, exit_code=FAILED, finished_at=ago(90)),
                pod(second, exit_code=FAILED, finished_at=ago(4)),
            ),
        ),
        [],
        reason=Reason.RETRYING,
        wake_up=16,
    ),
    Row(
        "a plan that ended well but whose end cannot be read is repeated",
        world(jobs=(PLAN_0,), pods=(pod(PLAN_0, exit_code=0),)),
        [begin_plan(0, 2, environment={"SWARM_SMALL_WAVE": "0"})],
        reason=Reason.RETRYING,
    ),
    Row(
        "a plan that reaches its deadline counts as dead, whatever its exit code",
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
        "a run fails when its plan has died three times",
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


@pytest.mark.parametrize("row", [*ROUNDS, *ATTEMPTS], ids=lambda row: row.name)
def test_the_operator_decides_the_next_step_of_a_round(row: Row) -> None:
    row.holds()


THIRD = job(WORK, 0, 3)


def alone(*done: int, **ended: Any) -> World:
    """A world in which the last cell of a round was the only cell of its pod, in its last attempt."""
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
        # The pod's end is not the cell's fault, or its cause is unknown.
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
def test_a_cell_that_kills_its_pod_in_every_attempt_becomes_an_error(seen: World, error: str | None) -> None:
    kept = [action for action in decide(seen, NOW, SETTINGS).actions if isinstance(action, KeepRecords)]
    if error is None:
        assert kept == []
        return
    [[record]] = [action.records for action in kept]
    assert (record.header["key"], record.header["outcome"]) == (cell(0, 3), "error")
    assert error in record.header["error"]
