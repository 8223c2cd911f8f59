"""The local driver publishes a winner only if it meets spec.gate."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, run_local

CASE = Case("", parameters={"num_candidate_programs": 2, "max_labeled_demos": 4}, program="Two", validation=24)
NO = {"minImprovement": 99}


def gated(url: str, **gate: Any) -> dict[str, Any]:
    manifest = CASE.manifest(url)
    manifest["spec"]["gate"] = gate
    return manifest


@pytest.mark.parametrize(
    ("gate", "status", "folder"),
    [({}, 0, "artifact"), (NO, 1, "refused")],
    ids=["a better winner", "a winner that is too little better, and no earlier artifact"],
)
def test_a_winner_is_published_only_if_it_meets_the_gate(
    providers: Any, tmp_path: Path, gate: dict[str, Any], status: int, folder: str
) -> None:
    run = run_local(gated(providers(1).url, **gate), tmp_path)
    assert run.status == status, run.output
    found = tmp_path / "journal" / folder
    assert sorted(path.name for path in found.iterdir()) == ["program.json", "report.json", "report.md"]
    report = json.loads((found / "report.json").read_text())
    assert report["comparison"]["verdict"] == "Better"
    is_refused = folder == "refused"
    assert bool(report["refused"]) == is_refused
    assert ("must begin above 99 (gate.minImprovement)" in " ".join(run.output.split())) == is_refused
    assert ("**Not published**" in (found / "report.md").read_text()) == is_refused
    assert (tmp_path / "journal" / "artifact" / "program.json").exists() != is_refused


@pytest.mark.parametrize(("on_failure", "status"), [("keep", 0), ("fail", 1)])
def test_a_refused_winner_leaves_the_earlier_artifact_and_costs_no_lm_call(
    providers: Any, tmp_path: Path, on_failure: str, status: int
) -> None:
    """A changed gate begins a new run, which reuses everything."""
    provider, artifact = providers(1), tmp_path / "journal" / "artifact" / "report.json"
    assert run_local(gated(provider.url), tmp_path).status == 0
    before = artifact.read_bytes()
    provider.reset()
    run = run_local(gated(provider.url, **NO, onFailure=on_failure), tmp_path)
    assert run.status == status, run.output
    assert provider.stats()["requests"] == 0
    assert artifact.read_bytes() == before
    assert (tmp_path / "journal" / "refused" / "report.md").exists()
