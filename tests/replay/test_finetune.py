"""A fine-tune by stock BootstrapFinetune: rows, tuned program and scores are those of stock, with one job."""

from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case
from support.sampling import sample

ROWS = {"min_traces": 10, "min_examples": 20}
CASES = [
    (1, Case("one predictor", "bootstrapFinetune", ROWS, train=40, teacher=True)),
    (2, Case("two predictors, one model", "bootstrapFinetune", ROWS, program="Two", train=40, teacher=True)),
    (
        3,
        Case(
            "two predictors, a model for each",
            "bootstrapFinetune",
            {**ROWS, "multitask": False},
            program="Two",
            train=40,
            teacher=True,
        ),
    ),
    (4, Case("the student teaches itself", "bootstrapFinetune", ROWS, train=60)),
    (5, Case("with demonstrations", "bootstrapFinetune", {**ROWS, "exclude_demos": False}, train=40, teacher=True)),
    (6, Case("in XML", "bootstrapFinetune", ROWS, train=40, teacher=True, adapter="xml")),
]


@pytest.mark.parametrize(
    ("seed", "case"), sample(CASES, 2), ids=lambda value: value.name if isinstance(value, Case) else None
)
def test_rows_program_and_scores_are_those_of_stock(providers: Any, tmp_path: Path, seed: int, case: Case) -> None:
    provider = providers(seed)
    before = len(provider.tuning()["jobs"])
    ours = case.swarm(provider, tmp_path)
    assert ours.status == 0, ours.output
    jobs = provider.tuning()["jobs"][before:]
    assert len(jobs) == (2 if case.parameters.get("multitask") is False else 1)
    stock = case.stock(provider)
    assert stock.error is None
    assert (ours.program, ours.scores) == (stock.program, stock.scores)
    assert ours.calls == ours.requests == stock.requests
    assert ours.rounds <= 4
