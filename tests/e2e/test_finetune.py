"""A fine-tune takes hours, keeps no pod, and is paid for once."""

import json
import time

from support.cluster import OPERATOR_NAMESPACE, OPERATOR_PODS, POLL_SECONDS, Manifest, Namespace, condition, is_over
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
