"""A run has the same winner if it stores the bodies of its journal in a depot: a folder or an object store."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, LocalRun, run_local, start_local
from support.kills import wait_for_requests
from support.sampling import sample
from swarm_wire.records import RecordKind
from swarm_wire.shards import read_folder

CASE = Case("", parameters={"num_candidate_programs": 3, "max_labeled_demos": 6}, validation=24)
IN_FLIGHT = 2 * 4
"""The calls in flight of two workers with four threads each."""
LATENCY, UNSAVED = 0.5, 1.5
"""The seconds of a call, and the most seconds of work that a killed driver loses.

When workers notice the driver's death, they lose the bodies that they have not yet written to the depot.
"""


@pytest.fixture(scope="module")
def undisturbed(providers: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalRun, int]:
    provider = providers(1)
    run = run_local(CASE.manifest(provider.url), tmp_path_factory.mktemp("undisturbed"))
    return run, provider.stats()["requests"]


def test_a_run_whose_records_have_their_bodies_in_a_depot_has_the_same_winner(
    providers: Any, tmp_path: Path, undisturbed: tuple[LocalRun, int]
) -> None:
    reference, requests = undisturbed
    provider = providers(1)
    run = run_local(CASE.manifest(provider.url), tmp_path, SWARM_DEPOT=f"file://{tmp_path}/depot")
    assert run.status == 0, run.output
    assert (run.program, run.ranking) == (reference.program, reference.ranking)
    assert provider.stats()["requests"] == requests
    kept = [record for record in read_folder(run.journal / "journal") if record.kind is RecordKind.RESULT]
    assert kept
    assert not any(record.body for record in kept)
    assert all(record.header["stored"] for record in kept)


@pytest.mark.parametrize("number", sample([signal.SIGTERM, signal.SIGKILL], 2), ids=lambda number: number.name)
def test_a_killed_run_resumes_from_the_depot(
    number: int, providers: Any, tmp_path: Path, undisturbed: tuple[LocalRun, int]
) -> None:
    reference, requests = undisturbed
    provider, depot = providers(1), f"file://{tmp_path}/depot"
    provider.set_faults(latency=str(LATENCY))
    driver = start_local(CASE.manifest(provider.url), tmp_path, SWARM_DEPOT=depot)
    wait_for_requests(provider, 90)
    driver.send_signal(number)
    driver.communicate()
    provider.set_faults()
    run = run_local(CASE.manifest(provider.url), tmp_path, SWARM_DEPOT=depot)
    assert run.status == 0, run.output
    assert run.program == reference.program
    unsaved = IN_FLIGHT * round(UNSAVED / LATENCY) if number == signal.SIGKILL else 0
    assert provider.stats()["requests"] <= requests + IN_FLIGHT + unsaved


def test_a_body_that_is_missing_in_the_depot_ends_the_run_with_a_message(providers: Any, tmp_path: Path) -> None:
    provider, depot = providers(1), tmp_path / "depot"
    finished = run_local(CASE.manifest(provider.url), tmp_path, SWARM_DEPOT=f"file://{depot}")
    assert finished.status == 0, finished.output
    (finished.journal / "artifact" / "program.json").unlink()
    for folder in depot.iterdir():
        shutil.rmtree(folder)
    run = run_local(CASE.manifest(provider.url), tmp_path, SWARM_DEPOT=f"file://{depot}")
    assert run.status == 1
    assert "StorageDamaged" in run.output
    assert "was deleted or altered" in run.output


def test_a_depot_that_refuses_writes_ends_the_run_with_a_message(providers: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    manifest = CASE.manifest(providers(1).url, maxAttempts=1)
    run = run_local(manifest, tmp_path, SWARM_DEPOT=f"file://{tmp_path}/file")
    assert run.status == 1
    assert "StorageFailed" in run.output
    assert "cannot be written" in run.output
