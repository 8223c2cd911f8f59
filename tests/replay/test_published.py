"""A run may start from the program that is published when it begins, and compare its winner with that program."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, LocalRun, counted, run_local

BEST = Case("", parameters={"num_candidate_programs": 2, "max_labeled_demos": 4}, program="Two", validation=24)
WEAK = replace(BEST, optimizer="labeledFewShot", parameters={"k": 1})
MIDDLING = replace(BEST, optimizer="labeledFewShot", parameters={"k": 6})
PUBLISHED = {"against": "published"}


def run(case: Case, provider: Any, folder: Path, gate: dict[str, Any] | None = None, starts: bool = False) -> LocalRun:
    """Runs the local driver in a folder, which may have a journal.

    Args:
        starts: whether the student starts from the published program.
    """
    manifest = case.manifest(provider.url)
    if gate is not None:
        manifest["spec"]["gate"] = gate
    if starts:
        manifest["spec"]["program"]["state"] = {"published": True}
    with counted(provider) as requests:
        done = run_local(manifest, folder)
    return replace(done, requests=requests[0])


def report(done: LocalRun, folder: str = "artifact") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.journal / folder / "report.json").read_text(encoding="utf-8"))
    return found


def program(done: LocalRun, folder: str = "artifact") -> bytes:
    return (done.journal / folder / "program.json").read_bytes()


def test_a_winner_that_beats_only_the_baseline_does_not_replace_the_published_program(
    providers: Any, tmp_path: Path
) -> None:
    first = run(BEST, providers(3), tmp_path / "a")
    best, before = report(first)["scores"]["best"], program(first)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    by_baseline = run(MIDDLING, providers(3), tmp_path / "b", {})
    assert by_baseline.status == 0, by_baseline.output
    assert report(by_baseline)["comparison"]["verdict"] == "Better"

    done = run(MIDDLING, providers(3), tmp_path / "a", PUBLISHED)
    assert done.status == 0, done.output
    found = report(done, "refused")
    assert (found["against"], found["published"]) == ("published", best)
    assert found["scores"] == report(by_baseline)["scores"], "the published program is a program of its own"
    assert found["comparison"]["difference"] == pytest.approx(found["scores"]["best"] - best, abs=0.01)
    assert found["comparison"]["difference"] < 0
    assert "on the validation set, against the published program must begin above 0" in found["refused"][0]
    assert f"against the published program: {best}" in done.output
    assert program(done) == before
    assert program(done, "refused") == program(by_baseline), "the gate does not change the winner"
    assert done.requests == by_baseline.requests, "the journal has the answers that the published program got"


def test_a_winner_that_is_better_than_the_published_program_replaces_it(providers: Any, tmp_path: Path) -> None:
    first = run(WEAK, providers(3), tmp_path / "a")
    weak, first_run = report(first)["scores"]["best"], report(first)["origin"]["runId"]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    plain = run(BEST, providers(3), tmp_path / "b")
    done = run(BEST, providers(3), tmp_path / "a", PUBLISHED)
    assert done.status == 0, done.output
    found = report(done)
    assert (found["against"], found["published"], found["comparison"]["verdict"]) == ("published", weak, "Better")
    [scores] = found["byExample"]
    flips = [new - old for old, new in zip(scores["published"], scores["winner"], strict=True)]
    assert sum(flip > 0 for flip in flips) == found["comparison"]["improved"]
    assert (done.journal / "artifact" / "report.md").read_text().startswith("# Compiled program against the published")
    assert (program(done), found["candidates"]) == (program(plain), report(plain)["candidates"])

    again = run(BEST, providers(3), tmp_path / "a", PUBLISHED)
    assert (again.status, again.requests) == (0, 0)
    assert report(again)["published"] == weak, "the run keeps the program with which it began"
    for found in report(done), report(again):
        assert found["publishedBy"] == first_run


def test_the_published_program_itself_passes_the_gate(providers: Any, tmp_path: Path) -> None:
    """After a failed push to git, the next run finds the same winner, and its artifact must get there."""
    first = run(BEST, providers(3), tmp_path / "a")
    again = run(replace(BEST, validation=23), providers(3), tmp_path / "a", PUBLISHED)
    assert program(again) == program(first), "another set of examples, and the same winner"
    assert again.status == 0, again.output
    assert report(again)["comparison"]["verdict"] == "Same"
    assert "refused" not in report(again) or not report(again)["refused"]


def test_a_run_starts_from_the_published_winner_as_stock_dspy_does(providers: Any, tmp_path: Path) -> None:
    first = run(MIDDLING, providers(3), tmp_path)
    state = tmp_path / "state.json"
    state.write_bytes(program(first))
    before = report(first)
    done = run(BEST, providers(3), tmp_path, starts=True)
    stock = replace(BEST, state=str(state)).stock(providers(3))
    assert done.status == 0, done.output
    assert (done.program, done.ranking, done.scores) == (stock.program, stock.ranking, stock.scores)
    assert done.scores["baseline"] == before["scores"]["best"]
    assert done.report["notes"] == []
    assert done.report["publishedBy"] == before["origin"]["runId"]
    assert done.report["origin"]["program"] != before["origin"]["program"], "the binding covers the published program"


def test_a_first_run_says_that_there_is_no_published_program(providers: Any, tmp_path: Path) -> None:
    done = run(BEST, providers(3), tmp_path / "a", PUBLISHED, starts=True)
    plain = run(BEST, providers(3), tmp_path / "b", {})
    assert done.status == 0, done.output
    assert program(done) == program(plain)
    state, gate = done.report["notes"]
    assert state.endswith("had published none when the run began: the student starts as its code makes it.")
    assert gate.endswith("had published none when the run began: the winner is compared with the baseline.")
    assert (done.report["against"], done.report.get("published")) == ("baseline", None)
    assert done.report["comparison"]["difference"] == plain.report["comparison"]["difference"]


@pytest.mark.parametrize("starts", [False, True], ids=["the gate", "the student"])
def test_a_published_program_that_does_not_fit_the_code_ends_the_run(
    providers: Any, tmp_path: Path, starts: bool
) -> None:
    run(replace(WEAK, program="One"), providers(3), tmp_path)
    done = run(WEAK, providers(3), tmp_path, None if starts else PUBLISHED, starts)
    assert (done.status, done.requests) == (1, 0)
    assert "ProgramLoadFailed" in done.output
    assert "published.json cannot be loaded" in done.output
    assert ("Write against: baseline for this run" in done.output) is not starts
    assert ("Remove program.state for this run" in done.output) is starts
