"""On a laptop, the local driver keeps the newest earlier runs whole, and only the paid answers of older runs."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from support.wire import digest
from swarm_wire.messages import STORED, Bound, CallMade, Outcome, Result
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import pack, read_folder
from swarm_wire.spending import Usage
from swarm_worker.journal.run_journal import Journal
from swarm_worker.local.earlier import EarlierRuns

A, B = "a" * 32, "b" * 32


def bound(binding: str, packages: str = "p") -> Record:
    return Record(RecordKind.BOUND, Bound(binding=binding, packages=packages).to_header())


def call(number: int) -> Record:
    return Record(RecordKind.CALL, CallMade(key=digest(number), usage=Usage(calls=1)).to_header(), b"answer")


def cell(number: int, of: int | None = None) -> Record:
    """Returns the result of a cell, with the answer to one call if `of` names it."""
    carried = {"calls": [digest(of)], "calls_at": 5} if of else {}
    header = Result(key=digest(number), outcome=Outcome.OK, usage=Usage(calls=1), **carried)
    return Record(RecordKind.RESULT, header.to_header(), b"value" + (b"answer" if of else b""))


def written(folder: Path, *records: Record) -> Path:
    folder.mkdir(parents=True)
    for number, shard in enumerate(pack(records)):
        (folder / f"{number}.shard").write_bytes(shard)
    return folder


def folders(earlier: EarlierRuns) -> list[str]:
    return sorted(path.name for path in earlier.root.iterdir())


@pytest.fixture
def earlier(tmp_path: Path) -> EarlierRuns:
    return EarlierRuns(tmp_path / "earlier")


def retired(earlier: EarlierRuns, name: str, *records: Record) -> None:
    root = earlier.root.parent / name
    parts = [written(root / "journal", *records), root / "artifact", root / "logs"]
    parts[1].mkdir()
    earlier.add(name, parts)
    assert not any(part.exists() for part in parts)


@pytest.mark.parametrize(
    ("records", "is_kept"),
    [
        ([], False),
        ([bound(A)], False),
        ([bound(A), call(1)], True),
        ([bound(A), cell(1)], True),
    ],
)
def test_an_earlier_run_is_kept_only_if_it_has_results(
    earlier: EarlierRuns, records: Iterable[Record], is_kept: bool
) -> None:
    retired(earlier, "run", *records)
    assert [path.name for path in earlier.runs] == ["000001-run"] * is_kept


def test_the_local_driver_keeps_newest_runs_whole_and_only_the_answers_of_older_runs(
    earlier: EarlierRuns, tmp_path: Path
) -> None:
    for number, name in enumerate(("one", "two", "three", "four"), 1):
        retired(earlier, name, bound(str(number) * 32), cell(10 + number, of=number), call(20 + number))
    now = written(tmp_path / "now", bound(A))
    earlier.prune(2, now)
    earlier.prune(2, now)
    assert folders(earlier) == ["000000-answers-p", "000003-three", "000004-four"]
    left = Journal.of(read_folder(earlier.root / "000000-answers-p"))
    assert [left.answer(digest(number)) for number in (1, 2, 21, 22)] == [b"answer"] * 4
    assert [digest(number) in left for number in (11, 12)] == [False, False], "results count with their own files only"
    assert left.bound == Bound(binding="", packages="p")
    retired(earlier, "five", bound(B), call(5))
    assert [path.name for path in earlier.runs] == ["000005-five", "000004-four", "000003-three"]


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([bound(A), cell(1, of=2)], ["000001-old"]),
        ([bound(B), cell(1, of=2)], ["000000-answers-p"]),
        ([bound(B, "q"), cell(1, of=2)], ["000000-answers-q"]),
        ([bound(B), cell(1)], []),
        ([cell(1, of=2)], []),
        ([bound(B), Record(RecordKind.CALL, {**call(1).header, STORED: {"name": "far away"}})], ["000001-old"]),
    ],
    ids=[
        "made with the same files",
        "made with other files",
        "made with other packages",
        "without answers",
        "without a binding",
        "with bodies elsewhere",
    ],
)
def test_results_that_a_later_run_could_use_are_kept(
    earlier: EarlierRuns, tmp_path: Path, records: Iterable[Record], found: list[str]
) -> None:
    retired(earlier, "old", *records)
    earlier.prune(0, written(tmp_path / "now", bound(A)))
    assert folders(earlier) == found
