"""After a change of the spec, a run pays only for new work, and has the winner of a run in an empty folder."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.compiles import Case, LocalRun, run_file
from support.sampling import sample

BASE = Case("", parameters={"num_candidate_programs": 3, "max_labeled_demos": 6}, validation=24)
SWARM = {"speculation": 0, "pruning": "off"}


@dataclass(frozen=True)
class Change:
    """A change of the spec between two runs.

    Attributes:
        cells: if true, the second run reuses results of cells, not only LM calls.
        new: if true, the change makes new work necessary.
    """

    case: Case = BASE
    swarm: Mapping[str, Any] | None = None
    cells: bool = True
    new: bool = True


CHANGES: dict[str, Change] = {
    "more candidates": Change(replace(BASE, parameters={**BASE.parameters, "num_candidate_programs": 5})),
    "fewer candidates": Change(replace(BASE, parameters={**BASE.parameters, "num_candidate_programs": 2}), new=False),
    "another optimizer": Change(replace(BASE, optimizer="labeledFewShot", parameters={"k": 4})),
    "other threads": Change(swarm={"threadsPerPod": 3}, new=False),
    "pruning": Change(swarm={"pruning": "exact"}, new=False),
    "another metric": Change(replace(BASE, metric="partial"), cells=False, new=False),
    "more examples": Change(replace(BASE, validation=32), cells=False),
    "a program that asks twice": Change(replace(BASE, program="Twice"), cells=False),
}


def run(
    case: Case,
    provider: Any,
    folder: Path,
    *arguments: str,
    model: str = "openai/small",
    env: Mapping[str, str] | None = None,
    **swarm: Any,
) -> LocalRun:
    """Runs the local driver in a folder with its own journals.

    Args:
        env: environment variables of the local driver.
    """
    folder.mkdir(exist_ok=True)
    manifest = case.manifest(provider.url, **{**SWARM, **swarm})
    manifest["spec"]["models"]["student"]["model"] = model
    (folder / "compilation.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return run_file(folder, provider, *arguments, **(env or {}))


@pytest.fixture(scope="module")
def before(providers: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LocalRun]:
    """Returns a folder with the files and the journal of a first run."""
    folder = tmp_path_factory.mktemp("reuse") / "first"
    first = run(BASE, providers(1), folder)
    assert first.status == 0, first.output
    assert first.report["reused"] == {"cells": 0, "calls": 0}
    return folder, first


@pytest.mark.parametrize("what", sample([*CHANGES], 2))
def test_a_run_after_a_change_of_the_spec_pays_only_for_new_work(
    what: str, before: tuple[Path, LocalRun], providers: Any, tmp_path: Path
) -> None:
    change, provider = CHANGES[what], providers(1)
    shutil.copytree(before[0], tmp_path / "changed")
    changed = run(change.case, provider, tmp_path / "changed", **(change.swarm or {}))
    fresh = run(change.case, provider, tmp_path / "fresh", **(change.swarm or {}))

    assert changed.status == fresh.status == 0, changed.output
    assert (changed.program, changed.ranking, changed.scores) == (fresh.program, fresh.ranking, fresh.scores)
    reused = changed.report["reused"]
    assert reused["calls"] > 0
    assert (reused["cells"] > 0) is change.cells, reused
    assert (changed.requests > 0) is change.new
    assert changed.requests + reused["calls"] == fresh.requests
    assert changed.calls == changed.requests
    assert f"reused: {reused['calls']:,} LM calls" in changed.output


def test_a_run_with_results_of_an_earlier_run_blames_no_hash_seed(
    before: tuple[Path, LocalRun], providers: Any, tmp_path: Path
) -> None:
    """The plan's twin has another hash seed, and must use the same results of the earlier run."""
    folder = shutil.copytree(before[0], tmp_path / "folder")
    second = run(BASE, providers(1), folder, speculation=4, env={"SWARM_TWIN": "1"})
    assert (second.status, second.requests) == (0, 0), second.output
    assert second.report["notes"] == before[1].report["notes"]


def test_results_that_an_earlier_run_reused_from_another_run_are_kept(
    before: tuple[Path, LocalRun], providers: Any, tmp_path: Path
) -> None:
    provider, folder = providers(1), shutil.copytree(before[0], tmp_path / "folder")
    assert run(BASE, provider, folder, threadsPerPod=3).requests == 0
    third = run(BASE, provider, folder, threadsPerPod=2)
    assert (third.status, third.requests) == (0, 0), third.output


def test_a_run_with_a_depot_uses_an_earlier_journal_that_became_too_large(
    before: tuple[Path, LocalRun], providers: Any, tmp_path: Path
) -> None:
    provider, folder, first = providers(1), shutil.copytree(before[0], tmp_path / "folder"), before[1]
    second = run(BASE, provider, folder, env={"SWARM_DEPOT": f"file://{tmp_path}/depot"}, threadsPerPod=3)
    assert (second.status, second.requests) == (0, 0), second.output
    assert (second.program, second.ranking) == (first.program, first.ranking)
    wider = replace(BASE, parameters={**BASE.parameters, "num_candidate_programs": 5})
    third = run(wider, provider, folder, env={"SWARM_DEPOT": f"file://{tmp_path}/depot"})
    assert third.status == 0, third.output
    assert 0 < third.requests < first.requests
    assert [*(tmp_path / "depot").iterdir()], "what is new is there"


@pytest.mark.parametrize("why", ["another model", "a journal of its own"])
def test_results_that_cannot_be_reused_are_paid_for_again(
    why: str, before: tuple[Path, LocalRun], providers: Any, tmp_path: Path
) -> None:
    provider, folder, first = providers(1), shutil.copytree(before[0], tmp_path / "folder"), before[1]
    if why == "another model":
        second = run(BASE, provider, folder, model="openai/large")
    else:
        second = run(BASE, provider, folder, "--journal", "mine", threadsPerPod=3)
    assert second.status == 0, second.output
    assert second.report["reused"] == {"cells": 0, "calls": 0}
    assert second.requests >= 0.9 * first.requests
