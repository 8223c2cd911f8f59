"""A run that is killed again and again ends with the winner of its journal.

The provider gives another answer each time, so a call made twice could lead to another winner.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case
from support.kills import disturbed
from support.sampling import WHOLE, of_the_day, sample

DEMOS: dict[str, Any] = {"max_bootstrapped_demos": 2, "max_labeled_demos": 2}
CASES: dict[str, Case] = {
    "random search": Case("", parameters={"num_candidate_programs": 2, "max_labeled_demos": 4}, program="Two"),
    "miprov2": Case(
        "",
        "miprov2",
        {**DEMOS, "num_candidates": 3, "num_trials": 7, "minibatch_size": 6, "minibatch_full_eval_steps": 3},
        prompt=True,
    ),
    "simba": Case("", "simba", {"bsize": 6, "num_candidates": 3, "max_steps": 2}, program="Two"),
    "gepa": Case("", "gepa", {"max_metric_calls": 80}, metric="feedback", program="Two"),
    "copro": Case("", "copro", {"breadth": 4, "depth": 2}, program="Two"),
    "better together": Case(
        "",
        "betterTogether",
        {
            "p": {"bootstrapFewShotWithRandomSearch": {"num_candidate_programs": 1, "max_labeled_demos": 2}},
            "w": {"min_examples": 10, "min_traces": 10},
        },
        teacher=True,
    ),
    "custom": Case("", "custom", {"entrypoint": "replay_programs:two_stages"}),
}


@pytest.fixture
def random_provider(providers: Any) -> Any:
    """Returns a provider that answers slowly, so that tests can interrupt it, and differently each time."""
    provider = providers(1)
    provider.set_faults(random=True, latency="uniform:0.02:0.1")
    return provider


@pytest.mark.parametrize("seed", of_the_day([1, 2, 3]))
@pytest.mark.parametrize("name", sample([*CASES], len(CASES)))
def test_a_killed_run_ends_with_the_winner_that_its_journal_determines(
    random_provider: Any, tmp_path: Path, name: str, seed: int
) -> None:
    case = replace(CASES[name], train=16, validation=12)
    run, kills = disturbed(case, random_provider, tmp_path, kills=6 if WHOLE else 3, seed=seed)
    assert run.status == 0, run.output
    assert kills > 1
    program, report = run.program, run.report
    for leftover in ("artifact", "logs", "rounds"):
        shutil.rmtree(run.journal / leftover, ignore_errors=True)
    again = case.swarm(random_provider, tmp_path)

    assert again.status == 0, again.output
    assert again.requests == 0
    assert (again.program, again.report) == (program, report)
