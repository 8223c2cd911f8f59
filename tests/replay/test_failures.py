"""The report shows the number of failed examples, their cause, its location, and the first of these examples."""

import json
from pathlib import Path
from typing import Any

import pytest

from replay_programs import slips
from support.compiles import PROGRAMS, ROOT, Case, run_local

CASE = Case(
    "", "bootstrapFewShot", {"max_bootstrapped_demos": 2, "max_labeled_demos": 2}, "Slipping", train=12, validation=12
)


def line_of(text: str) -> int:
    lines = (PROGRAMS / "replay_programs.py").read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_summary_and_report_show_failed_examples(providers: Any, tmp_path: Path) -> None:
    stock = CASE.stock(providers(1))
    ours = CASE.swarm(providers(1), tmp_path)
    data = (ROOT / "examples" / "triage" / "data" / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    tickets = [json.loads(line)["ticket"] for line in data[:12]]
    slipping = [number for number, ticket in enumerate(tickets, 1) if slips(ticket)]

    assert (ours.program, ours.scores) == (stock.program, stock.scores)
    failures = ours.report["failures"]
    [group] = failures["groups"]
    assert (failures["failed"], failures["examples"]) == (2 * len(slipping), 36), "baseline, bootstrap, winner"
    assert group["examples"] == failures["failed"] + failures["inBootstraps"]
    assert group["exception"] == "IndexError: list index out of range"
    assert group["place"] == f"replay_programs.py, line {line_of('found.note = ')}"
    assert group["first"].startswith(f"validation example {slipping[0]}: ")
    assert group["traceback"].startswith("Traceback (most recent call last):")
    assert "in forward" in group["traceback"].splitlines()[1], "it begins with the user's own line"

    assert f"failures: {2 * len(slipping)} of 24 examples failed in evaluations and count as 0" in ours.output
    assert f"IndexError: list index out of range ({group['place']}); first: {group['first']}" in ours.output
    assert "tracebacks: " in ours.output


@pytest.mark.parametrize(
    ("teacher", "reason", "where"),
    [
        ({"endpoint": "http://127.0.0.1:9/v1"}, "ProviderUnreachable", "models.*.endpoint"),
        ({"model": "openai/lrge"}, "RequestRefused", "models.*.model"),
        (
            {"model": "openai/large", "parameters": {"body": {"response_format": "none"}}},
            "RequestRefused",
            "models.*.parameters",
        ),
    ],
)
def test_a_refused_teacher_model_ends_the_run_even_if_the_student_answers(
    providers: Any, tmp_path: Path, teacher: dict[str, Any], reason: str, where: str
) -> None:
    case = Case("", "bootstrapFewShot", {"max_bootstrapped_demos": 1, "max_labeled_demos": 1}, train=6, validation=6)
    manifest = case.manifest(providers(1).url)
    manifest["spec"]["models"]["teacher"] = {**manifest["spec"]["models"]["student"], **teacher}
    ours = run_local(manifest, tmp_path)

    assert ours.status == 1, ours.output
    [told] = [line for line in ours.output.splitlines() if line.startswith(reason)]
    assert where in told
    assert "attempt 2" not in ours.output
