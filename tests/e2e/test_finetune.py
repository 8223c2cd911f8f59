"""A fine-tune takes hours, keeps no pod, and is paid for once."""

import json
import time
from collections.abc import Iterator

import pytest
import yaml

from simulated_provider.server import Settings
from support.cluster import (
    OPERATOR_NAMESPACE,
    OPERATOR_PODS,
    POLL_SECONDS,
    ROOT,
    Manifest,
    Namespace,
    condition,
    is_over,
)
from support.e2e import triage

HOURS = 12 * 3600
FINETUNE = {"epochs": 3, "trainingPrice": 8.0, "suffix": "triage"}


def waits(compilation: Manifest) -> bool:
    found = condition(compilation, "Ready")
    return found is not None and found["reason"] == "WaitingForJob"


def unfinished(namespace: Namespace, run_id: str) -> list[str]:
    """Returns the names of a run's pods that have not ended."""
    found = namespace.list("pods", **{"dspy-swarm.dev/run": run_id})
    return [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] in ("Pending", "Running")]


def test_a_fine_tune_of_hours_survives_the_operator_and_its_model_is_published(namespace: Namespace) -> None:
    namespace.reset_provider()
    namespace.set_tuning(queue=HOURS, training=600)
    rows = {"minExamples": 10, "minTraces": 10}
    namespace.apply(triage("tuned", optimizer={"bootstrapFinetune": rows}, finetune=FINETUNE))

    waiting = namespace.wait_for("tuned", waits)
    print(namespace.kubectl("get", "dspyc", "tuned"))
    print(condition(waiting, "Ready")["message"])  # type: ignore[index]
    run_id = waiting["status"]["runId"]
    deadline = time.monotonic() + 60
    while alive := unfinished(namespace, run_id):  # the kubelet reports the end of a pod after that of its container
        assert time.monotonic() < deadline, alive
        time.sleep(POLL_SECONDS)
    calls = namespace.requests()

    at_once = ("--grace-period=0", "--force")
    namespace.cluster.kubectl("--namespace", OPERATOR_NAMESPACE, "delete", "pods", "-l", OPERATOR_PODS, *at_once)
    namespace.cluster.kubectl("--namespace", OPERATOR_NAMESPACE, "rollout", "status", "deployment", "--timeout=120s")
    assert namespace.requests() == calls
    namespace.advance_provider(HOURS + 1200)

    ended = namespace.wait_for("tuned", is_over)
    assert condition(ended, "Ready")["reason"] == "Published", ended["status"]  # type: ignore[index]
    made = namespace.provider("/admin/fine_tuning")
    assert (len(made["files"]), len(made["jobs"])) == (1, 1)
    artifact = namespace.get("configmap", "tuned-artifact")["data"]
    [model] = json.loads(artifact["report.json"])["tuned"]
    assert model["model"] == f"openai/{made['jobs'][0]['fine_tuned_model']}"
    assert model["model"] in artifact["program.json"]
    namespace.set_tuning()


@pytest.fixture
def apart(namespace: Namespace) -> Iterator[Namespace]:
    """Yields a namespace in which the large model is much better than the small one."""
    usual = Settings().models
    namespace.reset_provider()
    namespace.set_tuning(queue=6, training=6)
    namespace.add_models(small=0.05, large=0.95)
    yield namespace
    namespace.add_models(**usual)
    namespace.set_tuning()


def test_the_whole_road_to_a_small_model_ends_with_a_table_of_four_programs(apart: Namespace) -> None:
    """The example of docs/distillation.md, as it is."""
    namespace = apart
    example = yaml.safe_load((ROOT / "examples" / "distill" / "whole-road.yaml").read_text(encoding="utf-8"))
    name = example["metadata"]["name"]
    namespace.apply(example)
    ended = namespace.wait_for(name, is_over)
    assert condition(ended, "Ready")["reason"] == "Published", ended["status"]  # type: ignore[index]
    artifact = namespace.get("configmap", f"{name}-artifact")["data"]
    report = json.loads(artifact["report.json"])
    print(artifact["report.md"])
    assert "| student | student with the teacher's prompts | teacher | tuned |" in artifact["report.md"]
    assert report["scores"]["testBaseline"] < min(report["prompted"], report["scores"]["testWinner"])
    assert report["retention"]["verdict"] == "Retained"
    assert "The winner saves 9" in artifact["report.md"]
    assert set(report["costs"]) >= {"baseline", "teacher", "prompted", "winner"}
    namespace.kubectl("delete", "dspyc", name)
