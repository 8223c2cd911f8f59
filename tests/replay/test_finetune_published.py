"""Later runs compare with a published program that runs on its tuned model."""

from pathlib import Path
from typing import Any

from support.compiles import Case, LocalRun, counted, run_local

ROWS = {"min_traces": 10, "min_examples": 20}
TUNED = Case("", "bootstrapFinetune", ROWS, train=40, teacher=True)
PUBLISHED = {"against": "published"}


def run(case: Case, provider: Any, folder: Path, **more: Any) -> tuple[LocalRun, int]:
    manifest = case.manifest(provider.url)
    manifest["spec"] |= more
    with counted(provider) as requests:
        done = run_local(manifest, folder)
    return done, requests[0]


def test_a_tuned_program_is_compared_with_the_tuned_program_that_is_published(providers: Any, tmp_path: Path) -> None:
    provider = providers(31)
    first, _ = run(TUNED, provider, tmp_path)
    assert first.status == 0, first.output
    best, jobs = first.report["scores"]["best"], len(provider.tuning()["jobs"])
    assert best > first.report["scores"]["baseline"]
    again, requests = run(TUNED, provider, tmp_path, gate=PUBLISHED)
    assert "against the published program" in again.output
    assert requests == 0, "the journal has the tuned model's answers"
    assert len(provider.tuning()["jobs"]) == jobs
    assert (again.report["against"], again.report["published"]) == ("published", best)


def test_the_drift_of_a_tuned_model_is_asked_of_that_model(providers: Any, tmp_path: Path) -> None:
    provider = providers(31)
    first, _ = run(TUNED, provider, tmp_path)
    assert first.status == 0, first.output
    [tuned] = first.report["tuned"]
    again, requests = run(TUNED, provider, tmp_path, drift={"sample": 10})
    assert again.status == 0, again.output
    assert again.report["drift"] is not None
    asked = provider.stats()["by_model"]
    assert set(asked) == {tuned["model"].partition("/")[2]}
    assert requests == sum(asked.values())


def test_a_spec_without_its_fine_tune_cannot_compare_with_a_tuned_program(providers: Any, tmp_path: Path) -> None:
    provider = providers(31)
    first, _ = run(TUNED, provider, tmp_path)
    assert first.status == 0, first.output
    plain = Case("", "labeledFewShot", {"k": 1}, train=40, teacher=True)
    done, requests = run(plain, provider, tmp_path, gate=PUBLISHED)
    assert (done.status, requests) == (1, 0)
    assert "which no field of spec.models names" in done.output
    assert "put that run's spec.finetune back. Otherwise remove spec.gate.against." in " ".join(done.output.split())
