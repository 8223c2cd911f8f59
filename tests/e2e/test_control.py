"""Users and Kueue suspend a run and resume it."""

import json
import time

import pytest

from support.cluster import Manifest, Namespace, condition
from support.compiles import StockRun
from support.e2e import IN_FLIGHT, THREADS, catch, finish, spend, triage


def suspend(namespace: Namespace, name: str, value: bool) -> None:
    namespace.kubectl("patch", "dspyc", name, "--type=merge", f"--patch={json.dumps({'spec': {'suspend': value}})}")


@pytest.mark.usefixtures("slow")
def test_a_suspended_run_makes_no_lm_call_and_resumes_where_it_stopped(
    namespace: Namespace, stock: StockRun, undisturbed: int
) -> None:
    namespace.apply(triage("suspended"))
    spend(namespace)
    before = namespace.get("dspyc", "suspended")
    suspend(namespace, "suspended", True)
    namespace.wait_gone("jobs", **{"dspy-swarm.dev/run": before["status"]["runId"]})
    namespace.wait_gone("pods", **{"dspy-swarm.dev/run": before["status"]["runId"]})

    paid = namespace.requests()
    told = namespace.wait_for("suspended", lambda found: "no pod runs" in (condition(found, "Ready") or {})["message"])
    print(condition(told, "Ready")["message"])  # type: ignore[index]
    assert {c["type"]: (c["status"], c["reason"]) for c in told["status"]["conditions"]} == {
        "Ready": ("False", "Suspended"),
        "Succeeded": ("Unknown", "Suspended"),
    }
    assert told["status"]["observedGeneration"] == told["metadata"]["generation"]
    time.sleep(3)
    assert namespace.requests() == paid

    suspend(namespace, "suspended", False)
    after = finish(namespace, "suspended", stock)
    assert after["status"]["runId"] == before["status"]["runId"]
    assert namespace.requests() <= undisturbed + IN_FLIGHT


def test_a_compilation_that_is_created_suspended_starts_no_pod(namespace: Namespace) -> None:
    namespace.apply(triage("waiting", suspend=True))
    told = namespace.wait_for("waiting", lambda found: condition(found, "Ready") is not None)
    assert condition(told, "Ready")["reason"] == "Suspended"  # type: ignore[index]
    label = {"dspy-swarm.dev/run": told["status"]["runId"]}
    assert not [*namespace.list("jobs", **label), *namespace.list("configmaps", **label)]


@pytest.mark.usefixtures("slow")
def test_a_suspended_job_with_a_label_of_kueue_loses_only_calls_in_flight(
    namespace: Namespace, stock: StockRun, undisturbed: int
) -> None:
    """The test cluster has no Kueue, so the test suspends the workers' Job itself."""
    made = triage("queued")
    made["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team"}
    namespace.apply(made)
    pod = catch(namespace, "queued", "work")
    # Some cells must be finished when the Job is suspended, and some must not be begun.
    namespace.set_faults(latency="constant:3")
    spend(namespace, namespace.requests() + THREADS)
    job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
    assert namespace.get("job", job)["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    namespace.kubectl("patch", "job", job, "--type=merge", '--patch={"spec":{"suspend":true}}')
    namespace.set_faults()
    finish(namespace, "queued", stock)
    assert namespace.requests() <= undisturbed + IN_FLIGHT
    assert not [found for found in namespace.list("jobs") if found["metadata"]["name"] == job]


def test_a_journal_is_deleted_after_its_time_to_live(namespace: Namespace, stock: StockRun, undisturbed: int) -> None:
    namespace.reset_provider()
    namespace.apply(triage("brief", ttlSecondsAfterFinished=4))
    ended = finish(namespace, "brief", stock)
    labels: Manifest = {"dspy-swarm.dev/run": ended["status"]["runId"], "dspy-swarm.dev/kind": "results"}
    namespace.wait_gone("configmaps", **labels)
    finish(namespace, "brief", stock)
    assert namespace.get("dspyc", "brief")["status"] == ended["status"]
    namespace.apply(triage("brief", ttlSecondsAfterFinished=5))
    again = namespace.wait_for("brief", lambda found: found["status"]["observedGeneration"] == 2)
    assert again["status"]["runId"] == ended["status"]["runId"]
    assert namespace.requests() <= undisturbed + IN_FLIGHT
