"""Programs and metrics that hold retrievers, connections and clients: the winner of stock."""

from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case

SEARCH = {"num_candidate_programs": 1, "max_labeled_demos": 3, "max_bootstrapped_demos": 2}


@pytest.mark.parametrize(
    "case",
    [
        Case("a retriever", parameters=SEARCH, program="Retrieving"),
        Case("a connection, a lock, clients", parameters=SEARCH, program="Connected"),
        Case("in a bootstrap", "bootstrapFewShot", {"max_bootstrapped_demos": 2}, program="Connected"),
        Case("in the metric", parameters=SEARCH, metric="near"),
    ],
    ids=lambda case: case.name,
)
def test_what_a_program_holds_is_there_in_every_worker(providers: Any, tmp_path: Path, case: Case) -> None:
    stock = case.stock(providers(1))
    ours = case.swarm(providers(1), tmp_path, SWARM_TWIN="1")
    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    assert ours.requests == stock.requests
