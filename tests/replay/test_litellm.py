"""A compile whose model LiteLLM serves ends with stock's winner or with a reason, but never with another winner."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.compiles import PATHS, PROGRAMS, Case, LocalRun, counted, ended, start_local
from support.sampling import sample

CASES = [
    (
        1,
        Case(
            "random search, two predictors, a teacher",
            parameters={"num_candidate_programs": 2, "max_labeled_demos": 4},
            program="Two",
            validation=12,
            teacher=True,
            client="litellm_proxy",
        ),
    ),
    (
        2,
        Case(
            "MIPROv2, proposals",
            "miprov2",
            {"auto": None, "num_candidates": 3, "num_trials": 3, "minibatch": False},
            validation=12,
            client="litellm_proxy",
        ),
    ),
    (
        3,
        Case("async", parameters={"num_candidate_programs": 1}, program="Async", validation=12, client="litellm_proxy"),
    ),
]


def named(value: object) -> str | None:
    return value.name if isinstance(value, Case) else None


def swarm(case: Case, provider: Any, folder: Path, fault: str) -> LocalRun:
    """Runs a compile with this fault in LiteLLM's import, in new processes instead of forks of the tests' server."""
    paths = os.pathsep.join(map(str, [PROGRAMS / "litellm_faults", *PATHS]))
    manifest = case.manifest(provider.url, maxAttempts=1 if fault == "broken" else 3)
    with counted(provider) as requests:
        run = ended(start_local(manifest, folder, PYTHONPATH=paths, LITELLM=fault), folder)
    return replace(run, requests=requests[0])


@pytest.mark.parametrize(("seed", "case"), sample(CASES, len(CASES)), ids=named)
def test_a_slow_import_of_litellm_does_not_change_the_winner(
    providers: Any, tmp_path: Path, seed: int, case: Case
) -> None:
    stock = case.stock(providers(seed))
    ours = swarm(case, providers(seed), tmp_path, "slow")

    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    assert ours.report["failedCells"] == 0
    assert ours.calls == ours.requests


@pytest.mark.parametrize(("seed", "case"), sample(CASES[:1], 2), ids=named)
def test_an_import_of_litellm_that_fails_once_does_not_change_the_winner(
    providers: Any, tmp_path: Path, seed: int, case: Case
) -> None:
    stock = case.stock(providers(seed))
    ours = swarm(case, providers(seed), tmp_path, str(tmp_path / "failed"))

    assert (tmp_path / "failed").exists()
    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    assert ours.report["failedCells"] == 0


def test_a_failing_import_of_litellm_ends_the_run_with_a_named_reason(providers: Any, tmp_path: Path) -> None:
    seed, case = CASES[0]
    ours = swarm(case, providers(seed), tmp_path, "broken")

    assert ours.status != 0
    assert "InfrastructureFailed" in ours.output
    assert "a library of LiteLLM's does not fit" in " ".join(ours.output.split())
    assert not (ours.journal / "artifact" / "program.json").exists()
    assert ours.requests == 0
