"""The first plan of a run starts a twin, compares itself with it, and ends it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from support.worker import Pod, module, spec_of, until
from swarm_wire import names
from swarm_wire.messages import Ending
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import pack
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Booked, Spending
from swarm_worker.determinism import twin

MODULE = """
import os, sys, time
from pathlib import Path
import dspy
from support.worker import Program as program

IS_TWIN = "twin" in sys.argv
{change}
train = [dict(question=str(n)) for n in range(3)]


def metric(example, prediction, trace=None):
    return True
"""


def pod(folder: Path, change: str = "", more: str = "") -> Pod:
    module(folder, MODULE.format(change=change) + more)
    return Pod(folder, spec_of("prog"))


BOOKED, BOUND, CALL, RESULT, PLAN = (
    Record(kind, {"key": "a"})
    for kind in (RecordKind.BOOKED, RecordKind.BOUND, RecordKind.CALL, RecordKind.RESULT, RecordKind.PLAN)
)


@pytest.mark.parametrize(
    ("wanted", "journal", "starts"),
    [
        ("1", [], True),
        (None, [], True),
        ("0", [], False),
        ("1", [BOOKED], True),
        ("1", [BOOKED, BOUND, CALL, RESULT], True),
        ("1", [BOOKED, BOUND, RESULT, PLAN], False),
    ],
)
def test_a_plan_has_a_twin_until_a_plan_of_the_run_has_come_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str | None, journal: list[Record], starts: bool
) -> None:
    (tmp_path / "0").mkdir()
    for number, shard in enumerate(pack(journal, limit=1)):
        (tmp_path / "0" / f"{number}.shard").write_bytes(shard)
    monkeypatch.setenv(names.ENV_JOURNAL_DIR, str(tmp_path))
    monkeypatch.delenv(names.ENV_TWIN, raising=False)
    if wanted is not None:
        monkeypatch.setenv(names.ENV_TWIN, wanted)
    other = twin.start()
    assert (other is not None) == starts
    assert names.ENV_TWIN not in os.environ
    if other is not None:
        other.process.kill()
        other.process.communicate()


def test_a_plan_that_only_publishes_what_is_paid_for_has_no_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.ENV_JOURNAL_DIR, str(tmp_path))
    monkeypatch.setenv(names.ENV_TWIN, "1")
    monkeypatch.setenv(names.ENV_PARTIAL, Ending(why="enough", limits=Limits()).to_json())
    assert twin.start() is None


@pytest.mark.parametrize("kept", [0, 1, 2, 4])
def test_a_plan_after_one_that_was_killed_is_compared_and_pays_for_nothing_twice(tmp_path: Path, kept: int) -> None:
    plans = pod(tmp_path)
    whole = plans.plan(SWARM_TWIN="1", PYTHONHASHSEED="7")
    results = whole.records(RecordKind.RESULT)
    assert len(results) > 2
    plans.journal = [*whole.records(RecordKind.BOUND), *results][:kept]
    again = plans.plan(SWARM_TWIN="1", PYTHONHASHSEED="7")
    assert again.said == (ExitCode.DONE, None), again.errors
    assert "note: " not in again.errors
    assert "Nothing is known" not in again.errors
    paid = [record.header["key"] for record in again.records(RecordKind.RESULT)]
    before = [record.header["key"] for record in plans.journal if record.kind is RecordKind.RESULT]
    assert sorted([*before, *paid]) == sorted(record.header["key"] for record in results)
    assert again.records(RecordKind.PLAN)[0].header["kept"] == whole.records(RecordKind.PLAN)[0].header["kept"]


def test_a_plan_after_one_that_was_killed_finds_a_difference(tmp_path: Path) -> None:
    plans = pod(tmp_path, more="train = train[: 2 if IS_TWIN else 3]")
    plans.journal = [Record(RecordKind.BOOKED, Booked(account="fetch", spent=Spending(), final=True).to_header())]
    assert plans.plan(SWARM_TWIN="1", PYTHONHASHSEED="7").said == (ExitCode.DRIFT, WorkerReason.NONDETERMINISTIC)


def test_a_plan_that_agrees_with_its_twin_continues(tmp_path: Path) -> None:
    ended = pod(tmp_path).plan(SWARM_TWIN="1", PYTHONHASHSEED="0")
    assert ended.said == (ExitCode.DONE, None)
    assert ended.complete


def test_a_twin_that_dies_does_not_count_as_a_difference(tmp_path: Path) -> None:
    ended = pod(tmp_path, "if IS_TWIN: os.kill(os.getpid(), 9)").plan(SWARM_TWIN="1", PYTHONHASHSEED="0")
    assert ended.said == (ExitCode.DONE, None)
    assert "Nothing is known of differences between processes: the twin ended with -9." in ended.errors


def test_a_twin_that_cannot_load_the_users_files_counts_as_a_difference(tmp_path: Path) -> None:
    ended = pod(tmp_path, "if IS_TWIN: raise OSError('busy')").plan(SWARM_TWIN="1", PYTHONHASHSEED="0")
    assert ended.said == (ExitCode.DRIFT, WorkerReason.NONDETERMINISTIC)
    assert ended.commit is not None
    assert '"done" in the one, "ProgramLoadFailed' in str(ended.commit.message)
    assert "OSError: busy" in str(ended.commit.message)
    assert not ended.transcript.records


SETS = """

order = list({*"abcdefgh"})
program.notes = order


def data():
    return [dict(question=letter) for letter in order]
"""


def test_a_difference_in_the_order_of_a_set_causes_a_note_and_no_refusal(tmp_path: Path) -> None:
    given = pod(tmp_path, more=SETS.replace("program.notes", "program = program(); program.notes"))
    ended = given.plan(SWARM_TWIN="1", PYTHONHASHSEED="7")
    assert ended.said == (ExitCode.DONE, None), ended.errors
    [note] = [line for line in ended.errors.splitlines() if line.startswith("note: ")]
    assert "spec.program, its attributes depends on the hash seed, as the order of a set does: " in note
    assert 'with PYTHONHASHSEED=7, "' in note


def test_the_twin_finds_state_between_examples_even_if_the_order_of_a_set_differs(tmp_path: Path) -> None:
    more = SETS.replace("program.notes = order", "LAST = []") + LEAVES
    ended = pod(tmp_path, more=more).plan(SWARM_TWIN="1", PYTHONHASHSEED="7")
    assert ended.said == (ExitCode.DRIFT, WorkerReason.NONDETERMINISTIC)
    assert "that differ only in the order of independent examples" in str(ended.commit and ended.commit.message)


LEAVES = """

train = data()


def metric(example, prediction, trace=None):
    LAST.append(example.question)
    return len(LAST)
"""


def test_a_plan_that_has_been_compared_with_its_twin_no_longer_needs_the_twin(tmp_path: Path) -> None:
    """A program may make an LM call while it is loaded. The twin ends at this call."""
    started: list[subprocess.Popen[bytes]] = []

    def launch(seed: int) -> subprocess.Popen[bytes]:
        code = "import sys; sys.stdout.write('[]')"
        started.append(subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, stderr=PIPE))
        return started[-1]

    other = twin.Other(launch)
    assert other.checkpoint([]) is None
    other.tell([1, 2], 0.1)
    assert other.checkpoint([twin.Observation("somewhere", "else")]) is None
    assert len(started) == 1


@pytest.mark.parametrize(("given", "seed"), [("7", 7), ("random", 0), ("", 0), (None, 0)])
def test_a_process_has_the_hash_seed_of_its_environment_or_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, seed: int
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    ended = pod(tmp_path, "print('hash', hash('a'))").plan(**{} if given is None else {"PYTHONHASHSEED": given})
    assert ended.said == (ExitCode.DONE, None)
    under = {**os.environ, "PYTHONHASHSEED": str(seed)}
    expected = subprocess.run([sys.executable, "-c", "print(hash('a'))"], env=under, capture_output=True, check=True)
    assert f"hash {expected.stdout.decode()}" in ended.errors


ASKS = """

class Own(dspy.BaseLM):
    def forward(self, prompt=None, messages=None, **given):
        with open("asked", "a") as asked:
            asked.write("twin " if IS_TWIN else "plan ")
        raise ValueError


def train():
    try:
        Own("own")("Make examples.")
    except Exception:
        pass
    return [dict(question=str(n)) for n in range(3)]
"""


@pytest.mark.parametrize("given", [{}, {names.ENV_ALLOWANCE: '{"calls":9}'}])
def test_a_twin_makes_no_lm_call(tmp_path: Path, given: dict[str, str]) -> None:
    """An LM call makes the data of this program. Only the plan makes the call, whatever its outcome."""
    ended = pod(tmp_path, more=ASKS).plan(SWARM_TWIN="1", PYTHONHASHSEED="0", **given)
    assert ended.said == (ExitCode.DONE, None), ended.errors
    assert {*(tmp_path / "asked").read_text().split()} == {"plan"}


def test_a_plan_ends_if_the_limit_does_not_cover_the_lm_call_that_makes_its_data(tmp_path: Path) -> None:
    ended = pod(tmp_path, more=ASKS).plan(SWARM_ALLOWANCE='{"calls":1}')
    assert ended.said == (ExitCode.INTERRUPTED, WorkerReason.ALLOWANCE_SPENT)
    assert (tmp_path / "asked").read_text().split() == ["plan"]


def test_a_plan_that_could_not_pay_for_the_lm_call_that_makes_its_data_finds_no_best_program(tmp_path: Path) -> None:
    asking, ending = pod(tmp_path, more=ASKS), Ending(why="enough", limits=Limits()).to_json()
    ended = asking.plan(SWARM_ALLOWANCE='{"calls":0}', SWARM_PARTIAL=ending)
    assert ended.said == (ExitCode.DONE, None)
    asking.journal = ended.records(RecordKind.PLAN)
    assert [record.header["outcome"] for record in asking.journal] == ["partial"]
    assert asking.plan(SWARM_ALLOWANCE='{"calls":9}').said == (ExitCode.DONE, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_twin_ends_with_its_plan(tmp_path: Path, number: int) -> None:
    slow = "if IS_TWIN: Path('twin').write_text(str(os.getpid())); Path('there').touch(); time.sleep(60)"
    process = pod(tmp_path, slow).start("plan", SWARM_TWIN="1", PYTHONHASHSEED="0")
    until(process, tmp_path / "there")
    process.send_signal(number)
    process.communicate(timeout=60)
    ends(int((tmp_path / "twin").read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_rehearsal_ends_with_its_plan(tmp_path: Path, number: int) -> None:
    process = pod(tmp_path, more=SLEEPS).start("plan", SWARM_TWIN="1", PYTHONHASHSEED="0")
    until(process, tmp_path / "there")
    process.send_signal(number)
    process.communicate(timeout=60)
    ends(int((tmp_path / "fork").read_text()))


SLEEPS = """

class program(program):
    def forward(self, question):
        Path('fork').write_text(str(os.getpid())); Path('there').touch(); time.sleep(60)
"""


def ends(other: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{other}").exists() and "Z (zombie)" not in Path(f"/proc/{other}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
