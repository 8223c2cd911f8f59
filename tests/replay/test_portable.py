"""Programs and metrics that hold retrievers, connections and clients have the winner of stock."""

import signal
from pathlib import Path
from typing import Any

import pytest

from support.canary import kinds_without
from support.compiles import Case, start_local
from support.kills import kill_one
from support.sampling import sample
from swarm_wire.records import RecordKind

KEY = "sk-of-the-users-own-5f1c"
MODULE = "portable_programs"
SEARCH = {"num_candidate_programs": 1, "max_labeled_demos": 3, "max_bootstrapped_demos": 2}


@pytest.mark.parametrize(
    "case",
    sample(
        [
            Case("a retriever", parameters=SEARCH, program="Retrieving", module=MODULE),
            Case("a connection, a lock, clients", parameters=SEARCH, program="Connected", module=MODULE),
            Case(
                "in a bootstrap",
                "bootstrapFewShot",
                {"max_bootstrapped_demos": 2},
                program="Connected",
                module=MODULE,
            ),
            Case("in the metric", parameters=SEARCH, metric="near", module=MODULE),
        ],
        2,
    ),
    ids=lambda case: case.name,
)
def test_retrievers_and_connections_of_a_program_work_in_every_worker(
    providers: Any, tmp_path: Path, case: Case
) -> None:
    stock = case.stock(providers(1))
    ours = case.swarm(providers(1), tmp_path, SWARM_TWIN="1")
    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    assert ours.requests == stock.requests


def test_api_keys_of_a_programs_own_models_are_in_no_file_and_no_output(
    providers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test searches the folder in the middle of a run, when it has tasks, and at the run's end."""
    provider = providers(1)
    monkeypatch.setenv("OWN_MODELS", provider.url)
    monkeypatch.setenv("OWN_KEY", KEY)
    case = Case("own models", parameters=SEARCH, program="OwnModels", module=MODULE)
    stock = case.stock(provider)

    provider.set_faults(latency="0.3")
    driver = start_local(case.manifest(provider.url), tmp_path / "killed")
    kill_one("work", driver, tmp_path / "killed", signal.SIGKILL)
    driver.send_signal(signal.SIGKILL)
    output, _ = driver.communicate()
    provider.set_faults()
    assert {RecordKind.TASK, RecordKind.BLOB} <= kinds_without(KEY, tmp_path / "killed", output)

    ours = case.swarm(provider, tmp_path / "whole")
    assert ours.status == 0, ours.output
    assert (ours.program, ours.ranking, ours.scores) == (stock.program, stock.ranking, stock.scores)
    assert ours.requests == stock.requests
    assert {RecordKind.RESULT, RecordKind.PLAN} <= kinds_without(KEY, tmp_path / "whole", ours.output)
