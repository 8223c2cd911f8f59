"""A report counts the answers that DSPy could not read, and has the times that the provider took, for each program."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from support.compiles import Case, run_local

CASE = Case("", parameters={"num_candidate_programs": 2, "max_labeled_demos": 4}, train=12, validation=16)


def test_answers_that_cannot_be_read_are_counted_and_a_run_that_asks_nothing_has_the_same_figures(
    providers: Any, tmp_path: Path
) -> None:
    provider = providers(3)
    provider.set_faults(malformed_rate=0.6)
    first = run_local(CASE.manifest(provider.url), tmp_path)
    assert first.status == 0, first.output
    for cost in first.report["costs"].values():
        assert round(cost["calls"] * cost["examples"]) == cost["examples"] + cost["repeated"]
        assert 0 < cost["unread"] < cost["repeated"]
        assert 0 < cost["p50"] <= cost["p95"]
    text = (first.journal / "artifact" / "report.md").read_text(encoding="utf-8")
    assert f"| answers that could not be read, in all | {first.report['costs']['baseline']['unread']} |" in text
    assert "LM calls that asked again, in all: baseline " in first.output
    manifest = CASE.manifest(provider.url)
    manifest["spec"]["gate"] = {"minImprovement": -100}
    again = run_local(manifest, tmp_path)
    assert (again.status, again.calls) == (0, 0), again.output
    assert again.report["costs"] == first.report["costs"]


def test_an_example_that_runs_again_with_known_answers_has_the_times_of_these(providers: Any, tmp_path: Path) -> None:
    """Another metric has cells of its own. The program's answers come from the earlier run."""
    provider = providers(3)
    provider.set_faults(malformed_rate=0.2)
    first, other = (
        run_local(replace(CASE, metric=metric).manifest(provider.url), tmp_path).report["costs"]["baseline"]
        for metric in ("exact", "partial")
    )
    assert other == first
    assert first["repeated"] > 0
