"""A trainer of the user trains the model. The simulated one writes an adapter that the simulated provider loads."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, LocalRun, start_local

ROWS = {"min_traces": 10, "min_examples": 20}
COMMAND = ["sh", "-c", "echo trained >> trained.log; exec python -m simulated_provider.trainer"]


def case(url: str, folder: Path, load: bool = True, **parameters: Any) -> Case:
    serving: dict[str, Any] = {"endpoint": url}
    if load:
        serving |= {"load": "vllm", "folder": str(folder / "journal" / "models")}
    trainer = {
        "command": COMMAND,
        "base": {"name": "small", "revision": "0" * 40},
        "parameters": parameters,
        "output": {"persistentVolumeClaim": {"claimName": "adapters"}},
        "serving": serving,
    }
    finetune = {"epochs": 2, "trainingPrice": 1.0, "trainer": trainer}
    return Case("", "bootstrapFinetune", ROWS, train=40, teacher=True, finetune=finetune)


def trainings(folder: Path) -> int:
    found = folder / "trained.log"
    return len(found.read_text().splitlines()) if found.exists() else 0


def test_a_trainer_gets_the_rows_of_a_job_and_the_server_loads_its_adapter(providers: Any, tmp_path: Path) -> None:
    provider = providers(27)
    ours = case(provider.url, tmp_path).swarm(provider, tmp_path)
    assert ours.status == 0, ours.output
    assert provider.tuning()["jobs"] == []
    [tuned] = ours.report["tuned"]
    weights = tuned["weights"]
    name = weights["place"].removeprefix("pvc://adapters/")
    assert tuned["model"] == f"openai/{name}"
    assert (weights["kind"], weights["revision"]) == ("adapter", "0" * 40)
    folder = ours.journal / "models" / name
    manifest = (folder / "manifest.json").read_bytes()
    assert weights["sha256"] == hashlib.sha256(manifest).hexdigest()
    kept = json.loads(manifest)["files"]
    assert {path: hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in kept} == {
        path: file["sha256"] for path, file in kept.items()
    }
    assert ours.scores["best"] > ours.scores["baseline"]
    assert {state["lm"]["model"] for state in ours.program.values()} == {tuned["model"]}

    hosted = Case("", "bootstrapFinetune", ROWS, train=40, teacher=True).swarm(provider, tmp_path / "hosted")
    assert hosted.status == 0, hosted.output
    [job] = provider.tuning()["jobs"]
    rows = json.loads((folder / "adapter" / "simulated.json").read_text())["rows"]
    assert [{"messages": row} for row in rows] == provider.rows(job["training_file"])


def test_the_same_rows_are_trained_once(providers: Any, tmp_path: Path) -> None:
    provider = providers(28)
    first = case(provider.url, tmp_path).swarm(provider, tmp_path)
    again = case(provider.url, tmp_path).swarm(provider, tmp_path)
    assert (first.status, again.status, again.requests) == (0, 0, 0)
    shutil.rmtree(tmp_path / "journal" / "journal")
    lost = case(provider.url, tmp_path).swarm(provider, tmp_path)
    assert lost.status == 0, lost.output
    assert trainings(tmp_path) == 1, "the result was kept, although its record was lost"
    assert lost.program == first.program


REFUSED = [
    ({"maxLength": 50}, 1, ["TrainerRefused", "rows have more than 50 tokens"]),
    ({"colour": "red"}, 1, ["TrainerRefused", "it knows no parameter colour"]),
    ({"exitCode": 3}, 3, ["AttemptsExhausted", "the trainer has ended with exit code 3"]),
]


@pytest.mark.parametrize(("parameters", "attempts", "told"), REFUSED)
def test_a_trainer_that_refuses_or_fails_ends_the_run(
    providers: Any, tmp_path: Path, parameters: dict[str, Any], attempts: int, told: list[str]
) -> None:
    provider = providers(29)
    ours = case(provider.url, tmp_path, **parameters).swarm(provider, tmp_path)
    assert ours.status != 0
    assert [word for word in told if word not in ours.output] == [], ours.output
    assert trainings(tmp_path) == attempts
    assert [*(ours.journal / "models").rglob("manifest.json")] == []


def test_a_run_waits_until_a_server_has_its_model(providers: Any, tmp_path: Path) -> None:
    provider = providers(30)
    process = start_local(case(provider.url, tmp_path, load=False).manifest(provider.url), tmp_path)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("waits until"):
            break
    [folder] = (tmp_path / "journal" / "models").iterdir()
    assert f"does not have the model {folder.name} yet" in "".join(lines)
    provider.load_adapter(folder.name, folder / "adapter")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert LocalRun(0, output, tmp_path / "journal").scores["best"] > 0
