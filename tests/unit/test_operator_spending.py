"""The operator computes what ended pods have spent, and adds it to the journal's accounts."""

from dataclasses import replace
from typing import Any

import pytest

from support.decisions import WORK
from support.wire import printed
from support.worlds import job, pod, shard
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.interpret import spending
from swarm_operator.compilation.interpret.harvest import harvest
from swarm_operator.compilation.interpret.output import Output, transcribed
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.shards import Journal
from swarm_wire.messages import Commit
from swarm_wire.names import ExitCode
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import Allowance, Booked, Spending


def told(calls: int) -> Record:
    return Record(RecordKind.BOOKED, Booked(spent=Spending(calls=calls)).to_header())


@pytest.mark.parametrize(
    ("commit", "records", "lost", "calls"),
    [
        (None, [told(0)], False, 0),
        (None, [told(0), told(6)], False, 6),
        # The first record of a pod is missing only if the kubelet rotated its log.
        (None, [], False, 9),
        (None, [told(3)], True, 9),
        (None, [], True, 9),
        (Commit(nonce="n", exit_code=0, spent=Spending(calls=5)), [told(6)], False, 5),
        (Commit(nonce="n", exit_code=0, spent=Spending(calls=5)), [], True, 5),
        (Commit(nonce="n", exit_code=0), [told(6)], False, 6),
        (None, [Record(RecordKind.BOOKED, {"spent": {"calls": -1}})], False, 9),
    ],
)
def test_a_pod_counts_as_having_spent_what_it_reported_or_otherwise_its_whole_allowance(
    commit: Commit | None, records: list[Record], lost: bool, calls: int
) -> None:
    found = pod(job(WORK, 0), commit=commit, exit_code=137, allowance=Allowance(calls=9))
    assert spending.spent(printed_by(found, records, lost)) == Spending(calls=calls)


def printed_by(pod: Pod, records: list[Record], lost: bool = False) -> Output:
    lines, _ = printed(records, "nonce-of-this")
    found = transcribed(pod, "".join(lines).encode(), "nonce-of-this", Journal())
    return replace(found, final=True, lost=lost)


@pytest.mark.parametrize("fields", [{"exit_code": int(ExitCode.INTERRUPTED)}, {"started": False}], ids=str)
def test_a_pod_that_ended_before_its_first_record_has_spent_nothing(fields: dict[str, Any]) -> None:
    found = pod(job(WORK, 0), allowance=Allowance(calls=9), **fields)
    assert spending.spent(printed_by(found, [])) == Spending()


def harvested(journal: Journal, *pods: Pod) -> list[dict[str, Any]]:
    found = harvest((Output(each, final=each.ended, lost=each.started) for each in pods), journal)
    return [record.header for records in found.results.values() for record in records]


def test_the_spending_of_an_ended_pod_is_counted_once() -> None:
    of = job(WORK, 0, completions=3)
    ended = pod(of, 0, exit_code=137, allowance=Allowance(calls=9))
    in_order = Commit(nonce="n", exit_code=0, spent=Spending())
    others = pod(of, 2, exit_code=137), pod(of, 3, exit_code=0, commit=in_order), pod(of, 4, exit_code=1, started=False)
    pods = ended, pod(of, 1, allowance=Allowance(calls=9)), *others
    account = {
        "account": ended.account,
        "spent": {"calls": 9, "tokens": 0, "microUsd": 0},
        "final": True,
        "repeated": 1,
    }
    killed = {
        "account": others[0].account,
        "spent": {"calls": 1, "tokens": 0, "microUsd": 0},
        "final": True,
        "repeated": 1,
    }
    assert harvested(Journal(), *pods) == [account, killed]
    booked = tuple(map(Booked.model_validate, (account, killed)))
    kept = Journal([shard(ObjectKind.RESULTS, 0, booked=booked)])
    assert harvested(kept, *pods) == []
    assert (kept.accounts.total, kept.accounts.repeated) == (Spending(calls=10), 2)


TRAINED = Commit(nonce="n", exit_code=0, spent=Spending(calls=0, tokens=70))
TRAININGS: list[tuple[str, dict[str, Any], Spending, int]] = [
    ("a training has spent what it says", {"commit": TRAINED, "exit_code": 0}, Spending(tokens=70), 0),
    ("a trainer that failed has spent nothing", {"started": False, "prepares": True, "ended": True}, Spending(), 0),
    ("a killed training repeats no LM call", {"exit_code": 137}, Spending(calls=9), 0),
]


@pytest.mark.parametrize(("fields", "cost", "repeated"), [row[1:] for row in TRAININGS], ids=[r[0] for r in TRAININGS])
def test_trainings_count_against_the_limits_of_the_run(fields: dict[str, Any], cost: Spending, repeated: int) -> None:
    found = pod(job(ObjectKind.TRAIN, 0), allowance=Allowance(calls=9), **fields)
    booked = spending.closing(printed_by(found, []), Journal(), 8)
    assert booked is not None
    assert (booked.spent, booked.repeated, booked.final) == (cost, repeated, True)


def test_a_killed_training_without_limits_books_no_lm_calls() -> None:
    found = pod(job(ObjectKind.TRAIN, 0), exit_code=137)
    assert spending.closing(printed_by(found, []), Journal(), 8) is None
