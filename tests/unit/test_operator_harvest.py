"""The operator takes only valid records from a pod's output, even if the output is damaged."""

import base64
import hashlib
import json
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from support.wire import Damage, damages, noise, printed
from support.worlds import cell, job, planned, pod, results, shard, task
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.interpret.harvest import harvest
from swarm_operator.compilation.interpret.output import Output, transcribed
from swarm_operator.compilation.interpret.records import artifact_of
from swarm_operator.compilation.interpret.spending import vanished
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Harvest
from swarm_wire.messages import ArtifactHeader, Bound, CallMade, Commit, Outcome, PlanEnd, PlanOutcome, Result
from swarm_wire.names import MARKDOWN_FILE, PROGRAM_FILE, REPORT_FILE
from swarm_wire.records import Record, RecordKind, frame_digest
from swarm_wire.report import Report, Scores
from swarm_wire.spending import Allowance, Booked, Spending, Usage

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
    body = {PROGRAM_FILE: program, REPORT_FILE: report.to_json(), MARKDOWN_FILE: "# Compiled"}
    return Record(RecordKind.ARTIFACT, json.loads(header.to_json()), json.dumps(body).encode())


ASKED = task(0)
TASK = Record(RecordKind.TASK, json.loads(ASKED.to_json()))
BLOB = Record(RecordKind.BLOB, {"key": ASKED.payload}, b"pickle")
JOURNAL = Journal(planned(0))


def output(
    of: Pod, lines: list[str], nonce: str = NONCE, journal: Journal | None = None, final: bool = False
) -> Output:
    read = transcribed(of, "".join(lines).encode(), nonce, journal or Journal())
    return replace(read, final=final)


def said(found: Harvest) -> list[Record]:
    """Returns the gathered results and calls as the next pod reads them."""
    frames = [record.frame() for records in found.results.values() for record in records]
    return [record for record in map(Record.from_frame, frames) if record.kind is not RecordKind.BOOKED]


def bodies(found: Harvest) -> list[bytes]:
    return [record.body for record in said(found)]


def of_worker(*records: Record, journal: Journal = JOURNAL, final: bool = True) -> Harvest:
    lines, _ = printed(records, NONCE)
    return harvest([output(WORKER, lines, journal=journal, final=final)], journal)


def of_plan(*records: Record, journal: Journal | None = None, exit_code: int = 0, committed: int | None = None) -> Any:
    """Gathers from a plan pod that printed these records. Its commit covers all of these records, or the first
    `committed` of them."""
    lines, _ = printed(records, NONCE)
    commit = printed(records[:committed], NONCE)[1].model_copy(update={"exit_code": exit_code})
    planner = pod(PLANNER, exit_code=exit_code, held=True, commit=commit)
    return harvest([output(planner, lines, journal=journal, final=True)], journal or Journal())


def keys(found: Harvest) -> list[str]:
    return [record.header["key"] for record in said(found)]


# Workers.


def test_the_operator_takes_results_of_cells_in_the_round() -> None:
    found = of_worker(result(cell(0, 0)), result(cell(0, 3)))
    assert keys(found) == [cell(0, 0), cell(0, 3)]
    assert found.settled == (WORKER,)


def test_the_operator_takes_results_of_a_pod_that_still_runs() -> None:
    found = of_worker(result(cell(0, 0)), final=False)
    assert keys(found) == [cell(0, 0)]
    assert found.settled == ()


def test_the_operator_does_not_take_records_that_are_already_in_the_journal() -> None:
    found = of_worker(result(cell(0, 0)), result(cell(0, 1)), journal=Journal([*planned(0), results(0, 0)]))
    assert keys(found) == [cell(0, 1)]


def test_the_first_result_of_a_cell_counts() -> None:
    found = of_worker(result(cell(0, 0), b"first"), result(cell(0, 0), b"second"))
    assert bodies(found) == [b"first"]


def test_the_operator_does_not_take_results_of_cells_outside_of_the_round() -> None:
    assert keys(of_worker(result(cell(7, 0)), result("f" * 32))) == []


@pytest.mark.parametrize(
    "forged",
    [TASK, BLOB, end(0, ASKED.digest), artifact()],
    ids=["task", "blob", "plan's end", "artifact"],
)
def test_the_operator_takes_only_results_and_calls_from_a_worker(forged: Record) -> None:
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


def test_the_operator_takes_lm_calls_of_any_cell_and_does_not_count_them_as_results() -> None:
    found = of_worker(call("e" * 32, b"answer"), call(cell(0, 0)), result(cell(0, 0)))
    assert [record.kind for record in said(found)] == [RecordKind.CALL, RecordKind.CALL, RecordKind.RESULT]
    assert bodies(found)[0] == b"answer"


def test_the_operator_takes_a_call_twice_if_two_cells_paid_for_it() -> None:
    one, other = (
        Record(RecordKind.CALL, CallMade(key="e" * 32, cell=cell(0, number)).to_header()) for number in (0, 1)
    )
    assert said(of_worker(one, other, one)) == [one, other]


def test_the_operator_takes_only_the_first_answer_to_an_lm_call() -> None:
    known = shard(ObjectKind.RESULTS, 0, 0, calls={CallMade(key="d" * 32).identity: Usage(calls=1)})
    found = of_worker(
        call("d" * 32), call("e" * 32, b"first"), call("e" * 32, b"second"), journal=Journal([*planned(0), known])
    )
    assert bodies(found) == [b"first"]


@pytest.mark.parametrize("header", [{}, {"key": "x"}, {"key": "e" * 32, "usage": {"calls": -1}}])
def test_a_malformed_call_is_skipped(header: dict[str, Any]) -> None:
    assert keys(of_worker(Record(RecordKind.CALL, header), call("e" * 32))) == ["e" * 32]


def test_a_result_that_the_operator_takes_still_names_its_calls() -> None:
    told = Result(key=cell(0, 0), outcome=Outcome.OK, calls=["e" * 32])
    found = of_worker(Record(RecordKind.RESULT, told.to_header()))
    assert found.results[0][0].header["calls"] == ["e" * 32]


def test_the_operator_ignores_lines_with_the_nonce_of_another_pod() -> None:
    lines, _ = printed([result(cell(0, 0))], "ffffffffffffffff")
    assert keys(harvest([output(WORKER, lines)], JOURNAL)) == []


@given(damages())
def test_damaged_output_leads_neither_to_invented_records_nor_to_exceptions(damage: Damage) -> None:
    lines, _ = printed([result(cell(0, item), noise(5000, item)) for item in range(4)], NONCE)
    text = "\n".join(damage([line.rstrip("\n") for line in lines]))
    found = harvest([output(WORKER, [text])], JOURNAL)
    assert set(keys(found)) <= {cell(0, item) for item in range(4)}
    for record in found.results.get(0, ()):
        assert Record.from_frame(record.frame()).body == noise(5000, int(record.header["key"][16:], 16))


# Plans.


def test_the_operator_takes_the_tasks_of_a_plan_whose_output_is_complete() -> None:
    found = of_plan(BLOB, TASK, end(0, ASKED.digest))
    (plan,) = found.plans
    assert (plan.round, plan.attempt) == (0, 1)
    assert [record.kind for record in plan.tasks] == [RecordKind.BLOB, RecordKind.TASK]
    assert [record.kind for record in plan.closing] == [RecordKind.PLAN]


def test_the_operator_writes_the_record_of_the_artifact_before_that_of_the_plan() -> None:
    found = of_plan(artifact(), end(0, outcome=PlanOutcome.DONE))
    (plan,) = found.plans
    assert [record.kind for record in plan.closing] == [RecordKind.ARTIFACT, RecordKind.PLAN]


@pytest.mark.parametrize("exit_code", [1, 75, 137])
def test_the_operator_takes_results_of_a_plan_that_died(exit_code: int) -> None:
    found = of_plan(result("d" * 32), call("e" * 32), exit_code=exit_code)
    assert keys(found) == ["d" * 32, "e" * 32]
    assert found.plans == ()


BOUND = Record(RecordKind.BOUND, Bound(binding="b", packages="p").to_header())


def test_results_of_a_plan_are_kept_with_the_digest_of_the_files_that_they_depend_on() -> None:
    def kinds(*records: Record, journal: Journal | None = None) -> list[RecordKind]:
        found = of_plan(*records, journal=journal, exit_code=1).results.get(0, ())
        return [record.kind for record in found if record.kind is not RecordKind.BOOKED]

    one = call("d" * 32)
    assert kinds(BOUND, one, call("e" * 32)) == [RecordKind.BOUND, RecordKind.CALL, RecordKind.CALL]
    assert kinds(BOUND, one, journal=Journal([shard(ObjectKind.RESULTS, 0, bound=True)])) == [RecordKind.CALL]
    assert kinds(BOUND) == [], "a plan that finished nothing"
    assert kinds(Record(RecordKind.BOUND, {"binding": 7}), one) == [RecordKind.CALL]


def test_the_operator_takes_results_of_a_plan_that_still_runs() -> None:
    lines, _ = printed([result("d" * 32), call("e" * 32)], NONCE)
    found = harvest([output(pod(PLANNER, held=True), lines)], Journal())
    assert (keys(found), found.settled) == (["d" * 32, "e" * 32], ())


def test_the_operator_takes_the_results_that_are_left_in_a_plans_rotated_log() -> None:
    lines, commit = printed([result("d" * 32), result("e" * 32), end(0, outcome=PlanOutcome.BLOCKED)], NONCE)
    planner = pod(PLANNER, exit_code=0, held=True, commit=commit)
    found = harvest([output(planner, lines[1:], final=True)], Journal())
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
def test_the_operator_ignores_a_plan_whose_records_contradict_each_other(
    records: tuple[Record, ...], options: dict[str, Any]
) -> None:
    assert of_plan(*records, **options).plans == ()


def test_the_operator_ignores_a_plan_of_a_round_that_already_has_a_plan() -> None:
    assert of_plan(BLOB, TASK, end(0, ASKED.digest), journal=JOURNAL).plans == ()


def test_the_operator_takes_the_first_of_two_attempts_that_planned_the_same_round() -> None:
    records = (BLOB, TASK, end(0, ASKED.digest))
    lines, commit = printed(records, NONCE)
    planners: list[Pod] = [
        pod(job(ObjectKind.PLAN, 0, attempt), exit_code=0, commit=commit, held=True) for attempt in (2, 1)
    ]
    found = harvest([output(planner, lines, final=True) for planner in planners], Journal())
    assert [plan.attempt for plan in found.plans] == [1]


def test_the_operator_reads_the_artifact_as_the_plan_printed_it() -> None:
    found = artifact_of(artifact('{"a": 1}'))
    assert found.program == '{"a": 1}'
    assert json.loads(found.report_text)["scores"] == {"baseline": 1.0, "best": 2.0}
    assert found.markdown == "# Compiled"


# Spending.


NINE = Allowance(calls=9)


def books(found: Harvest) -> list[Booked]:
    return [
        Booked.model_validate(record.header)
        for records in found.results.values()
        for record in records
        if record.kind is RecordKind.BOOKED
    ]


def test_a_pod_whose_log_lost_its_last_report_counts_as_having_spent_its_allowance() -> None:
    told = Record(RecordKind.BOOKED, Booked(spent=Spending(calls=3)).to_header())
    lines, _ = printed([told, result(cell(0, 0)), result(cell(0, 1))], NONCE)
    killed = pod(job(ObjectKind.WORK, 0), exit_code=137, held=True, allowance=NINE)
    assert [booked.spent.calls for booked in books(harvest([output(killed, lines, final=True)], JOURNAL))] == [3]
    assert [booked.spent.calls for booked in books(harvest([output(killed, lines[1:], final=True)], JOURNAL))] == [9]


@pytest.mark.parametrize("commit", [Commit(nonce=NONCE, exit_code=0, spent=Spending(calls=7)), None])
def test_the_operator_also_counts_spending_of_a_pod_without_limits(commit: Commit | None) -> None:
    """A limit that the user adds later holds for the whole run. A killed pod may have paid for one unprinted call per
    thread."""
    free = replace(WORKER, commit=commit)
    found = harvest([output(free, printed([call(f"{n:032x}") for n in range(5)], NONCE)[0], final=True)], JOURNAL, 2)
    assert [booked.spent.calls for booked in books(found)] == [7]


TWO = job(ObjectKind.WORK, 0, completions=2, allowance=NINE)
LAST = TWO.account(1)


@pytest.mark.parametrize(
    ("finished", "pods", "closed", "booked"),
    [
        (True, [0], [], [LAST]),
        (False, [0], [], []),
        (True, [0], [LAST], []),
        (True, [0], [f"{LAST}-uid"], []),
        (True, [0], [f"{LAST}0"], [LAST]),
        # The account belongs to a pod of an earlier Job of the same name.
        (True, [0], ["work-0-1-1-another-uid"], [LAST]),
        (True, [0, 1], [], []),
    ],
)
def test_a_vanished_pod_counts_as_having_spent_its_allowance(
    finished: bool, pods: list[int], closed: list[str], booked: list[str]
) -> None:
    of = replace(TWO, finished=finished)
    journal = Journal(planned(0))
    for account in closed:
        journal.accounts.book(Booked(account=account, spent=Spending(), final=True))
    gone = vanished([of], [pod(of, index) for index in pods], journal)
    found = books(harvest([], journal, gone=gone))
    assert [(each.account, each.spent.calls) for each in found] == [(account, 9) for account in booked]


# Bounds.


def bombs(count: int, header: str, size: int = 60_000_000) -> list[str]:
    body = header.encode()
    frame = zlib.compress(len(body).to_bytes(4, "big") + body + bytes(size), 9)
    text = base64.b64encode(frame).decode()
    parts = [text[i : i + 12_000] for i in range(0, len(text), 12_000)]
    head = f"{len(frame)} {frame_digest(frame)}"
    return [
        f"swarm/1 {NONCE} {number} {part}/{len(parts)} {head} {payload}\n"
        for number in range(count)
        for part, payload in enumerate(parts, 1)
    ]


@pytest.mark.parametrize(
    ("lines", "most"),
    [
        (bombs(3, json.dumps({"record": "result", **Result(key=cell(0, 0), outcome=Outcome.OK).to_header()})), 3),
        (bombs(40, '{"record":"blob","x":[' + "[]," * 1_000_000 + "[]]}", 0), 20),
        (bombs(100, '{"record":"booked","x":"' + "x" * 250_000 + '"}', 0), 40),
        (["x\n"] * 300_000, 5),
    ],
    ids=["bodies", "headers of lists", "many headers", "many lines"],
)
def test_the_operator_inflates_only_a_bounded_amount_of_a_pods_output(lines: list[str], most: int) -> None:
    """The peak in MiB is far below the inflated size. The operator has 512 MiB in all."""
    real, _ = printed([result(cell(0, 1))], NONCE)
    text = "".join([*real, *(line.replace(f"{NONCE} 0 ", f"{NONCE} 999 ") for line in lines)]).encode()
    tracemalloc.start()
    try:
        read = transcribed(WORKER, text, NONCE, JOURNAL)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * 1024 * 1024
    assert cell(0, 1) in [record.header.get("key") for record in read.found]


def test_the_operator_ignores_a_record_with_a_truncated_or_altered_body() -> None:
    frame = result(cell(0, 0), bytes(range(256)) * 1000).frame()
    for damaged in (frame[:-4], frame + b"x", frame[: len(frame) // 2] + b"\0\0" + frame[len(frame) // 2 + 2 :]):
        text = base64.b64encode(damaged).decode()
        line = f"swarm/1 {NONCE} 0 1/1 {len(damaged)} {frame_digest(damaged)} {text}\n"
        assert len(text) <= 12_000
        assert transcribed(WORKER, line.encode(), NONCE, JOURNAL).found == ()


def test_the_operator_reads_a_task_with_very_many_cells() -> None:
    many = task(0, cells=50_000)
    made = Record(RecordKind.TASK, many.to_header())
    (read,) = transcribed(pod(PLANNER), "".join(printed([made], NONCE)[0]).encode(), NONCE, Journal()).found
    assert read.header == made.header


def test_records_in_the_journal_are_not_kept_in_memory() -> None:
    lines, commit = printed([result(cell(0, 0)), call("e" * 32), result(cell(0, 1))], NONCE)
    journal = Journal([*planned(0), results(0, 0)])
    read = transcribed(WORKER, "".join(lines).encode(), NONCE, journal)
    assert [record.header["key"] for record in read.found] == ["e" * 32, cell(0, 1)]
    assert read.transcript.complete(commit)
    assert read.told == Usage(calls=1)


def test_a_record_too_large_for_a_config_map_is_written_last() -> None:
    """The record ends the run, so the operator first writes the other records."""
    large, other = result(cell(0, 0), noise(1_000_001)), result(cell(0, 1))
    found = of_worker(large, other)
    assert (keys(found), found.settled) == ([cell(0, 1)], ())
    closed = shard(ObjectKind.RESULTS, 0, 0, 9, booked=(Booked(account=WORKER.account, spent=Spending(), final=True),))
    found = of_worker(large, other, journal=Journal([*planned(0), results(0, 1), closed]))
    assert (keys(found), found.settled) == ([cell(0, 0)], (WORKER,))
