"""With spec.drift, a run asks the published program some examples anew, and says whether it scores worse."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from replay.test_published import MIDDLING, program, report
from simulated_provider.testing import running_provider
from support.compiles import KNOWLEDGE, Case, LocalRun, counted, run_local
from testbed.shell import free_port

SAMPLE = 22


def run(case: Case, provider: Any, folder: Path, *, drift: bool = True) -> LocalRun:
    manifest = case.manifest(provider.url)
    if drift:
        manifest["spec"]["drift"] = {"sample": SAMPLE}
    with counted(provider) as requests:
        done = run_local(manifest, folder)
    assert done.status == 0, done.output
    return replace(done, requests=requests[0])


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def model(port: int, capability: float, **options: Any) -> Iterator[Any]:
    """Runs a provider whose model `small` is as capable as that."""
    with running_provider(port=port, seed=3, model={"small": capability}, **options) as provider:
        yield provider


def test_a_model_that_changes_behind_its_name_is_told_and_costs_the_sample_only(port: int, tmp_path: Path) -> None:
    with model(port, 0.9, knowledge=KNOWLEDGE) as provider:
        first = report(run(MIDDLING, provider, tmp_path, drift=False))
        same = run(MIDDLING, provider, tmp_path)
    assert same.requests == 2 * SAMPLE, "the program makes two calls"
    # The programs of these tests send a rollout's number as seed, so a few answers differ, as those of a real model do.
    assert abs(report(same)["drift"]["difference"]) < 10
    assert report(same)["drift"]["verdict"] != "Worse"
    assert report(same)["scores"] == first["scores"]
    with model(port, 0.0) as provider:  # it knows nothing
        changed = run(replace(MIDDLING, validation=23), provider, tmp_path)
    found = report(changed)
    assert changed.requests == 2 * SAMPLE, "all else is in the journal"
    assert (found["drift"]["verdict"], found["drift"]["examples"]) == ("Worse", SAMPLE)
    assert program(changed) == program(same), "the compile is the same"
    text = (changed.journal / "artifact" / "report.md").read_text(encoding="utf-8")
    assert "**It scores worse: the model has probably changed behind its name.**" in text


def test_a_sample_that_was_never_asked_before_is_not_compared(port: int, tmp_path: Path) -> None:
    with model(port, 0.9, knowledge=KNOWLEDGE) as provider:
        run(MIDDLING, provider, tmp_path, drift=False)
        other = run(replace(MIDDLING, client="litellm_proxy"), provider, tmp_path)
    [note] = [text for text in other.report["notes"] if "drift" in text]
    assert note.startswith("spec.drift compares nothing in this run: no earlier run has asked")
    assert other.report.get("drift") is None


def test_a_program_whose_code_has_changed_is_not_compared(port: int, tmp_path: Path) -> None:
    with model(port, 0.9, knowledge=KNOWLEDGE) as provider:
        run(replace(MIDDLING, program="One"), provider, tmp_path, drift=False)
        done = run(MIDDLING, provider, tmp_path)
    [note] = [text for text in done.report["notes"] if "drift" in text]
    assert note.endswith("the program's code no longer fits the published program.")


def test_a_first_run_says_that_nothing_is_asked_anew(providers: Any, tmp_path: Path) -> None:
    done = run(MIDDLING, providers(3), tmp_path)
    [note] = done.report["notes"]
    assert note == (
        "spec.drift asks for the published program, and this Compilation had published none when the run began: "
        "nothing is asked anew."
    )
    assert done.report.get("drift") is None
