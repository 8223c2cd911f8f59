"""With pruning, a compile finds stock's winner with fewer requests.

By default, a few compiles run. `make fidelity` runs each program with two seeds a day, and FIDELITY=all with all seeds.
Each seed has another provider. Evaluations are larger than in `test_fidelity.py`, since pruning saves no cells of small
evaluations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simulated_provider.testing import running_provider
from support.compiles import KNOWLEDGE, Case, LocalRun, StockRun, run_local
from support.sampling import WHOLE, of_the_day

SEARCH = {"num_candidate_programs": 5, "max_labeled_demos": 6}

CASES = {
    "One": Case("", parameters=SEARCH, program="One", metric="department", validation=60),
    "Two": Case("", parameters=SEARCH, program="Two", metric="partial", validation=60),
    "Agent": Case("", parameters=SEARCH, program="Agent", metric="graded", validation=60),
    "rules": Case("", "inferRules", {"num_candidates": 6, "num_rules": 5}, program="One", validation=60),
}

SEEDS = {"One": range(1, 21), "Two": range(1, 21), "Agent": range(1, 21), "rules": range(1, 6)}
OF_THE_DAY = [(name, seed) for name, seeds in SEEDS.items() for number in (0, 1) for seed in of_the_day(seeds, number)]
FEW = [("One", 1), ("Two", 3), ("rules", 2)]


@contextmanager
def provider_of(seed: int) -> Iterator[Any]:
    """Yields a provider with a capable model, so the candidates are good."""
    with running_provider(seed=seed, knowledge=KNOWLEDGE, varied=True, model={"small": 0.9}) as provider:
        yield provider


@pytest.mark.parametrize(("name", "seed"), list(dict.fromkeys(OF_THE_DAY)) if WHOLE else FEW)
def test_pruning_finds_the_winner_of_stock_with_fewer_requests(tmp_path: Path, name: str, seed: int) -> None:
    with provider_of(seed) as provider:
        stock = CASES[name].stock(provider)
        ours = CASES[name].swarm(provider, tmp_path, speculation=0)
        assert (stock.error, ours.status) == (None, 0), ours.output
        assert (ours.program, ours.scores) == (stock.program, stock.scores)
        assert ours.requests == ours.calls <= stock.requests
        assert ours.wasted == {"cells": 0, "calls": 0}
        candidates_are_stocks_or_worse(ours, stock)

        again = CASES[name].swarm(provider, tmp_path, speculation=0)
        assert (again.program, again.report, again.requests) == (ours.program, ours.report, 0)


def candidates_are_stocks_or_worse(ours: LocalRun, stock: StockRun) -> None:
    """Asserts that each candidate has stock's score, or a marked bound that is at least stock's score."""
    assert all(mine >= theirs for mine, theirs in zip(ours.ranking, stock.ranking, strict=True))
    known = [candidate["score"] for candidate in ours.report["candidates"] if not candidate["bound"]]
    assert not set(known) - set(stock.ranking)
    assert known[:1] == stock.ranking[:1]
    pruned = ours.report["pruned"]
    assert bool(pruned["cells"]) == bool(pruned["candidates"])
    if stock.ranking:
        assert len(known) + pruned["candidates"] == len(stock.ranking)


def test_pruning_writes_the_same_program_file_byte_for_byte(tmp_path: Path) -> None:
    case = CASES["One"]
    with provider_of(4) as provider:
        runs = [run_local(case.manifest(provider.url, pruning=how), tmp_path / how) for how in ("exact", "off")]
    exact, off = runs
    assert [run.status for run in runs] == [0, 0]
    assert exact.report["pruned"]["cells"] > 0 == off.report["pruned"]["cells"]
    assert exact.calls < off.calls
    files = [(run.journal / "artifact" / "program.json").read_bytes() for run in runs]
    assert files[0] == files[1]


def test_a_score_outside_of_the_range_that_the_spec_names_ends_the_run(tmp_path: Path) -> None:
    case = CASES["One"]
    with provider_of(1) as provider:
        manifest = case.manifest(provider.url)
        manifest["spec"]["metric"]["range"] = {"max": 0.5}
        run = run_local(manifest, tmp_path)
    assert run.status == 1
    assert "ScoreOutOfRange" in run.output
    assert "scored 1 on example" in run.output
    assert "range is 0 .. 0.5" in run.output
