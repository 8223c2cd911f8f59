"""What a pod printed becomes records that count, or nothing: whatever it printed."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given

from support.wire import Damage, damages, noise, printed
from support.worlds import cell, job, planned, pod, results, shard, task
from swarm_operator.api import ObjectKind
from swarm_operator.gather import Output, artifact_of, harvest
from swarm_operator.world import Harvest, Journal, Pod
from swarm_wire.messages import (
    ArtifactHeader,
    CallMade,
    Commit,
    Outcome,
    PlanEnd,
    PlanOutcome,
    Report,
    Result,
    Scores,
    Usage,
)
from swarm_wire.names import PROGRAM_FILE, REPORT_FILE
from swarm_wire.records import Record, RecordKind

NONCE = "a1b2c3d4e5f60718"
WORKER = pod(job(ObjectKind.WORK, 0), exit_code=0, held=True, commit=Commit(nonce=NONCE, exit_code=0))
PLANNER = job(ObjectKind.PLAN, 0)


def result(key: str, body: bytes = b"") -> Record:
    return Record(RecordKind.RESULT, json.loads(Result(key=key, outcome=Outcome.OK).to_json()), body)


def call(key: str, body: bytes = b"") -> Record:
    return Record(RecordKind.CALL, CallMade(key=key, usage=Usage(calls=1)).to_header(), body)


def end(round_: int = 0, *tasks: str, outcome: PlanOutcome = PlanOutcome.BLOCKED) -> Record:
    made = PlanEnd(outcome=outcome, round=round_, binding="b", tasks=list(tasks), cells=4)
    return Record(RecordKind.PLAN, json.loads(made.to_json()), b"[]")


def artifact(program: str = "{}", sha256: str | None = None) -> Record:
    report = Report(scores=Scores(baseline=1.0, best=2.0))
    header = ArtifactHeader(sha256=sha256 or hashlib.sha256(program.encode()).hexdigest(), report=report)
    body = {PROGRAM_FILE: program, REPORT_FILE: report.to_json()}
    return Record(RecordKind.ARTIFACT, json.loads(header.to_json()), json.dumps(body).encode())


ASKED = task(0)
TASK = Record(RecordKind.TASK, json.loads(ASKED.to_json()))
BLOB = Record(RecordKind.BLOB, {"key": ASKED.payload}, b"pickle")
JOURNAL = Journal(planned(0))


def of_worker(*records: Record, journal: Journal = JOURNAL, final: bool = True) -> Harvest:
    lines, _ = printed(records, NONCE)
    return harvest([Output(WORKER, "".join(lines), NONCE, final)], journal)


def of_plan(*records: Record, journal: Journal | None = None, exit_code: int = 0, committed: int | None = None) -> Any:
    """A plan pod that printed these records, and committed all of them, or the first so many."""
    lines, _ = printed(records, NONCE)
    commit = printed(records[:committed], NONCE)[1].model_copy(update={"exit_code": exit_code})
    planner = pod(PLANNER, exit_code=exit_code, held=True, commit=commit)
    return harvest([Output(planner, "".join(lines), NONCE, True)], journal or Journal())


def keys(found: Harvest) -> list[str]:
    return [record.header["key"] for records in found.results.values() for record in records]


# Workers.


def test_results_of_the_rounds_cells_count() -> None:
    found = of_worker(result(cell(0, 0)), result(cell(0, 3)))
    assert keys(found) == [cell(0, 0), cell(0, 3)]
    assert found.settled == (WORKER,)


def test_a_running_pods_results_count_and_it_is_not_settled() -> None:
    found = of_worker(result(cell(0, 0)), final=False)
    assert keys(found) == [cell(0, 0)]
    assert found.settled == ()


def test_what_is_in_the_journal_is_not_new() -> None:
    found = of_worker(result(cell(0, 0)), result(cell(0, 1)), journal=Journal([*planned(0), results(0, 0)]))
    assert keys(found) == [cell(0, 1)]


def test_the_first_result_of_a_cell_counts() -> None:
    found = of_worker(result(cell(0, 0), b"first"), result(cell(0, 0), b"second"))
    assert [record.body for record in found.results[0]] == [b"first"]


def test_cells_that_nobody_asked_for_do_not_count() -> None:
    assert keys(of_worker(result(cell(7, 0)), result("f" * 32))) == []


@pytest.mark.parametrize(
    "forged",
    [TASK, BLOB, end(0, ASKED.digest), artifact()],
    ids=["task", "blob", "plan's end", "artifact"],
)
def test_a_worker_can_say_nothing_but_results(forged: Record) -> None:
    found = of_worker(forged)
    assert (dict(found.results), found.plans) == ({}, ())


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"key": cell(0, 0)},
        {"key": "../../x", "outcome": "ok"},
        {"key": cell(0, 0), "outcome": "won"},
        {"key": cell(0, 0), "outcome": "ok", "usage": {"calls": -5}},
        {"key": cell(0, 0), "outcome": "ok", "usage": {"calls": 1e999}},
        {"key": cell(0, 0), "outcome": "ok", "error": "x" * 10_000},
        {"key": [[[[]]]], "outcome": "ok"},
    ],
)
def test_a_malformed_result_is_skipped(header: dict[str, Any]) -> None:
    assert keys(of_worker(Record(RecordKind.RESULT, header), result(cell(0, 1)))) == [cell(0, 1)]


def test_an_lm_call_counts_whatever_cell_it_was_for_and_is_no_result() -> None:
    found = of_worker(call("e" * 32, b"answer"), call(cell(0, 0)), result(cell(0, 0)))
    assert [(record.kind, record.body) for record in found.results[0]] == [
        (RecordKind.CALL, b"answer"),
        (RecordKind.CALL, b""),
        (RecordKind.RESULT, b""),
    ]


def test_a_call_that_two_cells_paid_for_counts_twice() -> None:
    one, other = (
        Record(RecordKind.CALL, CallMade(key="e" * 32, cell=cell(0, number)).to_header()) for number in (0, 1)
    )
    assert of_worker(one, other, one).results[0] == (one, other)


def test_the_first_answer_to_an_lm_call_counts() -> None:
    known = shard(ObjectKind.RESULTS, 0, 0, calls={CallMade(key="d" * 32).identity: Usage(calls=1)})
    found = of_worker(
        call("d" * 32), call("e" * 32, b"first"), call("e" * 32, b"second"), journal=Journal([*planned(0), known])
    )
    assert [record.body for record in found.results[0]] == [b"first"]


@pytest.mark.parametrize("header", [{}, {"key": "x"}, {"key": "e" * 32, "usage": {"calls": -1}}])
def test_a_malformed_call_is_skipped(header: dict[str, Any]) -> None:
    assert keys(of_worker(Record(RecordKind.CALL, header), call("e" * 32))) == ["e" * 32]


def test_what_a_result_says_of_its_calls_is_kept() -> None:
    told = Result(key=cell(0, 0), outcome=Outcome.OK, calls=["e" * 32])
    found = of_worker(Record(RecordKind.RESULT, told.to_header()))
    assert found.results[0][0].header["calls"] == ["e" * 32]


def test_lines_of_another_pod_are_no_records() -> None:
    lines, _ = printed([result(cell(0, 0))], "ffffffffffffffff")
    assert keys(harvest([Output(WORKER, "".join(lines), NONCE)], JOURNAL)) == []


@given(damages())
def test_damage_never_invents_and_never_raises(damage: Damage) -> None:
    lines, _ = printed([result(cell(0, item), noise(5000, item)) for item in range(4)], NONCE)
    text = "\n".join(damage([line.rstrip("\n") for line in lines]))
    found = harvest([Output(WORKER, text, NONCE)], JOURNAL)
    assert set(keys(found)) <= {cell(0, item) for item in range(4)}
    for record in found.results.get(0, ()):
        assert record.body == noise(5000, int(record.header["key"][16:], 16))


# Plans.


def test_a_whole_plan_counts() -> None:
    found = of_plan(BLOB, TASK, end(0, ASKED.digest))
    (plan,) = found.plans
    assert (plan.round, plan.attempt) == (0, 1)
    assert [record.kind for record in plan.tasks] == [RecordKind.BLOB, RecordKind.TASK]
    assert [record.kind for record in plan.closing] == [RecordKind.PLAN]


def test_the_artifact_is_kept_before_the_end_that_closes() -> None:
    found = of_plan(artifact(), end(0, outcome=PlanOutcome.DONE))
    (plan,) = found.plans
    assert [record.kind for record in plan.closing] == [RecordKind.ARTIFACT, RecordKind.PLAN]


@pytest.mark.parametrize("exit_code", [1, 75, 137])
def test_what_a_plan_finished_counts_even_when_it_died(exit_code: int) -> None:
    found = of_plan(result("d" * 32), call("e" * 32), exit_code=exit_code)
    assert keys(found) == ["d" * 32, "e" * 32]
    assert found.plans == ()


def test_what_a_plan_finished_counts_while_it_runs() -> None:
    lines, _ = printed([result("d" * 32), call("e" * 32)], NONCE)
    found = harvest([Output(pod(PLANNER, held=True), "".join(lines), NONCE)], Journal())
    assert (keys(found), found.settled) == (["d" * 32, "e" * 32], ())


def test_of_a_plan_whose_log_was_rotated_counts_what_is_left() -> None:
    lines, commit = printed([result("d" * 32), result("e" * 32), end(0, outcome=PlanOutcome.BLOCKED)], NONCE)
    planner = pod(PLANNER, exit_code=0, held=True, commit=commit)
    found = harvest([Output(planner, "".join(lines[1:]), NONCE, True)], Journal())
    assert (keys(found), found.plans, found.settled) == (["e" * 32], (), (planner,))


@pytest.mark.parametrize(
    ("records", "options"),
    [
        ((BLOB, TASK), {}),
        ((BLOB, TASK, end(0, ASKED.digest)), {"committed": 2}),
        ((BLOB, TASK, end(0, ASKED.digest)), {"exit_code": 1}),
        ((TASK, end(0, ASKED.digest)), {}),
        ((BLOB, end(0, ASKED.digest)), {}),
        ((BLOB, TASK, end(0)), {}),
        ((BLOB, TASK, end(3, ASKED.digest)), {}),
        ((BLOB, TASK, end(0, ASKED.digest), result("e" * 32)), {}),
        ((end(0, outcome=PlanOutcome.DONE),), {}),
        ((artifact(), end(0)), {}),
        ((artifact(sha256="0" * 64), end(0, outcome=PlanOutcome.DONE)), {}),
        ((artifact(program="not json"), end(0, outcome=PlanOutcome.DONE)), {}),
        ((Record(RecordKind.TASK, {"digest": "x"}), end(0)), {}),
    ],
    ids=[
        "no end",
        "more than it committed",
        "a failing exit",
        "a task without its blob",
        "an end without its task",
        "a task that the end does not know",
        "another round's end",
        "an end that is not last",
        "done without artifact",
        "an artifact before it is done",
        "a program that is not what its digest says",
        "a program that is not JSON",
        "a malformed task",
    ],
)
def test_a_plan_that_contradicts_itself_counts_for_nothing(
    records: tuple[Record, ...], options: dict[str, Any]
) -> None:
    assert of_plan(*records, **options).plans == ()


def test_a_round_is_planned_once() -> None:
    assert of_plan(BLOB, TASK, end(0, ASKED.digest), journal=JOURNAL).plans == ()


def test_of_two_plans_of_a_round_the_first_attempt_counts() -> None:
    records = (BLOB, TASK, end(0, ASKED.digest))
    lines, commit = printed(records, NONCE)
    planners: list[Pod] = [
        pod(job(ObjectKind.PLAN, 0, attempt), exit_code=0, commit=commit, held=True) for attempt in (2, 1)
    ]
    found = harvest([Output(planner, "".join(lines), NONCE, True) for planner in planners], Journal())
    assert [plan.attempt for plan in found.plans] == [1]


def test_the_artifact_comes_back_as_it_was_printed() -> None:
    found = artifact_of(artifact('{"a": 1}'))
    assert found.program == '{"a": 1}'
    assert json.loads(found.report_text)["scores"] == {"baseline": 1.0, "best": 2.0}
