"""What a run may cost, on the local driver: never passed; what is complete is kept; with a higher limit it goes on."""

import copy
import signal
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, StockRun, run_local, start_local
from support.kills import kill_one, wait_for_requests

CASE = Case("", parameters={"num_candidate_programs": 3, "max_labeled_demos": 6}, validation=24)
PRICE = {"prompt": 2.0, "completion": 8.0}


def limited(url: str, case: Case = CASE, /, **limits: Any) -> dict[str, Any]:
    manifest = copy.deepcopy(case.manifest(url))
    manifest["spec"]["limits"] = limits
    for model in manifest["spec"]["models"].values():
        model["parameters"], model["price"] = {"maxTokens": 100}, PRICE
    return manifest


@pytest.fixture(scope="module")
def stock(providers: Any) -> StockRun:
    return CASE.stock(providers(1))


@pytest.mark.parametrize("calls", [1, 7, 24, 60, 110])
def test_requests_never_pass_the_limit_and_a_higher_one_goes_on(
    providers: Any, tmp_path: Path, stock: StockRun, calls: int
) -> None:
    provider = providers(1)
    ended = run_local(limited(provider.url, lmCalls=calls), tmp_path)

    assert ended.status == 1
    assert "LimitReached" in ended.output, ended.output
    assert "limits.lmCalls" in ended.output
    assert provider.stats()["requests"] <= calls
    assert provider.stats()["requests"] >= min(calls, 0.8 * calls), "limits are there to be used"

    assert run_local(limited(provider.url, lmCalls=stock.requests), tmp_path).status == 0
    assert provider.stats()["requests"] == stock.requests


def test_a_limit_that_is_not_reached_changes_nothing(providers: Any, tmp_path: Path, stock: StockRun) -> None:
    provider = providers(1)
    run = run_local(limited(provider.url, lmCalls=stock.requests, totalTokens=10**7, costUSD=100), tmp_path)
    usage, spent = run.report["usage"], run.report["spent"]
    assert (run.program, run.ranking) == (stock.program, stock.ranking)
    assert provider.stats()["requests"] == spent["calls"] == usage["calls"]
    assert spent["tokens"] == usage["promptTokens"] + usage["completionTokens"]
    exact = usage["promptTokens"] * PRICE["prompt"] + usage["completionTokens"] * PRICE["completion"]
    assert exact <= spent["microUsd"] <= exact + usage["calls"], "each call is rounded up"


@pytest.mark.parametrize("limit", ["totalTokens", "costUSD"])
def test_tokens_and_money_are_limited_before_they_are_spent(providers: Any, tmp_path: Path, limit: str) -> None:
    provider = providers(1)
    most = {"totalTokens": 20_000, "costUSD": 0.05}[limit]
    ended = run_local(limited(provider.url, **{limit: most}), tmp_path)

    assert "LimitReached" in ended.output, ended.output
    assert f"limits.{limit}" in ended.output
    stats = provider.stats()
    prompt, completion = stats["prompt_tokens"], stats["completion_tokens"]
    usd = (prompt * PRICE["prompt"] + completion * PRICE["completion"]) / 1e6
    spent = {"totalTokens": prompt + completion, "costUSD": usd}[limit]
    assert 0.7 * most <= spent <= most


def test_the_best_program_so_far_is_published_if_the_spec_says_so(providers: Any, tmp_path: Path) -> None:
    provider = providers(1)
    run = run_local(limited(provider.url, lmCalls=110, publishPartial=True), tmp_path)
    assert run.status == 0, run.output
    assert "limits.lmCalls: 110" in run.report["partial"]
    assert run.report["scores"]["best"] >= run.report["scores"]["baseline"]
    assert provider.stats()["requests"] <= 110
    assert "partial" in run.output


def test_time_is_limited_too(providers: Any, tmp_path: Path, stock: StockRun) -> None:
    provider = providers(1)
    provider.set_faults(latency="1")
    try:
        ended = run_local(limited(provider.url, wallClock=12), tmp_path)
    finally:
        provider.set_faults()
    assert "limits.wallClock: 12" in ended.output
    assert ended.status == 1
    assert run_local(limited(provider.url), tmp_path).program == stock.program
    assert provider.stats()["requests"] <= stock.requests + 8, "calls in flight are lost"


@pytest.mark.parametrize("victim", ["work", "plan"])
def test_a_process_that_is_killed_has_said_before_what_it_spends(providers: Any, tmp_path: Path, victim: str) -> None:
    provider = providers(1)
    provider.set_faults(latency="0.2")
    driver = start_local(limited(provider.url, lmCalls=60), tmp_path)
    try:
        wait_for_requests(provider, 15)
        kill_one(victim, driver, tmp_path, signal.SIGKILL)
        output, _ = driver.communicate()
    finally:
        provider.set_faults()
    assert "LimitReached" in output, output
    assert provider.stats()["requests"] <= 60


def test_a_price_that_nobody_knows_is_told_before_any_call(providers: Any, tmp_path: Path) -> None:
    provider = providers(1)
    manifest = limited(provider.url, costUSD=1)
    del manifest["spec"]["models"]["student"]["price"]
    ended = run_local(manifest, tmp_path)
    assert "PriceUnknown" in ended.output
    assert "openai/small" in ended.output
    assert provider.stats()["requests"] == 0


def test_the_journal_tells_accounts_apart(providers: Any, tmp_path: Path, stock: StockRun) -> None:
    """A second run in the folder does not write over what the first one spent."""
    provider = providers(1)
    for calls in (20, 40, 60):
        run_local(limited(provider.url, lmCalls=calls), tmp_path)
        assert provider.stats()["requests"] <= calls
    run = run_local(limited(provider.url, lmCalls=1000), tmp_path)
    assert run.report["spent"]["calls"] == provider.stats()["requests"] == stock.requests
