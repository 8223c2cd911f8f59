"""A plan looks results, answers and costs up in the journal."""

from pathlib import Path

import pytest

from support.wire import blob, digest, plan_end, result
from swarm_wire.messages import Bound, CallMade, Outcome, Result
from swarm_wire.names import SHARD_SUFFIX
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import Reused
from swarm_wire.shards import pack
from swarm_wire.spending import Usage
from swarm_worker.journal import store as stores
from swarm_worker.journal.run_journal import Journal
from swarm_worker.journal.store import Store, read_earlier


def test_the_first_of_several_results_of_a_cell_counts() -> None:
    store = Store.of([result(1, b"first", 2), result(2, b"other", 3), result(1, b"second", 50)])
    assert (len(store), store.body(digest(1)), store.usage().calls) == (2, b"first", 5)
    store.put(result(1, b"third"))
    assert store.body(digest(1)) == b"first"
    assert digest(3) not in store


def test_the_journal_has_plans_in_the_order_of_their_rounds() -> None:
    store = Store.of([plan_end(1, '[["wave","b"]]'), blob(b"skipped"), plan_end(0, "[]"), plan_end(1, "[]")])
    assert [end.binding for end in store.plans] == ["b0", "b1"]
    assert store.stream == [("wave", "b")]
    assert Store.of([]).stream == []


def call(key: int, cell: int | None = None, body: bytes = b"answer", calls: int = 1) -> Record:
    made = CallMade(key=digest(key), usage=Usage(calls=calls), cell=None if cell is None else digest(cell))
    return Record(RecordKind.CALL, made.to_header(), body)


def carrying(key: int, answer: int, value: bytes = b"value", body: bytes = b"carried") -> Record:
    """Returns a cell's result that carries the answer to a call."""
    header = Result(
        key=digest(key), outcome=Outcome.OK, usage=Usage(calls=1), calls=[digest(answer)], calls_at=len(value)
    )
    return Record(RecordKind.RESULT, header.to_header(), value + body)


ANSWERS: list[tuple[str, list[Record], bytes | None]] = [
    ("nothing", [result(1), call(8)], None),
    ("a call", [call(9)], b"answer"),
    ("a result that carries it", [carrying(1, 9)], b"carried"),
    ("the first of two calls", [call(9, 1, b"first"), call(9, 2, b"second")], b"first"),
    ("the first of two carriers", [carrying(1, 9, body=b"first"), carrying(2, 9, body=b"second")], b"first"),
    ("the first of a cell's attempts", [carrying(1, 9, body=b"first"), carrying(1, 9, b"longer", b"2nd")], b"first"),
    ("a call before a carrier", [carrying(1, 9), call(9)], b"answer"),
]


@pytest.mark.parametrize(("case", "records", "answer"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_the_first_of_several_answers_to_a_call_counts(case: str, records: list[Record], answer: bytes | None) -> None:
    assert Store.of(records).answer(digest(9)) == answer


PAID: list[tuple[str, list[Record], int]] = [
    ("nothing", [], 0),
    ("results and calls", [result(1, calls=2), call(9, 1), call(8)], 4),
    ("two cells made the same call at once", [call(9, 1), call(9, 2)], 2),
    ("a cell and the plan made the same call", [call(9, 1), call(9)], 2),
    ("the same record twice", [call(9, 1), call(9, 1), call(8), call(8), result(1), result(1)], 3),
    ("several completions", [call(9, calls=5)], 5),
]


@pytest.mark.parametrize(("case", "records", "paid"), PAID, ids=[row[0] for row in PAID])
def test_the_total_paid_counts_each_call_of_each_cell_once(case: str, records: list[Record], paid: int) -> None:
    assert Store.of(records).usage().calls == paid


WASTED: list[tuple[str, list[Record], set[int], tuple[int, int]]] = [
    ("everything is used", [result(1), call(9, 1), call(8)], {1, 8}, (0, 0)),
    ("an unused cell", [result(1), result(2, calls=3)], {1}, (1, 3)),
    ("calls of an unused cell", [result(2), call(9, 2), call(8, 2)], set(), (1, 3)),
    ("calls of a cell that never came to an end", [call(9, 2)], set(), (0, 1)),
    ("a call of the plan that it did not need again", [call(9), call(8)], {8}, (0, 1)),
    ("an unused failure of the plan's", [result(3, calls=0)], set(), (1, 0)),
    ("a call that two cells made, one of them in vain", [call(9, 1), call(9, 2), result(1)], {1}, (0, 1)),
]


@pytest.mark.parametrize(("case", "records", "used", "wasted"), WASTED, ids=[row[0] for row in WASTED])
def test_results_and_calls_that_no_plan_used_are_wasted(
    case: str, records: list[Record], used: set[int], wasted: tuple[int, int]
) -> None:
    waste = Store.of(records).waste({digest(number) for number in used})
    assert (waste.cells, waste.calls) == wasted


BOUND = Record(RecordKind.BOUND, Bound(binding="b0", packages="").to_header())


def changed(record: Record, **fields: object) -> Record:
    return Record(record.kind, {**record.header, **fields}, record.body)


EARLIER: dict[str, tuple[list[Record], str, tuple[bytes | None, bytes | None]]] = {
    # A row has records of an earlier run, this run's binding, and what this run reuses for cell 1 and for call 9.
    "nothing": ([result(2), plan_end(0)], "b0", (None, None)),
    "a result": ([result(1, b"cell"), plan_end(0)], "b0", (b"cell", None)),
    "a result that was made with other files": ([result(1, b"cell"), plan_end(0)], "other", (None, None)),
    "a result of a run without a plan": ([result(1, b"cell")], "b0", (None, None)),
    "a result of a plan that did not come to its end": ([result(1, b"cell"), BOUND], "b0", (b"cell", None)),
    "one that was made with other files": ([result(1, b"cell"), BOUND], "other", (None, None)),
    "an error": ([changed(result(1, b"cell"), outcome="error"), plan_end(0)], "b0", (None, None)),
    "a call": ([call(9, 1), plan_end(0)], "b0", (None, b"answer")),
    "a call that was made with other files": ([call(9, 1), plan_end(0)], "other", (None, b"answer")),
    "an answer that an error carries": ([changed(carrying(1, 9), outcome="error")], "other", (None, b"carried")),
}


@pytest.mark.parametrize("case", EARLIER)
def test_an_earlier_runs_results_are_reused_only_under_the_same_binding_but_its_calls_under_any_binding(
    case: str,
) -> None:
    records, binding, (cell_1, call_9) = EARLIER[case]
    store = Store.of([])
    store.earlier = [Journal.of(records)]
    store.bind(binding)
    key = digest(1)
    assert (store.body(key) if key in store else None, store.answer(digest(9))) == (cell_1, call_9)
    assert store.is_reused(digest(9)) is (call_9 is not None)
    assert (len(store), store.usage(), store.waste(()).cells) == (0, Usage(), 0), "it is not this run's"


def test_an_answer_that_is_one_of_several_samples_is_reused_only_under_the_same_binding() -> None:
    store = Store.of([])
    store.earlier = [Journal.of([call(9), plan_end(0)])]
    assert store.answer(digest(9), is_sample=True) is None
    store.bind("b0")
    assert store.answer(digest(9), is_sample=True) == b"answer"


def test_results_of_newer_runs_are_preferred_to_results_of_older_runs() -> None:
    store = Store.of([result(1, b"own"), call(8, body=b"own")])
    newer = [result(2, b"newer"), call(9, body=b"newer"), plan_end(0)]
    older = [result(1, b"older"), result(2, b"older"), call(8, body=b"older"), call(9, body=b"older"), plan_end(0)]
    store.earlier = [Journal.of(newer), Journal.of(older)]
    store.bind("b0")
    assert [store.body(digest(1)), store.body(digest(2))] == [b"own", b"newer"]
    assert [store.answer(digest(8)), store.answer(digest(9))] == [b"own", b"newer"]


def test_a_call_that_a_run_saved_is_counted_once() -> None:
    earlier = Journal.of([result(1, calls=3), call(7, 1), carrying(2, 8), call(9), call(10), plan_end(0)])
    reusing = changed(result(3), reused=[digest(7), digest(8), digest(9)])
    store = Store.of([reusing, changed(result(4), reused=[digest(9)])])
    store.earlier = [earlier]
    store.bind("b0")
    # Cell 1 made three calls and call 7, and cell 2 made call 8. Cells 3 and 4 used call 9. The plan used call 10.
    used = [digest(number) for number in (1, 2, 3, 4, 10)]
    assert store.reused(used) == Reused(cells=2, calls=7)
    assert store.reused([digest(3)]) == Reused(cells=0, calls=3)
    assert store.reused([]) == Reused()


def test_the_calls_of_a_cell_are_counted_even_if_an_earlier_run_paid_for_them() -> None:
    earlier = Journal.of([result(1, calls=9), result(2, calls=4), call(8, 2)])
    reusing = Result(key=digest(3), outcome=Outcome.OK, usage=Usage(calls=1), reused=[digest(8), digest(9)])
    mine = [result(1, calls=2), call(8, 1), call(7), call(6, 5), Record(RecordKind.RESULT, reusing.to_header())]
    store = Store.of(mine)
    store._equal = [earlier]
    assert store.calls_by_cell() == {digest(1): 3, digest(2): 5, digest(3): 3}


def test_the_worker_reads_the_journals_of_earlier_runs_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (name, said) in enumerate({"0000-old": plan_end(0), "0001-new": BOUND, "..data": BOUND}.items()):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"a{SHARD_SUFFIX}").write_bytes(pack([result(number), said])[0])
    monkeypatch.setattr(stores, "packages", lambda: "")
    found = read_earlier(tmp_path, None)
    assert [(name, next(iter(run._results))) for name, run in found.items()] == [("new", digest(1)), ("old", digest(0))]
    assert read_earlier(tmp_path / "none", None) == {}
    monkeypatch.setattr(stores, "packages", lambda: "others")
    assert [len(run) for run in read_earlier(tmp_path, None).values()] == [0, 0]
