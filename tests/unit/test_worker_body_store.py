"""Workers store the bodies of records in a depot (a folder or an object store) and print only the headers."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from support.wire import blob, digest, plan_end, result
from swarm_wire import names
from swarm_wire.messages import STORED, CallMade, Pending, Stored
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import Booked, Spending, Usage
from swarm_worker.content.storage_options import _texts
from swarm_worker.errors import BadInput, Drift, StorageFailed
from swarm_worker.journal import body_store as depots
from swarm_worker.journal.body_store import Depot, Sender
from swarm_worker.journal.run_journal import Journal
from swarm_worker.journal.store import Store


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depots, "PAUSES", (0.0, 0.0))


@pytest.fixture(params=["file", "memory"])
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Depot:
    """Returns a depot: in one case on a volume, in the other in an object store."""
    return Depot(f"{request.param}://{tmp_path}/depot")


def sent(depot: Depot, *records: Record, run: str = "run") -> list[Record]:
    """Sends records, and returns them as the worker prints them."""
    printed: list[Record] = []
    sender = Sender(depot, f"{run}/0", printed.append)
    for record in records:
        sender.put(record)
    sender.flush()
    return printed


def call(key: int) -> Record:
    return Record(RecordKind.CALL, CallMade(key=digest(key), usage=Usage(calls=1)).to_header(), b"answer")


def is_there(depot: Depot, *records: Record) -> bool:
    """Returns whether another process can use the results."""
    journal = Journal.of(records, depot)
    return all(journal.is_good(record.header["key"]) for record in records)


def places(records: list[Record]) -> list[Stored]:
    return [Stored.model_validate(record.header[STORED]) for record in records if STORED in record.header]


def test_bodies_are_stored_apart_from_their_headers(depot: Depot) -> None:
    records = [result(1, b"one"), result(2, b"two"), result(3, b""), blob(b"payload")]
    printed = sent(depot, *records)
    assert [record.body for record in printed] == [b""] * 4
    assert [record.kind for record in printed] == [record.kind for record in records]
    assert [depot.read(place) for place in places(printed)] == [b"one", b"two", b"payload"]
    assert len({place.name for place in places(printed)}) == 1, "one object for what came together"
    without = [{name: value for name, value in record.header.items() if name != STORED} for record in printed]
    assert without == [record.header for record in records]


def test_bodies_that_the_operator_reads_are_not_stored_in_the_depot(depot: Depot) -> None:
    end = plan_end(0, '[["wave","b"]]')
    artifact = Record(RecordKind.ARTIFACT, {"sha256": ""}, b"{}")
    assert sent(depot, end, artifact) == [end, artifact]


def test_a_record_is_printed_only_after_its_body_is_stored(tmp_path: Path) -> None:
    printed: list[Record] = []

    class Checked(Depot):
        def write(self, name: str, data: bytes) -> None:
            assert printed == []
            super().write(name, data)

    depot = Checked(f"file://{tmp_path}")
    sender = Sender(depot, "run/0", printed.append)
    sender.put(result(1, b"one"))
    assert printed == []
    for _ in range(100):
        if printed:
            break
        time.sleep(0.1)
    assert [depot.read(place) for place in places(printed)] == [b"one"], "without a word more"


def test_a_worker_sends_bodies_at_once_when_they_fill_an_object_of_the_depot(depot: Depot) -> None:
    printed: list[Record] = []
    sender = Sender(depot, "run/0", printed.append)
    sender.put(result(1, b"x" * depots.OBJECT_BYTES))
    assert len(printed) == 1


def test_bodies_in_a_depot_can_be_read_back(depot: Depot) -> None:
    store = Store.of(sent(depot, result(1, b"one"), result(2, b"two")), depot)
    assert [store.body(digest(1)), store.body(digest(2))] == [b"one", b"two"]


@pytest.mark.parametrize("harm", ["altered", "cut", "gone"])
def test_an_altered_body_is_never_used(harm: str, tmp_path: Path) -> None:
    folder = tmp_path / "depot"
    printed = sent(Depot(f"file://{folder}"), result(1, b"one"), plan_end(0))
    (file,) = (folder / "run").iterdir()
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(b"two" if harm == "altered" else b"o")
    depot = Depot(f"file://{folder}")
    with pytest.raises(Drift, match="was deleted or altered"):
        Store.of(printed, depot).body(digest(1))
    if harm != "altered":
        later = Store.of([])
        later.earlier = [Journal.of(printed, depot)]
        later.bind("b0")
        assert digest(1) not in later, "another run does without it"


def test_a_new_run_deletes_bodies_that_no_journal_names(depot: Depot) -> None:
    kept = {run: sent(depot, result(1, run.encode()), run=run) for run in ("old", "earlier", "now")}
    depot.keep_only(["now", "earlier"])
    assert {run: is_there(depot, *records) for run, records in kept.items()} == {
        "old": False,
        "earlier": True,
        "now": True,
    }


def test_an_emptied_depot_holds_no_body(depot: Depot) -> None:
    depot.keep_only([])
    stored = Stored(name="run/0", offset=0, length=1, digest=digest(1))
    assert not is_there(depot, Record(RecordKind.RESULT, {**result(1).header, STORED: stored.to_header()}))


class Unreliable(Depot):
    """A depot whose first `failures` accesses fail."""

    failures = 0

    @property
    def _files(self) -> Any:
        if self.failures > 0:
            self.failures -= 1
            raise OSError(116, "Stale file handle")
        return super()._files


def test_a_body_that_cannot_be_read_for_a_moment_is_read_again_later(tmp_path: Path) -> None:
    depot = Unreliable(f"memory://{tmp_path}/depot")
    printed = sent(depot, result(1, b"one"))
    depot.failures = len(depots.PAUSES)
    assert is_there(depot, *printed)


def test_a_body_that_cannot_be_read_does_not_count_as_lost(tmp_path: Path) -> None:
    depot = Unreliable(f"memory://{tmp_path}/depot")
    journal = Journal.of(sent(depot, result(1, b"one"), call(2)), depot)
    depot.failures = 100
    with pytest.raises(StorageFailed, match="cannot be read: OSError"):
        journal.is_good(digest(1))
    with pytest.raises(StorageFailed, match="cannot be read: OSError"):
        journal.answer(digest(2))


def test_a_missing_volume_does_not_count_as_damaged_bodies(tmp_path: Path) -> None:
    printed = sent(Depot(f"file://{tmp_path}/depot"), result(1, b"one"))
    (tmp_path / "depot").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageFailed, match="cannot be read: FileNotFoundError"):
        Store.of(printed, Depot(f"file://{tmp_path}/depot")).body(digest(1))


def test_a_lost_answer_is_stored_again_after_it_is_paid_for_again(tmp_path: Path) -> None:
    folder = tmp_path / "depot"
    depot = Depot(f"file://{folder}")
    journal = Journal.of(sent(depot, call(1)), depot)
    for file in (folder / "run").iterdir():
        file.unlink()
    assert journal.answer(digest(1)) is None
    journal.put(call(1))
    assert journal.answer(digest(1)) == call(1).body


def test_a_failed_write_to_the_depot_is_repeated(tmp_path: Path) -> None:
    depot, printed = Unreliable(f"memory://{tmp_path}/depot"), list[Record]()
    sender = Sender(depot, "run/0", printed.append)
    depot.failures = len(depots.PAUSES)
    sender.put(result(1, b"one"))
    sender.flush()
    depot.failures = 100
    sender.put(result(2, b"two"))
    with pytest.raises(StorageFailed):
        sender.flush()
    depot.failures = 0
    sender.flush()
    assert [depot.read(place) for place in places(printed)] == [b"one", b"two"], "the last words of a process"


def test_a_slow_write_to_the_depot_does_not_block_reports_of_spending(tmp_path: Path) -> None:
    begun, may_end = threading.Event(), threading.Event()

    class Slow(Depot):
        def write(self, name: str, data: bytes) -> None:
            begun.set()
            assert may_end.wait(60)

    printed: list[Record] = []
    sender = Sender(Slow(f"memory://{tmp_path}"), "run/0", printed.append)
    sender.put(result(1, b"one"))
    assert begun.wait(60), "by itself"
    booked = Record(RecordKind.BOOKED, Booked(spent=Spending(calls=1)).to_header())

    later = Pending(key="0" * 32, number=1, retry_after=60, handle={}, message="a file is created")
    noted = Record(RecordKind.PENDING, later.to_header())

    def put() -> None:
        sender.put(booked)
        sender.put(noted)
        sender.put(result(2))

    other = threading.Thread(target=put, daemon=True)
    other.start()
    other.join(60)
    assert printed == [booked, noted]
    may_end.set()
    sender.flush()
    assert [record.kind for record in printed[2:]] == [RecordKind.RESULT, RecordKind.RESULT]


def test_a_depot_that_cannot_be_written_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    printed: list[Record] = []
    sender = Sender(Depot(f"file://{tmp_path}/file"), "run/0", printed.append)
    sender.put(result(1, b"one"))
    with pytest.raises(StorageFailed, match=r"cannot be written: NotADirectoryError|FileExistsError"):
        sender.flush()
    with pytest.raises(StorageFailed):
        sender.put(result(2, b"two"))
    assert printed == []


@pytest.mark.parametrize("url", ["nowhere://folder", "s4://bucket"])
def test_an_unknown_kind_of_depot_is_refused(url: str) -> None:
    with pytest.raises(StorageFailed, match="cannot be opened"):
        Depot(url)


def environment(options: str = "") -> dict[str, str]:
    return {names.ENV_DEPOT: "memory://depot", names.ENV_DEPOT_OPTIONS: options, "OTHER": "1"}


def test_user_code_does_not_see_the_options_of_the_depot() -> None:
    given = environment('{"skip_instance_cache": true}')
    assert depots.take(given) is not None
    assert given == {"OTHER": "1"}
    assert depots.take(given) is None


@pytest.mark.parametrize("options", ["no JSON", "[]", "3"])
def test_options_of_the_depot_must_be_a_json_object(options: str) -> None:
    with pytest.raises(BadInput, match=r"journal\.options"):
        depots.take(environment(options))


def test_messages_contain_no_values_of_the_depots_options() -> None:
    options: dict[str, Any] = {"key": "k" * 20, "client_kwargs": {"token": "t" * 20, "short": "no"}}
    found = Depot.__new__(Depot)
    found._secrets = tuple(("journal.options", text) for text in _texts(options))
    assert found.redact(f"{'k' * 20} and {'t' * 20}, no") == "(journal.options) and (journal.options), no"
