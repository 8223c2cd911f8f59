"""A run never exceeds its limit and keeps finished results. With a higher limit it continues to the same winner."""

import copy
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from simulated_provider.testing import running_provider
from support.compiles import KNOWLEDGE, Case, StockRun, run_local, start_local
from support.kills import kill_one, wait_for_requests
from support.real_pods import Run
from support.sampling import WHOLE, sample

CASE = Case("", parameters={"num_candidate_programs": 3, "max_labeled_demos": 6}, validation=24)
PRUNED = Case("", parameters={"num_candidate_programs": 5, "max_labeled_demos": 6}, metric="department", validation=60)
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


@pytest.mark.parametrize("calls", sample([1, 7, 24, 60, 110], 3))
def test_requests_never_exceed_the_limit_and_a_higher_limit_continues_the_run(
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


def test_a_time_limit_ends_a_run(providers: Any, tmp_path: Path, stock: StockRun) -> None:
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
def test_a_killed_process_has_reported_its_spending_in_advance(providers: Any, tmp_path: Path, victim: str) -> None:
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


def test_an_unknown_price_is_reported_before_any_call(providers: Any, tmp_path: Path) -> None:
    provider = providers(1)
    manifest = limited(provider.url, costUSD=1)
    del manifest["spec"]["models"]["student"]["price"]
    ended = run_local(manifest, tmp_path)
    assert "PriceUnknown" in ended.output
    assert "openai/small" in ended.output
    assert provider.stats()["requests"] == 0


def test_each_command_in_a_folder_adds_its_spending_to_that_in_the_journal(
    providers: Any, tmp_path: Path, stock: StockRun
) -> None:
    """A later command in the same folder adds to the spending in the journal and does not overwrite it."""
    provider = providers(1)
    for calls in (20, 40, 60):
        run_local(limited(provider.url, lmCalls=calls), tmp_path)
        assert provider.stats()["requests"] <= calls
    run = run_local(limited(provider.url, lmCalls=1000), tmp_path)
    assert run.report["spent"]["calls"] == provider.stats()["requests"] == stock.requests


def test_the_local_driver_resumes_the_round_that_a_limit_cut_short(tmp_path: Path) -> None:
    """With pruning, a plan uses known results to skip effects. So the driver finishes a round before the next plan
    starts."""
    with running_provider(seed=1, knowledge=KNOWLEDGE, varied=True, model={"small": 0.9}) as provider:
        unlimited = run_local(limited(provider.url, PRUNED), tmp_path / "unlimited")
        requests = provider.stats()["requests"]
        provider.reset()
        for calls in (requests // 4, requests // 2):
            ended = run_local(limited(provider.url, PRUNED, lmCalls=calls), tmp_path / "limited")
            assert "LimitReached" in ended.output, ended.output
        run = run_local(limited(provider.url, PRUNED), tmp_path / "limited")
        assert run.program == unlimited.program
        assert run.report["pruned"] == unlimited.report["pruned"]
        assert run.report["pruned"]["cells"] > 0
        assert provider.stats()["requests"] == requests


# --- the operator, with a limit reached at any moment -----------------------------------------------------------

SMALL = Case(
    "",
    parameters={"num_candidate_programs": 2, "max_labeled_demos": 4},
    program="Two",
    metric="partial",
    train=8,
    validation=8,
)
"""A case whose plans evaluate the candidates themselves."""
HIGHER = {"lmCalls": 10**6, "costUSD": 10**3}


@dataclass(frozen=True)
class Outcome:
    """Holds what a run has at its end."""

    program: dict[str, Any]
    told: dict[str, Any]
    answers: int
    """The number of different answers of the provider."""


class Sweep:
    """Runs a case without a limit, and again with limits that end the run at different moments.

    Args:
        model: options of the provider, which gives each run of a sweep the same answers.
    """

    def __init__(self, case: Case, folder: Path, seed: int, pruning: str, **model: Any) -> None:
        self._case, self._folder, self._pruning, self._runs = case, folder, pruning, 0
        self.provider = running_provider(seed=seed, knowledge=KNOWLEDGE, varied=True, **model)
        self._running = self.provider.__enter__()
        run = self.begin({})
        run.end()
        self.unlimited, stats = self.outcome(run), self._running.stats()
        tokens = stats["prompt_tokens"], stats["completion_tokens"]
        usd = (tokens[0] * PRICE["prompt"] + tokens[1] * PRICE["completion"]) / 1e6
        self.cost = {"lmCalls": stats["requests"], "totalTokens": sum(tokens), "costUSD": usd}

    def begin(self, limits: dict[str, Any]) -> Run:
        self._running.reset()
        self._runs += 1
        return Run(
            self._case,
            self._running,
            self._folder / str(self._runs),
            limits=limits,
            pods=2,
            pruning=self._pruning,
        )

    def outcome(self, run: Run) -> Outcome:
        assert run.ready[1] == "Published", run.ready
        report = run.artifact["report"]
        told = {name: report[name] for name in ("scores", "candidates", "pruned", "partial", "wasted")}
        return Outcome(run.artifact["program"], told, self._running.stats()["distinct"])

    def ended_by(self, limit: str, part: float, *, is_wanted: bool) -> Outcome:
        """Returns the end of a run that a limit ends after this part of its calls and a higher limit continues."""
        if limit == "wallClock":
            run, most = self.begin({limit: 3600, "publishPartial": is_wanted}), part * self.cost["lmCalls"]
            run.end(lambda: self._is_late(run, most))
        else:
            most = part * self.cost[limit]
            run = self.begin({limit: most if limit == "costUSD" else int(most), "publishPartial": is_wanted})
            run.end()
        if limit == "wallClock" and run.ready[1] == "Published":
            # The last plan had finished before the operator looked at the clock.
            return self.outcome(run)
        assert run.ready[1] in ("LimitReached", "PublishedPartial"), run.ready
        run.limit(**HIGHER)
        run.end()
        return self.outcome(run)

    def _is_late(self, run: Run, requests: float) -> None:
        """Sets the clock forward by an hour after so many requests, so the run reaches its limit of time."""
        if run.cluster.now < run.began + timedelta(hours=1) and self._running.stats()["requests"] >= requests:
            run.cluster.now += timedelta(hours=1)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Sweep]]:
    made: dict[str, Sweep] = {}

    def sweep(pruning: str) -> Sweep:
        if pruning not in made:
            folder = tmp_path_factory.mktemp(pruning)
            if pruning == "off":
                # The winner is a late candidate, so when a limit ends the run, another candidate is the best so far.
                made[pruning] = Sweep(SMALL, folder, 7, pruning)
            else:
                made[pruning] = Sweep(PRUNED, folder, 1, pruning, model={"small": 0.9})
        return made[pruning]

    yield sweep
    for found in made.values():
        found.provider.__exit__(None, None, None)


FEW_LIMITS = [
    ("off", "lmCalls", 0.55),
    ("off", "totalTokens", 0.8),
    ("off", "costUSD", 0.5),
    ("off", "wallClock", 0.6),
    ("exact", "lmCalls", 0.4),
    ("exact", "wallClock", 0.5),
]
ALL_LIMITS = [
    (pruning, limit, step / 12)
    for pruning in ("off", "exact")
    for limit in ("lmCalls", "totalTokens", "costUSD", "wallClock")
    for step in range(1, 12)
]


@pytest.mark.parametrize(("pruning", "limit", "part"), ALL_LIMITS if WHOLE else FEW_LIMITS)
def test_a_run_that_a_limit_ended_at_any_moment_has_the_same_winner_under_a_higher_limit(
    sweeps: Callable[[str], Sweep], pruning: str, limit: str, part: float
) -> None:
    sweep = sweeps(pruning)
    assert sweep.ended_by(limit, part, is_wanted=part > 0.5) == sweep.unlimited
