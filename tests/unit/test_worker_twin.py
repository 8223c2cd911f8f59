"""The twin as a process: when there is one, what its death means, and that it never outlives its plan."""

import os
import signal
import time
from pathlib import Path

import pytest

from support.worker import Pod, module, spec_of, until
from swarm_wire import names
from swarm_wire.names import ExitCode, WorkerReason
from swarm_worker import twin

MODULE = """
import os, time
from pathlib import Path
import dspy
from support.worker import Program as program

IS_TWIN = os.environ["PYTHONHASHSEED"] == "1"
{change}
train = [dict(question=str(n)) for n in range(3)]


def metric(example, prediction, trace=None):
    return True
"""


def pod(folder: Path, change: str = "") -> Pod:
    module(folder, MODULE.format(change=change))
    return Pod(folder, spec_of("prog"))


@pytest.mark.parametrize(
    ("wanted", "shards", "starts"),
    [("1", [], True), (None, [], True), ("0", [], False), ("1", ["0/a.shard"], False), ("1", ["0/a.txt"], True)],
)
def test_only_the_first_plan_of_a_run_has_a_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str | None, shards: list[str], starts: bool
) -> None:
    for name in shards:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
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


def test_a_plan_that_agrees_with_its_twin_goes_on(tmp_path: Path) -> None:
    ended = pod(tmp_path).plan(SWARM_TWIN="1", PYTHONHASHSEED="0")
    assert ended.said == (ExitCode.DONE, None)
    assert ended.complete


def test_a_twin_that_dies_is_no_difference(tmp_path: Path) -> None:
    ended = pod(tmp_path, "if IS_TWIN: os.kill(os.getpid(), 9)").plan(SWARM_TWIN="1", PYTHONHASHSEED="0")
    assert ended.said == (ExitCode.DONE, None)
    assert "Nothing is known of differences between processes: the twin ended with -9." in ended.errors


def test_a_twin_that_cannot_load_what_the_plan_can_is_a_difference(tmp_path: Path) -> None:
    ended = pod(tmp_path, "if IS_TWIN: raise OSError('busy')").plan(SWARM_TWIN="1", PYTHONHASHSEED="0")
    assert ended.said == (ExitCode.DRIFT, WorkerReason.NONDETERMINISTIC)
    assert ended.commit is not None
    assert '"done" in the one, "ProgramLoadFailed' in str(ended.commit.message)
    assert "OSError: busy" in str(ended.commit.message)
    assert not ended.transcript.records


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_twin_ends_with_its_plan(tmp_path: Path, number: int) -> None:
    slow = "if IS_TWIN: Path('twin').write_text(str(os.getpid())); Path('there').touch(); time.sleep(60)"
    process = pod(tmp_path, slow).start("plan", SWARM_TWIN="1", PYTHONHASHSEED="0")
    until(process, tmp_path / "there")
    process.send_signal(number)
    process.communicate(timeout=60)
    other, deadline = int((tmp_path / "twin").read_text()), time.monotonic() + 60
    while Path(f"/proc/{other}").exists() and "Z (zombie)" not in Path(f"/proc/{other}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
