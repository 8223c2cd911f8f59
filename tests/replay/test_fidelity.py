"""With every optimizer, a compile has stock's winner and ranking, and makes no request that stock would not make.

A row of the table is an optimizer, a program and a seed. Rows run without guesses, with guesses, and without lookahead.
By default, each optimizer runs once in two days, each with one program. `make fidelity` runs every optimizer on every
program, each day with other seeds. FIDELITY=all runs every row. `make older` runs a few rows on DSPy 3.3.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, StockRun
from support.sampling import ALL, WHICH, WHOLE, of_the_day, sample
from swarm_worker.lookahead.guesses import WASTE


@dataclass(frozen=True)
class Row:
    """A small optimizer with its name in the spec and its parameters in DSPy. If `seeded`, it takes a seed."""

    optimizer: str
    parameters: dict[str, Any] = field(default_factory=dict)
    seeded: bool = False
    metric: str = ""
    models: tuple[str, ...] = ()
    """The roles that have their own model."""


DEMOS = {"max_bootstrapped_demos": 2, "max_labeled_demos": 2}

ROWS = {
    "labeled": Row("labeledFewShot", {"k": 4}),
    "bootstrap": Row("bootstrapFewShot", {"max_labeled_demos": 6, "max_rounds": 2}),
    "random search": Row("bootstrapFewShotWithRandomSearch", {"max_labeled_demos": 6, "num_candidate_programs": 3}),
    "random search, teacher": Row(
        "bootstrapFewShotWithRandomSearch", {"max_labeled_demos": 4, "num_candidate_programs": 2}, models=("teacher",)
    ),
    "optuna": Row(
        "bootstrapFewShotWithOptuna",
        {"max_demos": 3, "max_labeled_demos": 6, "num_candidate_programs": 5},
        seeded=True,
    ),
    "infer rules": Row("inferRules", {"num_candidates": 3, "num_rules": 5}),
    "copro": Row("copro", {"breadth": 3, "depth": 2}),
    "copro, prompt model": Row("copro", {"breadth": 4, "depth": 2}, models=("prompt",)),
    "miprov2": Row("miprov2", {**DEMOS, "num_candidates": 3, "num_trials": 5, "minibatch": False}, seeded=True),
    "miprov2, minibatches": Row(
        "miprov2",
        {**DEMOS, "num_candidates": 3, "num_trials": 7, "minibatch_size": 5, "minibatch_full_eval_steps": 3},
        seeded=True,
        models=("prompt", "teacher"),
    ),
    "miprov2, instructions only": Row(
        "miprov2",
        {
            "max_bootstrapped_demos": 0,
            "max_labeled_demos": 0,
            "num_candidates": 4,
            "num_trials": 5,
            "minibatch": False,
        },
        seeded=True,
    ),
    "simba": Row("simba", {"bsize": 6, "num_candidates": 3, "max_steps": 2}, seeded=True),
    "simba, rules only": Row(
        "simba",
        {"bsize": 5, "num_candidates": 4, "max_steps": 2, "max_demos": 0},
        seeded=True,
        models=("prompt", "teacher"),
    ),
    "gepa": Row("gepa", {"max_metric_calls": 60}, seeded=True, metric="feedback"),
    "gepa, prompt model": Row("gepa", {"max_full_evals": 3}, seeded=True, metric="feedback", models=("prompt",)),
    "custom": Row("custom", {"entrypoint": "replay_programs:two_stages"}),
}

PROGRAMS = {"One": "exact", "Two": "calibrated", "Agent": "graded"}
"""The metric for each program, which tells its candidates apart."""

OTHERS = {
    "Async": "exact",
    "Branching": "exact",
    "Panel": "calibrated",
    "Synced": "exact",
    "Tools": "exact",
    "Twice": "partial",
}
FOR_OTHERS = ("random search", "infer rules", "copro", "miprov2", "simba", "gepa")
"""The optimizers, one of each kind, that compile programs of other forms."""

UNSETTLED = {("simba", "Panel"): "Queue"}
"""Programs for which stock DSPy itself has no fixed winner, and the programs that replace them.

A trace has its steps in the order in which threads ended, and SIMBA shows it to a model: stock found four winners in
ten runs.
"""

SEEDS = (1, 2, 3)
"""Each seed leads to another provider and other random draws of the optimizer."""

# Each optimizer occurs once here. `test_exact_winner.py` also tests optimizers that bootstrap.
FEW = [
    ("random search", "Two", 1),
    ("optuna", "One", 1),
    ("infer rules", "Two", 2),
    ("copro", "Panel", 1),
    ("miprov2", "Agent", 1),
    ("miprov2, minibatches", "One", 2),
    ("custom", "One", 1),
    ("gepa", "Async", 1),
    ("simba", "Tools", 1),
]

FEW_OLDER = [
    ("random search", "Two", 1),
    ("miprov2, minibatches", "One", 2),
    ("gepa", "Async", 1),
]

ROWS_OF_ALL = [
    *((row, program, seed) for row in ROWS for program in PROGRAMS for seed in SEEDS),
    *((row, UNSETTLED.get((row, program), program), 1) for row in FOR_OTHERS for program in OTHERS),
]


def rows_of_the_day(number: int) -> list[tuple[str, str, int]]:
    """Returns each optimizer on each program, with a seed that depends on `number`."""
    pairs = list(dict.fromkeys((row, program) for row, program, _ in ROWS_OF_ALL))
    return [
        (row, program, seed)
        for position, (row, program) in enumerate(pairs)
        for seed in of_the_day([seed for *pair, seed in ROWS_OF_ALL if pair == [row, program]], number + position)
    ]


def case(name: str, program: str, seed: int) -> Case:
    row = ROWS[name]
    return Case(
        f"{name}, {program}, seed {seed}",
        row.optimizer,
        {**row.parameters, "seed": seed} if row.seeded else row.parameters,
        program,
        row.metric or {**PROGRAMS, **OTHERS, "Queue": "calibrated"}[program],
        train=16,
        validation=12,
        teacher="teacher" in row.models,
        prompt="prompt" in row.models,
    )


_stock: dict[tuple[str, str, int], StockRun] = {}


def stock(providers: Any, name: str, program: str, seed: int) -> StockRun:
    key = (name, program, seed)
    if key not in _stock:
        _stock[key] = case(*key).stock(providers(seed))
        assert _stock[key].error is None
    return _stock[key]


@pytest.mark.parametrize(
    ("name", "program", "seed"), {"few": sample(FEW, 2), "older": FEW_OLDER}.get(WHICH) or rows_of_the_day(0)
)
def test_without_guesses_a_compile_equals_stock_and_costs_no_more(
    providers: Any, tmp_path: Path, name: str, program: str, seed: int
) -> None:
    expected = stock(providers, name, program, seed)
    ours = case(name, program, seed).swarm(providers(seed), tmp_path, speculation=0)

    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (expected.program, expected.ranking, expected.scores)
    assert ours.requests == ours.calls <= expected.requests
    assert ours.wasted == {"cells": 0, "calls": 0}

    again = case(name, program, seed).swarm(providers(seed), tmp_path, speculation=0)
    assert (again.status, again.program, again.report) == (0, ours.program, ours.report)
    assert again.requests == 0


@pytest.mark.parametrize(
    ("name", "program", "seed"), rows_of_the_day(1) if WHOLE else [("miprov2", "Two", 3), ("custom", "Two", 2)]
)
def test_guesses_may_change_the_cost_but_not_the_winner(
    providers: Any, tmp_path: Path, name: str, program: str, seed: int
) -> None:
    expected = stock(providers, name, program, seed)
    ours = case(name, program, seed).swarm(providers(seed), tmp_path)

    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (expected.program, expected.ranking, expected.scores)
    assert ours.requests == ours.calls
    assert ours.wasted["calls"] <= WASTE * ours.calls


@pytest.mark.parametrize(
    ("name", "program", "seed"), rows_of_the_day(2)[:: 1 if ALL else 5] if WHOLE else [("copro", "One", 1)]
)
def test_without_lookahead_the_winner_is_the_same(
    providers: Any, tmp_path: Path, name: str, program: str, seed: int
) -> None:
    expected = stock(providers, name, program, seed)
    ours = case(name, program, seed).swarm(providers(seed), tmp_path, SWARM_LOOKAHEAD="0")

    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (expected.program, expected.ranking, expected.scores)
    assert ours.requests <= expected.requests


RANKED = ["random search", "copro", "miprov2", "simba, rules only", "custom"]


@pytest.mark.parametrize(
    ("name", "program"), [(row, program) for row in RANKED for program in PROGRAMS] if WHOLE else [("miprov2", "Two")]
)
def test_the_comparison_with_stock_detects_a_wrong_winner(providers: Any, name: str, program: str) -> None:
    rankings = [stock(providers, name, program, seed).ranking for seed in SEEDS]
    assert sum(len(set(ranking)) >= min(3, len(ranking) - 1) for ranking in rankings) >= 2, rankings
