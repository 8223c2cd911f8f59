"""A cell whose result comes later keeps no pod, and costs no attempt."""

import pytest

from support.decisions import DEALT, FAILED, Row, begin_plan, scatter
from support.worlds import ago, assignment, cell, job, planned, pod, results, shard, world
from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.model.world import AssignmentMap
from swarm_wire.messages import Commit, Pending

WORK = ObjectKind.WORK


def waits(*items: int, number: int = 1, seconds: float = 60, retry_after: int = 600) -> Shard:
    """Returns a shard that the operator wrote so many seconds ago, with cells of round 0 whose results come later."""
    pending = {
        cell(0, item): Pending(
            key=cell(0, item),
            number=number,
            retry_after=retry_after,
            handle={"job": "ftjob-1"},
            message="fine-tuning job ftjob-1 is queued",
        )
        for item in items
    }
    return shard(ObjectKind.RESULTS, 0, 1, 700 + number, pending=pending, created_at=ago(seconds))


def looked(attempts: int, item: int = 3) -> tuple[AssignmentMap, ...]:
    """Returns the assignments of so many attempts at one cell."""
    return tuple(assignment(0, number, [item]) for number in range(1, attempts + 1))


ROWS = [
    Row(
        "no pod runs while all missing cells wait",
        world(planned(0), results(0, 0, 1, 2), waits(3), assignments=(assignment(0, 1, [0, 2], [1, 3]),)),
        [],
        reason=Reason.WAITING_FOR_JOB,
        says=["no pod runs while the run waits: fine-tuning job ftjob-1 is queued. A pod looks again at 12:09:00 UTC."],
        wake_up=540,
    ),
    Row(
        "the first of several looks wakes the operator up",
        world(planned(0), results(0, 0, 1), waits(2, seconds=500), waits(3, number=2), assignments=(DEALT,)),
        [],
        reason=Reason.WAITING_FOR_JOB,
        wake_up=100,
    ),
    Row(
        "other cells of the round run in the meantime",
        world(planned(0), results(0, 0, 1), waits(3), assignments=(DEALT,)),
        scatter(assignment(0, 2, [2]), planned(0), results(0, 0, 1), waits(3)),
        reason=Reason.RETRYING,
    ),
    Row(
        "when the time has come a pod looks again",
        world(planned(0), results(0, 0, 1, 2), waits(3, seconds=600), assignments=(DEALT,)),
        scatter(assignment(0, 2, [3]), planned(0), results(0, 0, 1, 2), waits(3, seconds=600), seconds=5400),
    ),
    Row(
        "if the operator died after it wrote the assignment of a look the next pass makes another",
        world(planned(0), results(0, 0, 1, 2), waits(3, seconds=600), assignments=(DEALT, assignment(0, 2, [3]))),
        scatter(assignment(0, 3, [3]), planned(0), results(0, 0, 1, 2), waits(3, seconds=600), seconds=5400),
    ),
    Row(
        "a look under way is waited for",
        world(
            planned(0),
            results(0, 0, 1, 2),
            waits(3, seconds=600),
            assignments=(DEALT, assignment(0, 2, [3])),
            jobs=(look := job(WORK, 0, 2),),
            pods=(pod(look),),
        ),
        [],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a result that has come ends the wait",
        world(planned(0), results(0, 0, 1, 2), waits(3), results(0, 3), assignments=(DEALT,)),
        [begin_plan(1, 1, planned(0), results(0, 0, 1, 2), waits(3), results(0, 3))],
        reason=Reason.PLANNING,
    ),
    Row(
        "a hundred looks use up no attempt",
        world(
            planned(0),
            results(0, 0, 1, 2),
            waits(3, number=100, seconds=60),
            assignments=looked(100),
        ),
        [],
        reason=Reason.WAITING_FOR_JOB,
    ),
    Row(
        "pods that never look use up the attempts",
        world(
            planned(0),
            results(0, 0, 1, 2),
            waits(3, number=1, seconds=600),
            assignments=looked(14),
        ),
        [],
        State.FAILED,
        Reason.ATTEMPTS_EXHAUSTED,
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_operator_waits_for_results_that_come_later(row: Row) -> None:
    row.holds()


def test_a_look_that_ends_well_takes_earlier_failures_of_the_cell_away() -> None:
    failed, fine = job(WORK, 0, 2), job(WORK, 0, 3)
    struck = assignment(0, 2, [3], strikes={cell(0, 3): 1})
    before = world(
        planned(0),
        results(0, 0, 1, 2),
        waits(3, seconds=600),
        assignments=(DEALT, struck),
        jobs=(failed,),
        pods=(pod(failed, exit_code=FAILED, finished_at=ago(300)),),
    )
    Row(
        "",
        before,
        scatter(
            assignment(0, 3, [3], strikes={cell(0, 3): 2}),
            planned(0),
            results(0, 0, 1, 2),
            waits(3, seconds=600),
            seconds=5400,
        ),
    ).holds()
    after = world(
        planned(0),
        results(0, 0, 1, 2),
        waits(3, number=2, seconds=600),
        assignments=(DEALT, struck, assignment(0, 3, [3], strikes={cell(0, 3): 2})),
        jobs=(fine,),
        pods=(pod(fine, exit_code=0, commit=Commit(nonce="n" * 16, exit_code=0), held=False),),
    )
    Row(
        "",
        after,
        scatter(assignment(0, 4, [3]), planned(0), results(0, 0, 1, 2), waits(3, number=2, seconds=600), seconds=5400),
    ).holds()


def test_the_newest_record_of_a_cell_counts_whatever_the_order_of_the_shards() -> None:
    older, newer = waits(3, number=1), waits(3, number=2, seconds=0)
    for shards in ([older, newer], [newer, older]):
        assert Journal(shards).pending[cell(0, 3)].record.number == 2
    known = Journal([newer])
    assert known.lacks(waits(3, number=3))
    assert not known.lacks(older)
    assert not Journal([newer, results(0, 3)]).lacks(waits(3, number=3))
