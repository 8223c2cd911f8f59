"""The status names an obstacle outside of the run, such as a quota. The run continues without the obstacle, or ends."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.cluster import Manifest, Namespace, condition, config_map, is_over, is_true
from support.e2e import little, triage

SMALL = {"pods": 1, "threadsPerPod": 2}


def reason_is(reason: str) -> Callable[[Manifest], bool]:
    def holds(compilation: Manifest) -> bool:
        found = condition(compilation, "Reconciling")
        return found is not None and found["reason"] == reason

    return holds


def stalled(namespace: Namespace, name: str) -> Manifest:
    """Waits until the Compilation is Stalled, and returns this condition."""
    compilation = namespace.wait_for(name, is_true("Stalled"))
    found = condition(compilation, "Stalled")
    assert found is not None, compilation["status"]
    print(f"{name}: {found['reason']}: {found['message']}")
    return found


def artifacts(namespace: Namespace) -> dict[str, dict[str, str]]:
    """Returns the data of each artifact's ConfigMap by its name."""
    found = namespace.list("configmaps", **{"dspy-swarm.dev/kind": "artifact"})
    return {each["metadata"]["name"]: each.get("data") or {} for each in found}


@pytest.fixture
def quota(namespace: Namespace) -> Iterator[None]:
    """Applies a quota that allows no more pods than the namespace has."""
    limits = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full"},
        "spec": {"hard": {"pods": "1"}},
    }
    namespace.apply(limits)
    yield
    namespace.kubectl("delete", "resourcequota", "full", "--ignore-not-found")


@pytest.mark.usefixtures("quota")
def test_the_status_shows_a_quota_and_the_run_continues_once_the_quota_is_removed(namespace: Namespace) -> None:
    namespace.apply(little("quota"))
    compilation = namespace.wait_for("quota", reason_is("PodsRejected"))
    assert "exceeded quota" in condition(compilation, "Reconciling")["message"]  # type: ignore[index]
    namespace.kubectl("delete", "resourcequota", "full")
    assert is_true("Ready")(namespace.wait_for("quota", is_over))


@pytest.mark.usefixtures("quota")
def test_a_run_that_a_quota_has_stalled_goes_on_without_the_quota(namespace: Namespace) -> None:
    namespace.apply(little("full-quota"))
    found = stalled(namespace, "full-quota")
    assert found["reason"] == "PodsRejected"
    assert "exceeded quota" in found["message"]
    namespace.kubectl("delete", "resourcequota", "full")
    namespace.wait_for("full-quota", is_true("Ready"))


def test_the_status_shows_unschedulable_pods(namespace: Namespace) -> None:
    namespace.apply(triage("huge", swarm={**SMALL, "resources": {"requests": {"cpu": "64"}}}))
    compilation = namespace.wait_for("huge", reason_is("Unschedulable"))
    assert "Insufficient cpu" in condition(compilation, "Reconciling")["message"]  # type: ignore[index]
    namespace.kubectl("delete", "dspyc", "huge")


def test_a_config_map_may_be_created_after_the_compilation(namespace: Namespace) -> None:
    source = {"entrypoint": "triage:Triage", "source": {"configMap": {"name": "later"}}}
    namespace.apply(little("later", program=source))
    namespace.wait_for("later", reason_is("MissingConfigMap"))
    namespace.apply(config_map("later", namespace.get("configmap", "triage-program")["data"]))
    assert is_true("Ready")(namespace.wait_for("later", is_over))


def test_a_job_that_the_api_server_refuses_is_an_invalid_spec(namespace: Namespace) -> None:
    resources = {"requests": {"memory": "3Gi"}, "limits": {"memory": "1Gi"}}
    namespace.apply(triage("refused", swarm={**SMALL, "resources": resources}))
    found = stalled(namespace, "refused")
    assert found["reason"] == "InvalidSpec"
    assert "must be less than or equal to memory limit" in found["message"]


def test_the_message_about_too_little_memory_names_the_field_that_the_user_should_raise(namespace: Namespace) -> None:
    resources = {"limits": {"memory": "48Mi"}}
    namespace.apply(triage("small", swarm={**SMALL, "maxAttempts": 2, "resources": resources}))
    found = stalled(namespace, "small")
    assert found["reason"] == "AttemptsExhausted"
    # If the kubelet is busy, it may not notice that a container died of too little memory.
    assert "OOMKilled" in found["message"] or "too little memory" in found["message"]
    assert "raise spec.swarm.resources.limits.memory, which was 48Mi" in found["message"]


def test_the_second_of_two_compilations_with_the_same_artifact_makes_no_lm_call(namespace: Namespace) -> None:
    namespace.apply(little("owner", artifact={"configMap": {"name": "shared"}}))
    namespace.wait_for("owner", lambda _: "shared" in artifacts(namespace))
    namespace.apply(triage("second", artifact={"configMap": {"name": "shared"}}))
    assert stalled(namespace, "second")["reason"] == "ArtifactConflict"
    assert namespace.get("dspyc", "second")["status"]["usage"]["calls"] == 0
    namespace.kubectl("delete", "dspyc", "second")
    assert is_true("Ready")(namespace.wait_for("owner", is_over))


def test_a_config_map_of_the_user_is_not_overwritten_by_the_artifact(namespace: Namespace) -> None:
    namespace.apply(config_map("theirs", {"theirs": "yes"}))
    namespace.apply(triage("conflict", artifact={"configMap": {"name": "theirs"}}))
    assert stalled(namespace, "conflict")["reason"] == "ArtifactConflict"
    assert namespace.get("configmap", "theirs")["data"] == {"theirs": "yes"}
    namespace.kubectl("delete", "dspyc", "conflict")


@pytest.fixture(scope="module")
def rerun(namespace: Namespace) -> Any:
    """Requests a second run of a Compilation. Returns the Compilation after the first and after the second run."""
    namespace.apply(little("again"))
    before = namespace.wait_for("again", is_over)
    namespace.kubectl("annotate", "dspyc", "again", "dspy-swarm.dev/requested-at=now")
    second = namespace.wait_for("again", lambda found: found["status"]["runId"] != before["status"]["runId"])
    assert second["status"]["artifact"] == before["status"]["artifact"], "the last artifact stays meanwhile"
    return before, namespace.wait_for("again", is_over)


def test_the_annotation_requested_at_starts_a_run_that_has_the_same_winner(rerun: Any) -> None:
    before, after = rerun
    assert is_true("Ready")(after), after["status"]
    assert after["status"]["lastHandledRequestedAt"] == "now"
    assert after["status"]["artifact"]["runId"] == after["status"]["runId"]
    assert after["status"]["artifact"]["sha256"] == before["status"]["artifact"]["sha256"]


def test_the_journal_of_an_older_run_is_deleted(namespace: Namespace, rerun: Any) -> None:
    before, _ = rerun
    namespace.wait_gone("configmaps", **{"dspy-swarm.dev/run": before["status"]["runId"]})


@pytest.mark.usefixtures("rerun")
def test_a_deleted_artifact_is_published_again(namespace: Namespace) -> None:
    namespace.kubectl("delete", "configmap", "again-artifact")
    namespace.kubectl("annotate", "dspyc", "again", "look=now")

    # The operator first creates an empty ConfigMap to claim the name, and writes the data later.
    namespace.wait_for("again", lambda _: "program.json" in artifacts(namespace).get("again-artifact", {}))


def test_a_winner_that_the_gate_refuses_leaves_the_earlier_artifact_published(namespace: Namespace) -> None:
    namespace.apply(little("gated", gate={}))
    before = namespace.wait_for("gated", is_over)
    assert is_true("Ready")(before), before["status"]
    published = namespace.get("configmap", "gated-artifact")
    assert published["data"].keys() == {"program.json", "report.json", "report.md"}

    namespace.reset_provider()
    namespace.apply(little("gated", gate={"minImprovement": 99}))
    after = namespace.wait_for("gated", lambda found: is_over(found) and found["status"]["observedGeneration"] == 2)
    told = {found["type"]: (found["status"], found["reason"]) for found in after["status"]["conditions"]}
    assert told == {"Ready": ("True", "GateNotPassed"), "Succeeded": ("False", "GateNotPassed")}
    assert after["status"]["artifact"] == before["status"]["artifact"]
    assert namespace.requests() == 0
    assert namespace.get("configmap", "gated-artifact")["data"] == published["data"]
    [refused] = namespace.list("configmaps", **{"dspy-swarm.dev/kind": "refused"})
    assert refused["metadata"]["name"] in condition(after, "Ready")["message"]  # type: ignore[index]
    assert "**Not published**" in refused["data"]["report.md"]
