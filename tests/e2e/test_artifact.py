"""A user applies a Compilation and gets the artifact of stock DSPy."""

import json
from pathlib import Path
from typing import Any

import dspy
import pytest
import yaml

from support.cluster import Namespace, config_map, is_over, is_true, secret
from support.compiles import StockRun
from support.e2e import API_KEY, TRIAGE, Outputs, catch, told, triage
from swarm_wire.records import RecordKind
from swarm_worker.local import pack
from triage import Triage


@pytest.fixture(scope="module")
def outputs(namespace: Namespace) -> Outputs:
    return Outputs(namespace)


def packed(folder: Path, name: str) -> Any:
    """Returns the ConfigMap that `pack` prints for a folder with the example as a package, and with its data."""
    for path in ("app/inner", "data"):
        (folder / path).mkdir(parents=True)
    (folder / "app" / "inner" / "triage.py").write_text((TRIAGE / "triage.py").read_text(encoding="utf-8"))
    for file in (TRIAGE / "data").glob("*.jsonl"):
        (folder / "data" / file.name).write_text(file.read_text(encoding="utf-8"))
    return yaml.safe_load(pack.manifest(name, dict(pack.collected(folder)), folder))


@pytest.fixture(scope="module")
def compiled(namespace: Namespace, outputs: Outputs, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Compiles a package from an archive. Other end-to-end tests have a ConfigMap with a key for each file."""
    namespace.reset_provider()
    source = {"configMap": {"name": "whole-source"}}
    namespace.apply(
        packed(tmp_path_factory.mktemp("mine"), "whole-source"),
        triage(
            "whole",
            program={"entrypoint": "app.inner.triage:Triage", "source": source},
            metric={"entrypoint": "app.inner.triage:metric"},
            data={
                "inputs": ["ticket"],
                "train": {"path": "data/train.jsonl", "limit": 24},
                "validation": {"path": "data/validation.jsonl", "limit": 16},
            },
        ),
    )

    def over(compilation: Any) -> bool:
        outputs.look()
        return is_over(compilation)

    compilation = namespace.wait_for("whole", over)
    return compilation, namespace.get("configmap", "whole-artifact")


def program(artifact: Any) -> Any:
    found = json.loads(artifact["data"]["program.json"])
    found.pop("metadata")
    return found


def test_the_artifact_is_the_winner_of_stock_dspy(compiled: Any, stock: StockRun) -> None:
    compilation, artifact = compiled
    assert is_true("Ready")(compilation), compilation["status"]
    assert program(artifact) == stock.program
    report = json.loads(artifact["data"]["report.json"])
    assert [candidate["score"] for candidate in report["candidates"]] == stock.ranking


def test_plain_dspy_loads_the_artifact(compiled: Any, tmp_path: Path) -> None:
    _, artifact = compiled
    path = tmp_path / "program.json"
    path.write_text(artifact["data"]["program.json"], encoding="utf-8")
    loaded = Triage()
    loaded.load(str(path))
    assert isinstance(loaded, dspy.Module)
    assert any(predictor.demos for predictor in loaded.predictors())


def test_the_status_of_a_finished_run_shows_scores_artifact_and_calls(namespace: Namespace, compiled: Any) -> None:
    compilation, artifact = compiled
    status, report = compilation["status"], json.loads(artifact["data"]["report.json"])
    assert status["observedGeneration"] == compilation["metadata"]["generation"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"Ready": "True", "Succeeded": "True"}
    assert status["scores"]["best"] == report["scores"]["best"] >= report["scores"]["baseline"]
    assert status["artifact"]["configMap"] == {"name": "whole-artifact"}
    assert status["usage"]["calls"] == report["usage"]["calls"] == namespace.requests()


def test_a_compilation_carries_no_finalizer(compiled: Any) -> None:
    compilation, _ = compiled
    assert not compilation["metadata"].get("finalizers")
    assert not any("kopf" in key for key in compilation["metadata"].get("annotations", {}))


def test_no_object_and_no_log_holds_an_api_key(namespace: Namespace, compiled: Any, outputs: Outputs) -> None:
    everything = told(namespace, outputs)
    assert {RecordKind.RESULT, RecordKind.CALL, RecordKind.PLAN} <= everything.kinds
    assert [found[:200] for found in everything.texts if API_KEY.encode() in found] == []
    # The provider requires the key, so every pod that called it had the key.
    assert namespace.requests() > 0


def test_a_program_that_prints_all_it_knows_leaks_no_secret(namespace: Namespace) -> None:
    """The program prints its environment, and raises an error that contains it and the model's arguments."""
    source = (TRIAGE / "triage.py").read_text(encoding="utf-8")
    told = 'import os; print(os.environ); raise ValueError(f"{dict(os.environ)} {dspy.settings.lm.kwargs}")'
    secrets = {"TOKEN": "canary-of-a-tool-0123", "JUDGE_KEY": "canary-of-the-judge-0123"}
    namespace.apply(secret("tools", secrets))
    env = [{"name": "JUDGE", "valueFrom": {"secretKeyRef": {"name": "tools", "key": "JUDGE_KEY"}}}]
    nosy = source.replace("problem = self.extract(ticket=ticket).problem", told)
    assert nosy != source
    namespace.apply(config_map("nosy-program", {"triage.py": nosy}))
    program = {"entrypoint": "triage:Triage", "source": {"configMap": {"name": "nosy-program"}}}
    namespace.apply(triage("nosy", program=program, env=env, envFrom=[{"secretRef": {"name": "tools"}}]))
    pod = catch(namespace, "nosy", "plan")["metadata"]["name"]
    output = namespace.kubectl("logs", pod, "--follow")
    ended = namespace.wait_for("nosy", is_over)
    assert not is_true("Ready")(ended)
    objects = namespace.kubectl("get", "dspyc,configmaps,events,jobs,pods", "--output", "yaml")
    print(json.dumps(ended["status"]["conditions"], indent=1), output[-2000:])
    assert [key for key in (API_KEY, *secrets.values()) if key in output + objects] == []


def test_no_pod_runs_after_the_end_of_a_run(namespace: Namespace, compiled: Any) -> None:
    compilation, _ = compiled
    run = compilation["status"]["runId"]
    namespace.wait_gone("jobs", **{"dspy-swarm.dev/run": run})
    namespace.wait_gone("pods", **{"dspy-swarm.dev/run": run})


def has_cells(compilation: Any) -> bool:
    return bool(compilation.get("status", {}).get("progress", {}).get("cellsTotal"))


def test_a_deleted_compilation_leaves_no_objects(namespace: Namespace) -> None:
    namespace.apply(triage("deleted", swarm={"pods": 2, "threadsPerPod": 2}))
    compilation = namespace.wait_for("deleted", has_cells)
    label = {"dspy-swarm.dev/run": compilation["status"]["runId"]}
    namespace.kubectl("delete", "dspyc", "deleted", "--timeout=30s")
    for kind in ("jobs", "pods", "configmaps"):
        namespace.wait_gone(kind, **label)
