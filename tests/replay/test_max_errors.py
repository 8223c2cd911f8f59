"""If too many errors stop stock DSPy, they also stop the local driver, with the same error and a few more calls."""

from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case

SEARCH = "bootstrapFewShotWithRandomSearch"
IN_FLIGHT = 2 * 4
"""The cells in flight: one in each thread of the local driver's two workers."""
UNHEARD = 10
"""The cells that may start before the driver's message reaches the other worker."""
LATENCY = "0.2"
"""Seconds of an answer in the local driver's run, longer than its message takes, even on a busy machine."""

ENDED: list[tuple[str, str, dict[str, Any]]] = [
    ("Hopeless", SEARCH, {"num_candidate_programs": 4, "max_labeled_demos": 4}),
    ("Stumbling", SEARCH, {"num_candidate_programs": 4, "max_labeled_demos": 4}),
    ("Choosy", SEARCH, {"num_candidate_programs": 4, "max_labeled_demos": 4}),
    ("Choosy", SEARCH, {"num_candidate_programs": 4, "max_labeled_demos": 4, "max_errors": 1}),
    ("Hopeless", "copro", {"breadth": 3, "depth": 2}),
    ("Hopeless", "inferRules", {"num_candidates": 3, "num_rules": 5, "max_errors": 5}),
]


@pytest.mark.parametrize(("program", "optimizer", "parameters"), ENDED, ids=str)
def test_a_compile_that_fails_as_in_stock_costs_only_some_calls_in_flight_more(
    providers: Any, tmp_path: Path, program: str, optimizer: str, parameters: dict[str, Any]
) -> None:
    case = Case("ended", optimizer, parameters, program, train=40, validation=60)
    expected = case.stock(providers(1))
    assert expected.error is not None
    provider = providers(1)
    provider.set_faults(latency=LATENCY)
    ours = case.swarm(provider, tmp_path)
    assert ours.status != 0
    assert "CompileFailed: " in ours.output
    assert ours.requests <= expected.requests + IN_FLIGHT + UNHEARD
    again = case.swarm(providers(1), tmp_path)
    assert (again.status, again.requests) == (ours.status, 0)


@pytest.mark.parametrize("max_errors", [3, 8])
def test_an_optimizer_that_goes_on_after_too_many_errors_finds_the_winner_of_stock(
    providers: Any, tmp_path: Path, max_errors: int
) -> None:
    parameters = {"seed": 1, "num_candidates": 3, "num_trials": 5, "minibatch": False}
    parameters["max_errors"] = max_errors
    case = Case("swallows", "miprov2", parameters, "Stumbling", train=20, validation=30)
    expected = case.stock(providers(1))
    assert expected.error is None
    provider = providers(1)
    provider.set_faults(latency=LATENCY)
    ours = case.swarm(provider, tmp_path)
    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (expected.program, expected.ranking, expected.scores)
    assert ours.requests == ours.calls
    assert ours.requests <= expected.requests + len(ours.ranking) * (IN_FLIGHT + UNHEARD)
