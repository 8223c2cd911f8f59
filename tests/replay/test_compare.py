"""With spec.compare, a run shows what a new model changes. It asks the model of today nothing that was asked before."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from replay.test_published import BEST, MIDDLING, PUBLISHED, program, report
from support.compiles import Case, LocalRun, counted, run_local

COMPARE = {"currentModel": "today"}


def run(case: Case, provider: Any, folder: Path, *, compares: bool = True, gate: dict[str, Any] | None = None) -> Any:
    """Runs the compile for a new model, openai/large. Returns what it has done, and the number of requests."""
    manifest = case.manifest(provider.url)
    models = manifest["spec"]["models"]
    models["today"] = {**models["student"]}
    models["student"] = {**models["student"], "model": "openai/large"}
    manifest["spec"] |= {"compare": COMPARE} if compares else {}
    manifest["spec"] |= {"gate": gate} if gate is not None else {}
    with counted(provider) as requests:
        done = run_local(manifest, folder)
    assert done.status == 0, done.output
    return done, requests[0]


def before(case: Case, provider: Any, folder: Path) -> LocalRun:
    done = run_local(case.manifest(provider.url), folder)
    assert done.status == 0, done.output
    return done


def test_a_report_shows_the_published_program_on_both_models_without_asking_todays_again(
    providers: Any, tmp_path: Path
) -> None:
    first = report(before(MIDDLING, providers(3), tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    plain, paid = run(BEST, providers(3), tmp_path / "b", compares=False, gate={**PUBLISHED, "minImprovement": -100})
    done, requests = run(BEST, providers(3), tmp_path / "a")
    found = report(done)
    assert requests == paid, "today's model was asked nothing"
    assert (found["currentModel"], found["origin"]["models"]["student"]) == ("openai/small", "openai/large")
    assert found["published"] == first["scores"]["best"], "on the model of today"
    assert found["switched"] == report(plain)["published"], "on the new model"
    assert program(done) == program(plain), "the comparison does not change the winner"
    for name, score in (("comparison", found["scores"]["best"]), ("switch", found["switched"])):
        assert found[name]["difference"] == pytest.approx(score - found["published"], abs=0.01)
    assert {*found["costs"]} == {"baseline", "published", "switched", "winner"}
    text = (done.journal / "artifact" / "report.md").read_text(encoding="utf-8")
    assert "## From `openai/small` to `openai/large`" in text
    print(text[:1500])


def test_the_gate_compares_with_the_model_of_today(providers: Any, tmp_path: Path) -> None:
    before(BEST, providers(3), tmp_path)
    published = program_of(tmp_path)
    done, _ = run(MIDDLING, providers(3), tmp_path, gate={"minImprovement": 99})
    found = report(done, "refused")
    assert "against the published program on openai/small must begin above 99" in found["refused"][0]
    assert program_of(tmp_path) == published


def test_a_first_run_says_that_it_compares_no_models(providers: Any, tmp_path: Path) -> None:
    done, _ = run(MIDDLING, providers(3), tmp_path)
    [note] = done.report["notes"]
    assert note.startswith("spec.compare asks for the published program, and ")
    assert done.report.get("currentModel", "") == ""
    assert done.report["against"] == "baseline"


def program_of(folder: Path) -> bytes:
    return (folder / "journal" / "artifact" / "program.json").read_bytes()
