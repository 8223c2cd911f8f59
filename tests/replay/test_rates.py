"""The local driver keeps to rate limits, and rate limit errors of the provider cost it only time."""

import copy
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, StockRun, run_local
from support.sampling import sample

CASE = Case("", parameters={"num_candidate_programs": 3, "max_labeled_demos": 6}, validation=24, teacher=True)


@pytest.fixture(scope="module")
def stock(providers: Any) -> StockRun:
    return CASE.stock(providers(1))


def manifest(url: str, rates: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(CASE.manifest(url, maxAttempts=1, threadsPerPod=8))
    for model in made["spec"]["models"].values():
        model["parameters"] = {"numRetries": 0, "maxTokens": 200}
        if rates is not None:
            model["limits"] = rates
    made["spec"].update(changes)
    return made


def statuses(provider: Any) -> dict[str, int]:
    found: dict[str, int] = provider.stats()["by_status"]
    return found


@pytest.mark.parametrize(
    "rates",
    sample([{"requestsPerMinute": 900, "group": "all"}, {"concurrency": 3, "group": "all"}], 2),
    ids=lambda rates: next(iter(rates)),
)
def test_all_workers_together_keep_to_a_limit_of_requests(
    providers: Any, tmp_path: Path, stock: StockRun, rates: dict[str, Any]
) -> None:
    """Two models share the limit. A cell that waits for the limiter does not count as late."""
    provider = providers(1)
    provider.set_faults(rpm=900 if "requestsPerMinute" in rates else 0, burst=30, latency="0.05")
    run = run_local(manifest(provider.url, rates, limits={"cellSeconds": 1}), tmp_path, workers=3)
    stats = provider.stats()

    assert run.status == 0, run.output
    assert (run.program, run.ranking) == (stock.program, stock.ranking)
    assert statuses(provider) == {"200": stock.requests}
    if "concurrency" in rates:
        assert stats["peak_in_flight"] == 3


def test_all_workers_together_keep_to_a_limit_of_tokens(providers: Any, tmp_path: Path, stock: StockRun) -> None:
    provider = providers(1)
    run = run_local(manifest(provider.url, {"tokensPerMinute": 10**6}), tmp_path, workers=3)
    assert run.status == 0, run.output
    assert run.program == stock.program


def test_a_rate_limit_error_uses_up_no_attempt_and_causes_no_score(
    providers: Any, tmp_path: Path, stock: StockRun
) -> None:
    """The spec allows one attempt and no retry of a call."""
    provider = providers(1)
    provider.set_faults(rpm=2400, burst=6)
    run = run_local(manifest(provider.url, None), tmp_path, workers=3)

    assert run.status == 0, run.output
    assert (run.program, run.ranking) == (stock.program, stock.ranking)
    assert statuses(provider)["200"] == stock.requests
    assert statuses(provider)["429"] > 0
    assert run.report["failedCells"] == 0
