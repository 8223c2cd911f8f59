"""A compile accepts what stock DSPy accepts: a training set alone, bare predictors, and all kinds of metrics."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case
from support.sampling import of_the_day, sample

SEARCH = Case("", parameters={"num_candidate_programs": 1, "max_labeled_demos": 4}, validation=10)
RULES = Case("", "inferRules", {"num_candidates": 2, "num_rules": 3}, validation=10)
MIPRO = Case(
    "",
    "miprov2",
    {"max_bootstrapped_demos": 1, "max_labeled_demos": 2, "num_candidates": 2, "num_trials": 3, "minibatch": False},
    validation=10,
)
EVOLVED = Case("", "gepa", {"max_full_evals": 2}, metric="feedback", validation=10)
SAMPLED = Case("", "simba", {"bsize": 6, "num_candidates": 3, "max_steps": 2}, validation=10)
COPRO = Case("", "copro", {"breadth": 3, "depth": 2}, validation=10)


def is_stocks(case: Case, providers: Any, folder: Path, seed: int = 1) -> Any:
    stock = case.stock(providers(seed))
    ours = case.swarm(providers(seed), folder)
    assert stock.error is None
    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    return ours


@pytest.mark.parametrize(
    ("case", "scored_on"),
    sample(
        [
            (SEARCH, "all 20 training examples"),
            (RULES, "the last 10 of 20 training examples"),
            (MIPRO, "the last 16 of 20 training examples"),
            (EVOLVED, "all 20 training examples"),
            (Case("", "custom", {"entrypoint": "replay_programs:two_stages"}), "all 20 training examples"),
        ],
        2,
    ),
    ids=lambda given: getattr(given, "optimizer", ""),
)
def test_a_compile_needs_no_validation_set(providers: Any, tmp_path: Path, case: Case, scored_on: str) -> None:
    ours = is_stocks(replace(case, train=20, validation=None), providers, tmp_path)
    assert ours.report["scoredOn"] == scored_on
    assert f"scored on {scored_on}: the spec names no data.validation" in ours.output


@pytest.mark.parametrize(
    ("case", "program", "metric"),
    sample(
        [
            (EVOLVED, "Bare", "feedback"),
            (EVOLVED, "Careful", "fed_back"),
            (SEARCH, "Bare", "weighed"),
            (RULES, "Bare", "exact"),
            (COPRO, "Careful", "noted"),
            (MIPRO, "Bare", "noted"),
            (SAMPLED, "Bare", "weighed"),
        ],
        2,
    ),
    ids=lambda given: getattr(given, "optimizer", str(given)),
)
def test_a_bare_predictor_is_a_program_and_any_callable_is_a_metric(
    providers: Any, tmp_path: Path, case: Case, program: str, metric: str
) -> None:
    is_stocks(replace(case, program=program, metric=metric, train=16), providers, tmp_path)


@pytest.mark.parametrize("adapter", ["json", "xml", "twoStep"])
def test_the_adapter_of_the_spec_is_used_for_every_call(providers: Any, tmp_path: Path, adapter: str) -> None:
    is_stocks(replace(SEARCH, adapter=adapter), providers, tmp_path)


@pytest.mark.parametrize("validation", of_the_day([10, None]))
def test_decisions_are_fitted_as_in_stock_and_cost_no_more(
    providers: Any, tmp_path: Path, validation: int | None
) -> None:
    case = Case("", "reAnchor", program="Sure", metric="relied", train=20, validation=validation)
    stock = case.stock(providers(2))
    ours = case.swarm(providers(2), tmp_path, speculation=0)
    assert ours.status == 0, ours.output
    assert stock.program["classify"]["fields"]["reliable"]["threshold"] != 0.5, "there is something to fit"
    assert (ours.program, ours.scores) == (stock.program, stock.scores)
    assert ours.requests == ours.calls <= stock.requests <= 20 * (1 + 2) + 2 * 10
    assert ours.rounds <= 12, "candidates are scored side by side: a round for each option of the category, and 3 more"


GEPAS_OPTIONS: list[dict[str, Any]] = [
    {"sampling_strategy": {"pxN": {"parents": 2, "proposals": 2}}, "acceptance_criterion": "improvement_or_equal"},
    {
        "sampling_strategy": {"independent": {"proposals": 3}},
        "selection_strategy": {"bestImprovement": {}},
        "candidate_selection_strategy": "top_k_pareto",
    },
    {
        "sampling_strategy": {"sameParent": {"proposals": 3}},
        "selection_strategy": {"topKImprovements": {"k": 2}},
        "candidate_selection_strategy": "epsilon_greedy",
        "cache_evaluation": True,
    },
    {"frontier_type": "hybrid", "merge_val_overlap_floor": 3, "cache_evaluation": True},
    {
        "instruction_proposer": "replay_programs:proposer",
        "component_selector": "replay_programs:last_first",
        "acceptance_criterion": "improvement_or_equal",
    },
]


@pytest.mark.parametrize("options", sample(GEPAS_OPTIONS, 2), ids=", ".join)
def test_the_options_of_gepa_act_as_in_stock(providers: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    metric = "objectives" if "frontier_type" in options else "feedback"
    case = Case("", "gepa", {"max_metric_calls": 70, **options}, "One", metric, train=16, validation=12, prompt=True)
    is_stocks(case, providers, tmp_path, seed=2)  # with this seed, each option leads to another winner


@pytest.mark.parametrize(
    ("program", "options"),
    sample(
        [
            pytest.param("Code", {"code_proposer": "replay_programs:coder"}, id="own proposer"),
            pytest.param("Code", {}, id="dspy's"),
            pytest.param("Checked", {}, id="beside a predictor"),
        ],
        2,
    ),
)
def test_gepa_rewrites_the_code_of_a_dspy_flex_as_in_stock(
    providers: Any, tmp_path: Path, program: str, options: dict[str, Any]
) -> None:
    parameters = {"max_metric_calls": 40, "acceptance_criterion": "improvement_or_equal", **options}
    case = Case("", "gepa", parameters, program, "feedback", train=8, validation=10)
    ours = is_stocks(case, providers, tmp_path, seed=2)
    assert ours.rounds >= 1, "workers ran it, too"
