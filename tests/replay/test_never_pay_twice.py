"""Whichever process of a run dies, the run pays again only for calls in flight."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, LocalRun, ended, run_local, start_local
from support.kills import kill_one, wait_for_requests
from support.sampling import paired

CASE = Case("", parameters={"num_candidate_programs": 3, "max_labeled_demos": 6}, validation=24)
WORKERS, THREADS = 2, 4
IN_FLIGHT = WORKERS * THREADS
"""The calls in flight: one in each thread."""
UNHEARD = 3 * IN_FLIGHT
"""The calls lost with a killed driver: also unread results, and calls that workers begin before they notice."""


@pytest.fixture(scope="module")
def undisturbed(providers: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalRun, int]:
    provider = providers(1)
    run = run_local(CASE.manifest(provider.url), tmp_path_factory.mktemp("undisturbed"))
    return run, provider.stats()["requests"]


@contextmanager
def slow(provider: Any) -> Iterator[None]:
    """Makes the provider answer slowly, so that tests can catch a process in the middle of its work."""
    provider.set_faults(latency="0.15")
    try:
        yield
    finally:
        provider.set_faults()


def kills(requests: list[int], *numbers: signal.Signals) -> Any:
    """Parametrizes a test by a signal and the number of requests before it: in the first or in the second round."""
    rows = [
        pytest.param(number, after, id=f"{number.name} after {after} requests")
        for number, after in paired(numbers, requests)
    ]
    return pytest.mark.parametrize(("number", "after"), rows)


@kills([30, 90], signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
def test_a_stopped_local_driver_resumes_where_it_stopped(
    providers: Any, tmp_path: Path, undisturbed: tuple[LocalRun, int], number: int, after: int
) -> None:
    reference, requests = undisturbed
    provider = providers(1)
    manifest = CASE.manifest(provider.url)
    with slow(provider):
        driver = start_local(manifest, tmp_path, workers=WORKERS)
        wait_for_requests(provider, after)
        driver.send_signal(number)
        output, _ = driver.communicate()
    if number != signal.SIGKILL:
        assert driver.returncode == 130
        assert "the same command goes on from them" in output
    resumed = run_local(manifest, tmp_path, workers=WORKERS)

    assert resumed.status == 0, resumed.output
    assert "going on from" in resumed.output
    assert resumed.program == reference.program
    assert resumed.ranking == reference.ranking
    assert provider.stats()["requests"] <= requests + (UNHEARD if number == signal.SIGKILL else IN_FLIGHT)


@kills([20, 100], signal.SIGTERM, signal.SIGKILL)
def test_a_killed_worker_is_replaced(
    providers: Any, tmp_path: Path, undisturbed: tuple[LocalRun, int], number: int, after: int
) -> None:
    reference, requests = undisturbed
    provider = providers(1)
    with slow(provider):
        driver = start_local(CASE.manifest(provider.url), tmp_path, workers=WORKERS)
        wait_for_requests(provider, after)
        kill_one("work", driver, tmp_path, number)
        run = ended(driver, tmp_path)

    assert run.status == 0, run.output
    assert "attempt 2" in run.output
    assert run.program == reference.program
    assert provider.stats()["requests"] <= requests + IN_FLIGHT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_a_killed_plan_is_replaced(
    providers: Any, tmp_path: Path, undisturbed: tuple[LocalRun, int], number: int
) -> None:
    reference, requests = undisturbed
    provider = providers(1)
    driver = start_local(CASE.manifest(provider.url), tmp_path, workers=WORKERS)
    kill_one("plan", driver, tmp_path, number)
    run = ended(driver, tmp_path)

    assert run.status == 0, run.output
    assert run.program == reference.program
    assert provider.stats()["requests"] == requests


def test_a_journal_that_is_cut_short_loses_only_its_last_record(
    providers: Any, tmp_path: Path, undisturbed: tuple[LocalRun, int]
) -> None:
    reference, _ = undisturbed
    provider = providers(1)
    manifest = CASE.manifest(provider.url)
    run_local(manifest, tmp_path, workers=WORKERS)
    shard = next((tmp_path / "journal" / "journal").glob("*.shard"))
    shard.write_bytes(shard.read_bytes()[:-7])
    provider.reset()
    again = run_local(manifest, tmp_path, workers=WORKERS)

    assert again.status == 0, again.output
    assert again.program == reference.program
    assert provider.stats()["requests"] <= 1


def test_an_unreachable_provider_never_leads_to_a_score(
    providers: Any, tmp_path: Path, undisturbed: tuple[LocalRun, int]
) -> None:
    reference, _ = undisturbed
    provider = providers(1)
    manifest = CASE.manifest(provider.url)
    for model in manifest["spec"]["models"].values():
        model["parameters"] = {"numRetries": 0}
    provider.set_faults(error_rate=1.0)
    try:
        away = run_local(manifest, tmp_path, workers=WORKERS)
    finally:
        provider.set_faults()
    assert away.status == 1
    assert "AttemptsExhausted" in away.output
    assert "the provider did not answer" in away.output

    back = run_local(manifest, tmp_path, workers=WORKERS)
    assert back.status == 0, back.output
    assert back.program == reference.program
