"""An example that kills its process or never ends counts as if the program had raised an exception."""

import copy
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, StockRun, run_local
from support.sampling import sample
from swarm_wire.shards import read_folder

CASE = Case("", parameters={"num_candidate_programs": 2, "max_labeled_demos": 4}, program="Poisoned", validation=24)


@pytest.fixture(scope="module")
def stock(providers: Any) -> StockRun:
    """Returns the compile by stock DSPy. Here, the program raises an exception for the example that kills a process
    elsewhere."""
    return CASE.stock(providers(1))


@pytest.mark.parametrize(
    ("poison", "why"),
    sample([("kill", "SIGKILL"), ("hang", "CellTimeout"), ("exit", "exit code 3"), ("regex", "exit code 1")], 4),
)
def test_an_example_that_kills_its_process_is_the_only_example_with_an_error(
    providers: Any, tmp_path: Path, stock: StockRun, poison: str, why: str
) -> None:
    provider = providers(1)
    manifest = copy.deepcopy(CASE.manifest(provider.url))
    manifest["spec"]["limits"] = {"cellSeconds": 2 if poison in ("hang", "regex") else 600}
    # The last attempt runs each cell alone, so that it is found. Each further attempt at a slow regex takes long.
    manifest["spec"]["swarm"]["maxAttempts"] = 2 if poison == "regex" else 3
    run = run_local(manifest, tmp_path, POISON=poison)

    assert run.status == 0, run.output
    assert (run.program, run.ranking, run.scores) == (stock.program, stock.ranking, stock.scores)
    assert provider.stats()["requests"] <= stock.requests + 4 * 3 * 6, "calls in flight, in each attempt"
    assert run.report["failedCells"] == len(stock.ranking) + 2, "in each candidate, and in baseline and winner"
    errors = {str(r.header["error"]) for r in read_folder(run.journal / "journal") if "error" in r.header}
    assert {why in error for error in errors} == {True}, errors


def test_a_run_fails_if_every_example_kills_its_process(providers: Any, tmp_path: Path) -> None:
    manifest = copy.deepcopy(CASE.manifest(providers(1).url))
    manifest["spec"]["program"]["entrypoint"] = "replay_programs:Deadly"
    ended = run_local(manifest, tmp_path, POISON="exit")
    assert ended.status == 1
    assert "AttemptsExhausted" in ended.output
    assert "exit code 3" in ended.output
