"""A plan puts the files together that the run has fetched from URLs."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.worker import spec_of
from swarm_wire import names
from swarm_wire.messages import Snapshot
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import pack
from swarm_worker.errors import BadInput
from swarm_worker.user import data as user_data
from swarm_worker.user import fetched
from swarm_worker.user.sources import snapshot
from swarm_worker.user.urls import Fetched

ROWS = b"".join(b'{"question": "q%d", "answer": "a"}\n' % number for number in range(20))
OTHER = ROWS.replace(b'"a"', b'"b"')


def placed(folder: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch, *, one_by_one: bool = False) -> None:
    """Writes records as a plan finds them."""
    folder.mkdir()
    for number, shard in enumerate(pack(records, limit=1 if one_by_one else 2**20)):
        (folder / f"{number}.shard").write_bytes(shard)
    monkeypatch.setenv(names.ENV_DATA_DIR, str(folder))
    monkeypatch.setenv(names.ENV_UNPACKED_DIR, str(folder.parent / "unpacked"))


def parts(content: bytes, tmp_path: Path, of: str = "train") -> list[Record]:
    path = tmp_path / f"content-{of}"
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return [*Fetched(of, "https://h/x.jsonl", path, len(content), sha256, "").records(100)]


@pytest.mark.parametrize("one_by_one", [True, False])
def test_parts_in_any_order_make_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: bool) -> None:
    program = Snapshot(url="u", revision="c" * 40, part=0, parts=1, sha256="a" * 64, files=1)
    records = [Record(RecordKind.SNAPSHOT, program.to_header(), b"x"), *reversed(parts(ROWS, tmp_path))]
    records += [*parts(OTHER, tmp_path)[:2], *parts(OTHER, tmp_path, of="test")]
    placed(tmp_path / "data", records, monkeypatch, one_by_one=one_by_one)
    assert fetched.fetched_file("train", "https://h/x.jsonl", None).read_bytes() == ROWS
    assert fetched.fetched_file("test", "https://h/x.jsonl", None).read_bytes() == OTHER
    assert set(fetched.fetched_files()) == {"train", "test"}


def test_examples_come_from_the_fetched_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed(tmp_path / "data", parts(ROWS, tmp_path), monkeypatch)
    spec = spec_of("prog", data={"inputs": ["question"], "train": {"url": "https://h/x.jsonl", "limit": 3}})
    assert [example.question for example in user_data.load_data(spec, tmp_path).train] == ["q0", "q1", "q2"]


def test_a_missing_or_altered_part_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = parts(ROWS, tmp_path)
    placed(tmp_path / "data", records[:-1], monkeypatch)
    with pytest.raises(BadInput, match="a part of it is gone"):
        fetched.fetched_file("train", "https://h/x.jsonl", None)
    records[0] = Record(RecordKind.SNAPSHOT, records[0].header, b"altered")
    placed(tmp_path / "more", records, monkeypatch)
    with pytest.raises(BadInput, match="was altered"):
        fetched.fetched_file("train", "https://h/x.jsonl", None)
    assert not [path for path in (tmp_path / "unpacked").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_two_processes_do_not_put_the_same_file_together_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed(tmp_path / "data", parts(ROWS, tmp_path), monkeypatch)
    bodies, began = fetched._bodies, list[float]()

    def slow(*given: Any) -> Iterator[bytes]:
        began.append(time.monotonic())
        time.sleep(0.3)
        yield from bodies(*given)

    monkeypatch.setattr(fetched, "_bodies", slow)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: fetched.fetched_file("train", "https://h/x.jsonl", None), range(2)))
    assert [path.read_bytes() for path in paths] == [ROWS, ROWS]
    assert len(began) == 1


def program(content: bytes, commit: str) -> list[Record]:
    bodies, sha256 = [content[:100], content[100:]], hashlib.sha256(content).hexdigest()
    heads = [Snapshot(url="u", revision=commit * 40, part=n, parts=2, sha256=sha256, files=1) for n in range(2)]
    return [Record(RecordKind.SNAPSHOT, head.to_header(), body) for head, body in zip(heads, bodies, strict=True)]


def test_parts_of_two_fetches_of_the_program_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed(tmp_path / "snapshot", [*program(OTHER, "a")[1:], *reversed(program(ROWS, "b"))], monkeypatch)
    monkeypatch.setenv(names.ENV_SNAPSHOT_DIR, str(tmp_path / "snapshot"))
    found = snapshot()
    assert found is not None
    assert (found[0].revision, found[1]) == ("b" * 40, ROWS)


def test_a_missing_part_of_the_program_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed(tmp_path / "snapshot", [*program(OTHER, "a")[1:], *program(ROWS, "b")[:1]], monkeypatch)
    monkeypatch.setenv(names.ENV_SNAPSHOT_DIR, str(tmp_path / "snapshot"))
    with pytest.raises(BadInput, match="are incomplete or were altered"):
        snapshot()
