"""The journal as a plan sees it."""

import pytest

from support.wire import blob, digest, plan_end, result
from swarm_wire.messages import CallMade, Outcome, Result, Usage
from swarm_wire.records import Record, RecordKind
from swarm_worker.replay.store import Store


def test_the_first_result_of_a_key_counts() -> None:
    store = Store.of([result(1, b"first", 2), result(2, b"other", 3), result(1, b"second", 50)])
    assert (len(store), store.body(digest(1)), store.usage().calls) == (2, b"first", 5)
    store.put(result(1, b"third"))
    assert store.body(digest(1)) == b"first"
    assert digest(3) not in store


def test_plans_are_in_the_order_of_their_rounds() -> None:
    store = Store.of([plan_end(1, '[["wave","b"]]'), blob(b"skipped"), plan_end(0, "[]"), plan_end(1, "[]")])
    assert [end.binding for end in store.plans] == ["b0", "b1"]
    assert store.stream == [("wave", "b")]
    assert Store.of([]).stream == []


def call(key: int, cell: int | None = None, body: bytes = b"answer", calls: int = 1) -> Record:
    made = CallMade(key=digest(key), usage=Usage(calls=calls), cell=None if cell is None else digest(cell))
    return Record(RecordKind.CALL, made.to_header(), body)


def carrying(key: int, answer: int, value: bytes = b"value", body: bytes = b"carried") -> Record:
    """A cell's result that carries an answer."""
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
def test_the_answer_to_a_call(case: str, records: list[Record], answer: bytes | None) -> None:
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
def test_what_was_paid(case: str, records: list[Record], paid: int) -> None:
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
def test_what_was_wasted(case: str, records: list[Record], used: set[int], wasted: tuple[int, int]) -> None:
    waste = Store.of(records).waste({digest(number) for number in used})
    assert (waste.cells, waste.calls) == wasted
