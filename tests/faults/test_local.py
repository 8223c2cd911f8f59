"""A run of the local driver survives dead processes, a damaged folder and a failing provider."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.kinds import case
from faults.stage import CASE
from simulated_provider.testing import running_provider
from support.compiles import StockRun, run_local, start_local
from support.e2e import TRIAGE
from support.kills import kill_one, processes, wait_for_requests
from support.sampling import of_the_day

LATENCY = "0.5"
"""Seconds of an answer, longer than a worker needs to notice that nobody reads its output."""
IN_FLIGHT = 2 * 4
"""The calls in flight in the threads of two workers. A plan has half as many threads."""
UNHEARD = 2 * IN_FLIGHT
"""The calls lost with a killed driver: also unread results, and calls that workers begin before they notice."""


@pytest.fixture(scope="module")
def provider() -> Iterator[Any]:
    with running_provider(seed=7, knowledge=TRIAGE / "knowledge.jsonl") as found:
        yield found


@pytest.fixture(scope="module")
def stock(provider: Any) -> StockRun:
    return CASE.stock(provider)


@pytest.fixture(scope="module")
def undisturbed(provider: Any, tmp_path_factory: pytest.TempPathFactory) -> int:
    return CASE.swarm(provider, tmp_path_factory.mktemp("undisturbed")).requests


def goes_on(provider: Any, folder: Path, stock: StockRun, most: int) -> None:
    """Runs the same command again. Asserts that it finds stock's winner, and that all runs made at most `most`
    requests."""
    again = run_local(CASE.manifest(provider.url), folder)
    assert again.status == 0, again.output
    assert again.program == stock.program
    assert again.ranking == stock.ranking
    print(provider.stats())
    assert provider.stats()["requests"] <= most


@pytest.mark.parametrize(
    ("victim", "after"),
    [
        # The run makes sixty requests. Workers make the 13th to the 30th, and the two plans make the others.
        case(f"local {victim} killed", victim, after, id=f"local {victim} killed after {after} requests")
        for victim, moments in {"driver": (10, 27, 50), "plan": (10, 50), "work": (20, 27)}.items()
        for after in of_the_day(moments)
    ],
)
def test_a_run_survives_killed_processes(
    provider: Any, stock: StockRun, undisturbed: int, tmp_path: Path, victim: str, after: int
) -> None:
    provider.reset()
    provider.set_faults(latency=LATENCY)
    driver = start_local(CASE.manifest(provider.url), tmp_path)
    wait_for_requests(provider, after)
    while not (found := [driver.pid] if victim == "driver" else processes(victim, tmp_path)):
        assert driver.poll() is None, f"no {victim} ran so late"
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    driver.communicate()
    provider.set_faults()
    goes_on(provider, tmp_path, stock, undisturbed + (UNHEARD if victim == "driver" else IN_FLIGHT))


def truncated(shard: Path, chance: random.Random) -> None:
    content = shard.read_bytes()
    shard.write_bytes(content[: chance.randrange(len(content))])


def flipped(shard: Path, chance: random.Random) -> None:
    content = bytearray(shard.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    shard.write_bytes(content)


def deleted(shard: Path, chance: random.Random) -> None:
    shard.unlink()


def lengthened(shard: Path, chance: random.Random) -> None:
    shard.write_bytes(shard.read_bytes() + chance.randbytes(50))


def emptied(shard: Path, chance: random.Random) -> None:
    shard.write_bytes(b"")


def doubled(shard: Path, chance: random.Random) -> None:
    shutil.copy(shard, shard.with_name(f"z-{shard.name}"))


@pytest.fixture(scope="module")
def finished(provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the journal of a finished run whose artifact the test has deleted."""
    folder = tmp_path_factory.mktemp("finished")
    assert run_local(CASE.manifest(provider.url), folder).status == 0
    shutil.rmtree(folder / "journal" / "artifact")
    return folder / "journal"


@pytest.mark.parametrize(
    ("harm", "goes_on"),
    [
        # The run pays again for results that are cut off. The flipped bit may be in a length, a header or a body.
        case("local journal truncated", truncated, True),
        case("local journal with a bit flipped", flipped, None),
        case("local journal's file deleted", deleted, True),
        case("local journal with garbage at its end", lengthened, True),
        case("local journal's file emptied", emptied, True),
        case("local journal's file doubled", doubled, True),
    ],
)
def test_a_damaged_journal_never_changes_the_winner(
    provider: Any,
    stock: StockRun,
    undisturbed: int,
    finished: Path,
    tmp_path: Path,
    harm: Callable[[Path, random.Random], None],
    goes_on: bool | None,
) -> None:
    """The run finds the same winner, or ends with a message about the damage."""
    chance = random.Random(1)
    shutil.copytree(finished, tmp_path / "journal")
    provider.reset()
    harm(chance.choice(sorted((tmp_path / "journal" / "journal").glob("*.shard"))), chance)
    again = run_local(CASE.manifest(provider.url), tmp_path)
    assert goes_on is None or goes_on == (again.status == 0), again.output
    if again.status:
        assert "JournalDamaged" in again.output
        assert "Traceback" not in again.output
        assert provider.stats()["requests"] == 0
    else:
        assert again.program == stock.program
        whole = harm in (lengthened, doubled)
        assert provider.stats()["requests"] <= (0 if whole else undisturbed)


@pytest.mark.parametrize(
    "part", [case(f"local folder without {part}", part) for part in ("rounds", "logs", "artifact")]
)
def test_a_run_survives_deleted_parts_of_its_folder(
    provider: Any, stock: StockRun, undisturbed: int, tmp_path: Path, part: str
) -> None:
    provider.reset()
    provider.set_faults(latency=LATENCY)
    driver = start_local(CASE.manifest(provider.url), tmp_path)
    wait_for_requests(provider, 50)
    driver.kill()
    driver.communicate()
    provider.set_faults()
    shutil.rmtree(tmp_path / "journal" / part, ignore_errors=True)
    goes_on(provider, tmp_path, stock, undisturbed + UNHEARD)


@pytest.mark.fault("two local drivers in one folder")
def test_a_second_local_driver_in_the_same_folder_is_refused(
    provider: Any, stock: StockRun, undisturbed: int, tmp_path: Path
) -> None:
    provider.reset()
    provider.set_faults(latency="0.1")
    manifest = CASE.manifest(provider.url)
    first = start_local(manifest, tmp_path)
    wait_for_requests(provider, 5)
    second = run_local(manifest, tmp_path)
    first.communicate()
    assert first.returncode == 0
    assert second.status == 1
    assert "Traceback" not in second.output
    goes_on(provider, tmp_path, stock, undisturbed)


@pytest.mark.parametrize(
    "victim", [case(f"local {victim} stopped and let go on", victim) for victim in ("plan", "work")]
)
def test_a_run_survives_processes_stopped_for_a_while(
    provider: Any, stock: StockRun, undisturbed: int, tmp_path: Path, victim: str
) -> None:
    provider.reset()
    provider.set_faults(latency="0.1")
    driver = start_local(CASE.manifest(provider.url), tmp_path)
    kill_one(victim, driver, tmp_path, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(5)
    for pid in processes(victim, tmp_path):
        os.kill(pid, signal.SIGCONT)
    driver.communicate()
    assert driver.returncode == 0
    goes_on(provider, tmp_path, stock, undisturbed)


@pytest.mark.parametrize(
    "faults",
    [
        case("local: provider answers 429", {"rpm": 1500, "burst": 4}),
        case("local: provider answers 500", {"error_rate": 0.2, "first_attempts": 2}),
        case("local: provider answers 504", {"error_rate": 0.2, "error_status": 504, "first_attempts": 2}),
        case("local: provider hangs", {"hang_rate": 0.05, "first_attempts": 1}),
        case("local: provider slow", {"latency": "lognormal:0.1:1"}),
    ],
)
def test_a_run_survives_a_failing_provider(
    provider: Any, stock: StockRun, tmp_path: Path, faults: dict[str, Any]
) -> None:
    provider.reset()
    provider.set_faults(**faults)
    manifest = CASE.manifest(provider.url)
    manifest["spec"]["models"]["student"]["parameters"] = {"timeoutSeconds": 3}
    run = run_local(manifest, tmp_path)
    provider.set_faults()
    assert run.status == 0, run.output
    assert run.program == stock.program


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        case("local: provider refuses the key", {"error_rate": 1.0, "error_status": 401}, "CredentialsRejected"),
        case("local: provider away", {"error_rate": 1.0, "error_status": 503}, "AttemptsExhausted"),
    ],
)
def test_a_provider_that_never_answers_ends_the_run_with_a_message(
    provider: Any, stock: StockRun, undisturbed: int, tmp_path: Path, faults: dict[str, Any], reason: str
) -> None:
    """The run ends with a message. Later, the same command continues it."""
    provider.reset()
    manifest = CASE.manifest(provider.url)
    manifest["spec"]["models"]["student"]["parameters"] = {"numRetries": 0}
    driver = start_local(manifest, tmp_path)
    wait_for_requests(provider, 20)
    provider.set_faults(**faults)
    output, _ = driver.communicate()
    assert driver.returncode == 1, output
    assert reason in output
    provider.reset()
    again = run_local(manifest, tmp_path)
    assert again.status == 0, again.output
    assert again.program == stock.program
