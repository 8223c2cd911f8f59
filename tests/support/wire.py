"""Builders for tests of the contract: records, their printed form, and damage to it."""

import random
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

from swarm_wire.messages import Cell, Commit, EffectKind, Outcome, PlanEnd, PlanOutcome, Result, Task
from swarm_wire.pod_output import Writer
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import Usage

NONCE = "a1b2c3d4e5f60718"


def noise(size: int, seed: int = 0) -> bytes:
    """Returns random bytes, which do not compress."""
    return random.Random(seed).randbytes(size)


def blob(body: bytes = b"", **header: Any) -> Record:
    return Record(RecordKind.BLOB, header, body)


def printed(records: Iterable[Record], nonce: str = NONCE) -> tuple[list[str], Commit]:
    """Returns the lines that a pod prints for these records, and its commit."""
    lines: list[bytes] = []
    writer = Writer(lines.append, nonce)
    for record in records:
        writer.put(record)
    return [line.decode() for line in lines], writer.commit(0)


def digest(number: int) -> str:
    return f"{number:032x}"


def result(key: int, body: bytes = b"", calls: int = 1) -> Record:
    header = Result(key=digest(key), outcome=Outcome.OK, usage=Usage(calls=calls))
    return Record(RecordKind.RESULT, header.to_header(), body)


def plan_end(round_: int, stream: str = "[]", **fields: Any) -> Record:
    """Returns the record of a plan that ended. `stream` is JSON with [kind, digest] of each effect that it needed."""
    end = PlanEnd(outcome=PlanOutcome.BLOCKED, round=round_, binding=f"b{round_}", **fields)
    return Record(RecordKind.PLAN, end.to_header(), stream.encode())


def task(number: int = 1, cells: int = 1, weight: int = 1, first_key: int | None = None, grouped: bool = False) -> Task:
    """Returns a task. Without `first_key`, no other task has its cells. If `grouped`, each cell has its own group."""
    start = number * 1_000_000 if first_key is None else first_key
    made = [
        Cell(key=digest(start + position), item=position, group=f"{position:08x}" if grouped else None)
        for position in range(cells)
    ]
    return Task(digest=digest(number), kind=EffectKind.WAVE, payload=digest(0), cells=made, weight=weight)


_values = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(max_size=20))


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Draws any record, with a body of nothing to several lines and a header with any text."""
    header = draw(st.dictionaries(st.text(max_size=8).filter(lambda key: key != "record"), _values, max_size=3))
    size = draw(st.sampled_from([0, 1, 50, 3000, 8990, 9000, 9010, 20_000, 40_000]))
    return Record(draw(st.sampled_from(RecordKind)), header, noise(size, draw(st.integers(0, 9))))


Damage = Callable[[list[str]], list[str]]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Draws one kind of damage to an output: lines are cut, dropped, repeated, moved, joined or altered, or others are
    added."""
    kind = draw(st.sampled_from(["cut", "drop", "repeat", "move", "glue", "alter", "between", "truncate"]))
    where, to, text = draw(st.floats(0, 0.999)), draw(st.floats(0, 0.999)), draw(st.text(max_size=40))

    def damage(lines: list[str]) -> list[str]:
        if not lines:
            return lines
        number, line = int(where * len(lines)), lines[int(where * len(lines))]
        at = int(to * len(line))
        match kind:
            case "cut":
                return [*lines[:number], line[:at], *lines[number + 1 :]]
            case "drop":
                return [*lines[:number], *lines[number + 1 :]]
            case "repeat":
                return [*lines, line]
            case "move":
                rest = [*lines[:number], *lines[number + 1 :]]
                return [*rest[: int(to * len(rest))], line, *rest[int(to * len(rest)) :]]
            case "glue":
                return [
                    *lines[:number],
                    line.rstrip("\n") + "".join(lines[number + 1 : number + 2]),
                    *lines[number + 2 :],
                ]
            case "alter":
                return [*lines[:number], line[:at] + (text[:1] or "A") + line[at + 1 :], *lines[number + 1 :]]
            case "truncate":
                return [*lines[:number], line[:at]]
            case _:
                return [*lines[:number], text + "\n", *lines[number:]]

    return damage
