"""The local driver publishes a winner only if it meets spec.gate."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest

import replay_programs
from support.compiles import ROOT, Case, LocalRun, run_local

CASE = Case("", parameters={"num_candidate_programs": 2, "max_labeled_demos": 4}, program="Two", validation=24)
NO = {"minImprovement": 99}


DATA = ROOT / "examples" / "triage" / "data"
PRICE = {"prompt": 2.0, "completion": 8.0}


def gated(url: str, case: Case = CASE, /, **gate: Any) -> dict[str, Any]:
    manifest = case.manifest(url)
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


def test_a_winner_that_costs_too_much_in_use_is_refused(providers: Any, tmp_path: Path) -> None:
    """Its cost is that of its own calls as stock DSPy makes them, whether or not this run has paid for them."""
    provider, artifact = providers(1), tmp_path / "journal" / "artifact"
    judged = replace(CASE, metric="judged")

    def run(usd: float) -> LocalRun:
        manifest = gated(provider.url, judged, minImprovement=-100, maxCostUSD=usd)
        manifest["spec"]["models"]["student"]["price"] = PRICE
        return run_local(manifest, tmp_path)

    first = run(100)
    assert first.status == 0, first.output
    winner = replay_programs.Two()
    winner.load(artifact / "program.json")
    examples = [json.loads(line) for line in (DATA / "validation.jsonl").read_text().splitlines()[: judged.validation]]
    provider.reset()
    with dspy.context(lm=dspy.LM("openai/small", api_base=provider.url, api_key="none", cache=False)):
        for example in examples:
            winner(ticket=example["ticket"])
    asked, count = provider.stats(), len(examples)
    cost = first.report["costs"]["winner"]
    assert cost["calls"] == asked["requests"] / count
    assert cost["promptTokens"] == pytest.approx(asked["prompt_tokens"] / count)
    assert cost["completionTokens"] == pytest.approx(asked["completion_tokens"] / count)
    usd = (asked["prompt_tokens"] * PRICE["prompt"] + asked["completion_tokens"] * PRICE["completion"]) / 1000 / count
    assert cost["usd"] == pytest.approx(usd)

    provider.reset()
    second = run(usd * 0.999)
    assert second.status == 0, second.output
    assert provider.stats()["requests"] == 0
    refused = json.loads((tmp_path / "journal" / "refused" / "report.json").read_text())
    assert f"it costs {usd:.4f} USD" in refused["refused"][0]
    assert refused["costs"] == first.report["costs"]


def test_a_gate_on_the_cost_needs_prices_before_any_call(providers: Any, tmp_path: Path) -> None:
    provider = providers(1)
    provider.reset()
    run = run_local(gated(provider.url, maxCostUSD=1), tmp_path)
    assert run.status != 0
    assert "gate.maxCostUSD is set, and DSPy's list has no price" in " ".join(run.output.split())
    assert provider.stats()["requests"] == 0
