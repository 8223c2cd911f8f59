"""A compile finds exactly the winner that stock DSPy finds."""

from pathlib import Path
from statistics import fmean
from typing import Any

import dspy
import pytest

from simulated_provider.testing import running_provider
from support.compiles import KNOWLEDGE, Case
from support.sampling import sample

SEARCH = {"num_candidate_programs": 3, "max_labeled_demos": 6}

CASES = [
    (1, Case("random search, two predictors", parameters=SEARCH, program="Two")),
    (2, Case("random search, two predictors, a teacher model", parameters=SEARCH, program="Two", teacher=True)),
    (3, Case("random search, one predictor", parameters=SEARCH)),
    (
        4,
        Case(
            "random search, ties among few examples", parameters={**SEARCH, "num_candidate_programs": 5}, validation=4
        ),
    ),
    (
        5,
        Case(
            "random search, broken scores and a threshold",
            parameters={**SEARCH, "metric_threshold": 0.9},
            metric="partial",
        ),
    ),
    (
        6,
        Case(
            "random search, a predictor called twice, two rounds",
            parameters={**SEARCH, "max_rounds": 2},
            program="Twice",
        ),
    ),
    (7, Case("random search, some examples fail", parameters={**SEARCH, "max_errors": 40}, program="Failing")),
    (8, Case("random search, stops at a score", parameters={**SEARCH, "stop_at_score": 50.0})),
    (1, Case("bootstrap, two predictors", "bootstrapFewShot", {"max_labeled_demos": 6}, program="Two", teacher=True)),
    (2, Case("bootstrap, one predictor", "bootstrapFewShot", {"max_bootstrapped_demos": 2})),
    (3, Case("bootstrap, some examples fail", "bootstrapFewShot", {"max_errors": 20}, program="Failing")),
    (1, Case("labeled", "labeledFewShot", {"k": 5}, program="Two")),
    (2, Case("labeled, all there are", "labeledFewShot", {"k": 50})),
]


@pytest.mark.parametrize(
    ("seed", "case"), sample(CASES, 2), ids=lambda value: value.name if isinstance(value, Case) else None
)
def test_the_local_driver_finds_the_winner_of_stock(providers: Any, tmp_path: Path, seed: int, case: Case) -> None:
    stock = case.stock(providers(seed))
    ours = case.swarm(providers(seed), tmp_path)

    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    assert ours.calls == ours.requests
    [by_example] = ours.report["byExample"]
    means = {"baseline": fmean(by_example["baseline"]), "best": fmean(by_example["winner"])}
    assert means == pytest.approx(ours.scores, abs=0.01)


def test_the_report_names_the_inputs_and_versions_that_made_the_artifact(providers: Any, tmp_path: Path) -> None:
    case = Case("", "labeledFewShot", {"k": 2}, validation=4, teacher=True)
    report = case.swarm(providers(1), tmp_path).report
    inputs = {"spec", "program", "commit", "data", "files"}
    assert report["origin"].keys() == {"runId", *inputs, "packages", "models", "dspy", "image"}
    assert report["origin"]["models"] == {"student": "openai/small", "teacher": "openai/large"}
    assert report["origin"]["dspy"] == dspy.__version__
    assert {"baseline", "best"} <= report["scores"].keys()
    assert report["usage"].keys() >= {"calls", "promptTokens", "completionTokens"}


def test_malformed_answers_are_handled_as_in_stock(tmp_path: Path) -> None:
    """If an answer is malformed, DSPy repeats the call in another format or fails the example. dspy-swarm changes
    neither."""
    case = Case("", parameters={**SEARCH, "max_errors": 200}, program="Two")
    with running_provider(seed=2, malformed_rate=0.3, knowledge=KNOWLEDGE) as provider:
        stock = case.stock(provider)
        ours = case.swarm(provider, tmp_path)
    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    with running_provider(seed=2, knowledge=KNOWLEDGE) as provider:
        assert case.stock(provider).ranking != stock.ranking, "it makes a difference"


def test_without_lookahead_a_run_needs_more_rounds_and_has_the_same_winner(providers: Any, tmp_path: Path) -> None:
    provider = providers(1)
    case = Case("", parameters={"num_candidate_programs": 1, "max_labeled_demos": 4}, validation=10)
    wide = case.swarm(provider, tmp_path / "wide")
    narrow = case.swarm(provider, tmp_path / "narrow", SWARM_LOOKAHEAD="0")

    assert wide.program == narrow.program
    assert wide.rounds == 2
    assert narrow.rounds > 4
    assert wide.report["usage"] == narrow.report["usage"]


def test_too_many_errors_end_the_compile_as_in_stock(providers: Any, tmp_path: Path) -> None:
    case = Case("", parameters={"num_candidate_programs": 1, "max_errors": 2}, program="Failing")
    stock = case.stock(providers(1))
    ours = case.swarm(providers(1), tmp_path)

    assert stock.error == "Exception: Execution cancelled due to errors or interruption."
    assert ours.status == 1
    assert "CompileFailed" in ours.output
    assert "Execution cancelled due to errors or interruption." in ours.output
    assert "ValueError: cannot read" in ours.output
    assert not list((ours.journal / "artifact").iterdir())


def test_a_program_that_always_fails_is_reported_as_in_stock_and_with_the_cause(providers: Any, tmp_path: Path) -> None:
    case = Case("", program="Broken")
    stock = case.stock(providers(1))
    ours = case.swarm(providers(1), tmp_path)

    assert stock.error == "Exception: Execution cancelled due to errors or interruption."
    assert (ours.status, ours.requests) == (1, 0)
    assert "CompileFailed" in ours.output
    assert "Execution cancelled due to errors or interruption." in ours.output
    assert "KeyError: 'no such field'" in ours.output


@pytest.mark.parametrize(
    ("optimizer", "parameters", "validation"),
    [
        ("bootstrapFewShotWithRandomSearch", {"max_labeled_demos": 4, "num_candidate_programs": 1}, 8),
        ("labeledFewShot", {"k": 2}, 12),
    ],
)
def test_a_student_that_fails_without_demonstrations_is_compiled_as_in_stock(
    providers: Any, tmp_path: Path, optimizer: str, parameters: dict[str, Any], validation: int
) -> None:
    case = Case("", optimizer, parameters, program="Shy", validation=validation)
    stock = case.stock(providers(1))
    ours = case.swarm(providers(1), tmp_path)

    assert stock.error is None
    assert stock.scores["baseline"] == 0.0 < stock.scores["best"]
    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    [group] = ours.report["failures"]["groups"]
    assert group["answer"] == "Well, that sounds nice."
    assert group["exception"].startswith("AdapterParseError: ")
    assert group["examples"] >= validation
    assert "'Well, that sounds nice.'" in ours.output
