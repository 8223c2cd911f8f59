"""A run survives people who delete or change objects that the operator made or needs."""

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from faults.kinds import case
from faults.stage import A_POD, PODS, THREADS, UNREAD, Stage
from support.cluster import Manifest, config_map
from support.sampling import of_the_day, paired

LATE = {"work": 27, "plan": 50}
"""The calls paid for before the fault: nearly all calls of the round's workers, or of the last plan."""
AT_ONCE = A_POD + UNREAD
"""The calls lost with a pod whose log vanishes."""
FINALIZER = "dspy-swarm.dev/gather"

# Pods and Jobs


def name(found: Manifest) -> str:
    return str(found["metadata"]["name"])


def delete_pod(stage: Stage, pod: Manifest) -> None:
    stage.drop("pods", name(pod))


def delete_pod_at_once(stage: Stage, pod: Manifest) -> None:
    stage.drop("pods", name(pod), gracePeriodSeconds=0)


def evict(stage: Stage, pod: Manifest) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name(pod)}}
    stage.api.send("POST", f"{stage.core('pods')}/{name(pod)}/eviction", eviction)


def delete_job(stage: Stage, pod: Manifest) -> None:
    stage.drop("jobs", pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])


def delete_all_pods(stage: Stage, pod: Manifest) -> None:
    for found in stage.ours("pods"):
        delete_pod_at_once(stage, found)


def take_finalizer(stage: Stage, pod: Manifest) -> None:
    left = [found for found in pod["metadata"]["finalizers"] if found != FINALIZER]
    stage.merge(f"{stage.core('pods')}/{name(pod)}", {"metadata": {"finalizers": left}})


def take_pod_labels(stage: Stage, pod: Manifest) -> None:
    stage.merge(f"{stage.core('pods')}/{name(pod)}", {"metadata": {"labels": {"dspy-swarm.dev/run": None}}})


def suspend_job(stage: Stage, pod: Manifest) -> None:
    job = f"{stage.core('jobs')}/{pod['metadata']['labels']['batch.kubernetes.io/job-name']}"
    stage.merge(job, {"spec": {"suspend": True}})
    time.sleep(3)
    stage.merge(job, {"spec": {"suspend": False}})


def take_job_owner(stage: Stage, pod: Manifest) -> None:
    job = f"{stage.core('jobs')}/{pod['metadata']['labels']['batch.kubernetes.io/job-name']}"
    stage.merge(job, {"metadata": {"ownerReferences": None}})
    # Kubernetes does not delete an object without an owner, so the test deletes it.
    delete_job(stage, pod)


def expire_job(stage: Stage, pod: Manifest) -> None:
    job = f"{stage.core('jobs')}/{pod['metadata']['labels']['batch.kubernetes.io/job-name']}"
    stage.merge(job, {"spec": {"ttlSecondsAfterFinished": 0}})


def caught(stage: Stage, role: str) -> Manifest:
    """Returns a pod that has nearly finished its work."""
    stage.paid(LATE[role])
    return stage.pod(role)


@pytest.mark.parametrize(
    ("harm", "role", "lost"),
    [
        # In its grace period, a worker finishes its cells. A plan does not wait for calls in flight.
        *(
            case(kind, harm, role, lost, id=f"{kind}, {role}")
            for (kind, harm), (role, lost) in paired(
                [("pod deleted", delete_pod), ("pod evicted", evict), ("Job deleted", delete_job)],
                [("plan", THREADS), ("work", 0)],
            )
        ),
        *(
            case(kind, delete_pod_at_once, role, AT_ONCE, id=f"{kind}, {role}", some=True)
            for kind, role in paired(["pod deleted with grace 0"], ["plan", "work"])
        ),
        case("all pods of a run deleted at once", delete_all_pods, "work", PODS * AT_ONCE),
        case("finalizer taken off a pod", take_finalizer, "work", AT_ONCE),
        # Without our labels, the operator no longer reads the pod's log.
        case("label taken off a pod", take_pod_labels, "work", AT_ONCE),
        case("Job suspended by hand", suspend_job, "work", 0),
        case("owner taken off a Job", take_job_owner, "work", 0),
        case("Job's time to live is 0", expire_job, "work", 0),
    ],
)
def test_a_run_survives_people_who_delete_or_edit_pods_and_jobs(
    stage: Stage, harm: Callable[[Stage, Manifest], None], role: str, lost: int
) -> None:
    stage.slow()
    stage.begin()
    pod = caught(stage, role)
    stage.harms()
    harm(stage, pod)
    stage.provider_faults()
    stage.holds(lost=lost, unseen=harm is take_pod_labels)


@pytest.mark.fault("ended pod deleted before it was read")
@pytest.mark.parametrize("role", of_the_day(["plan", "work"]))
def test_our_finalizer_keeps_a_pod_until_the_operator_has_read_it(stage: Stage, role: str) -> None:
    """The log of the pod disappears with its container, so the operator can read only the termination message."""
    stage.slow(0.3)
    stage.begin()
    pod = caught(stage, role)
    stage.harms()
    stage.operator.send(signal.SIGSTOP)
    stage.when(lambda: stage.api.get(f"{stage.core('pods')}/{name(pod)}")["status"]["phase"] == "Succeeded")
    stage.drop("pods", name(pod), gracePeriodSeconds=0)
    time.sleep(2)
    stage.operator.send(signal.SIGCONT)
    stage.holds(lost=10 + UNREAD if role == "plan" else AT_ONCE)


# ConfigMaps of the journal


def delete_map(stage: Stage, found: Manifest) -> None:
    stage.drop("configmaps", name(found))


def garble_map(stage: Stage, found: Manifest) -> None:
    """Replaces the ConfigMap by a damaged one, since an immutable ConfigMap cannot be changed."""
    delete_map(stage, found)
    metadata = {key: found["metadata"][key] for key in ("name", "labels", "annotations", "ownerReferences")}
    content = {key: dict.fromkeys(found[key], "Z2FyYmFnZQ==") for key in ("data", "binaryData") if key in found}
    stage.api.send("POST", stage.core("configmaps"), {"kind": "ConfigMap", "metadata": metadata, **content})


def disown_map(stage: Stage, found: Manifest) -> None:
    stage.merge(f"{stage.core('configmaps')}/{name(found)}", {"metadata": {"ownerReferences": None}})
    delete_map(stage, found)


KINDS = ["run", "tasks", "results", "assignment"]


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        case(f"ConfigMap {what}", kind, harm, id=f"ConfigMap of {kind} {what}")
        for kind, (what, harm) in paired(
            KINDS, [("deleted", delete_map), ("replaced by garbage", garble_map), ("disowned", disown_map)]
        )
    ],
)
def test_a_deleted_or_edited_journal_never_changes_the_winner(
    stage: Stage, kind: str, harm: Callable[[Stage, Manifest], None]
) -> None:
    """The run computes lost results again. A changed request ends the run."""
    stage.slow()
    stage.begin()
    stage.paid(LATE["work"])
    stage.pod("work")
    stage.operator.send(signal.SIGSTOP)
    harm(stage, stage.config_map(kind))
    stage.operator.send(signal.SIGCONT)
    stage.provider_faults()
    if (kind, harm) == ("run", garble_map):
        stage.ends("JournalDamaged", "new run")
    else:
        stage.holds(lost=LATE["work"] if kind == "results" else PODS * THREADS, forgets=True)


@pytest.mark.fault("artifact deleted after it was published")
def test_a_deleted_artifact_is_published_again(stage: Stage) -> None:
    stage.begin()
    stage.over()
    stage.drop("configmaps", f"{stage.name}-artifact")
    # The operator first creates an empty ConfigMap to claim the name, and writes the data later.
    stage.when(lambda: (stage.api.get(f"{stage.core('configmaps')}/{stage.name}-artifact") or {}).get("data"))
    stage.holds()


@pytest.mark.fault("artifact's name taken in the middle of a run")
def test_a_config_map_of_another_owner_is_not_overwritten_by_the_artifact(stage: Stage) -> None:
    stage.begin()
    stage.pod("work")
    theirs = config_map(f"{stage.name}-artifact", {"theirs": "yes"})
    stage.drop("configmaps", f"{stage.name}-artifact")  # the operator's empty ConfigMap
    stage.api.send("POST", stage.core("configmaps"), theirs)
    stage.stalls("ArtifactConflict", "is not overwritten")
    assert stage.api.get(f"{stage.core('configmaps')}/{stage.name}-artifact")["data"] == {"theirs": "yes"}
    stage.drop("configmaps", f"{stage.name}-artifact")
    stage.goes_on()
    stage.holds()


# Objects that the spec names


@pytest.fixture
def own_data(stage: Stage) -> dict[str, Any]:
    """Creates a ConfigMap with the data, which a case may change, and returns the spec's data field."""
    data = stage.api.get(f"{stage.core('configmaps')}/triage-data")["data"]
    stage.api.send("POST", stage.core("configmaps"), config_map(f"{stage.name}-data", data))

    def source(file: str) -> dict[str, Any]:
        return {"configMap": {"name": f"{stage.name}-data", "key": f"{file}.jsonl"}, "limit": 6}

    return {"inputs": ["ticket"], "train": source("train"), "validation": source("validation")}


@pytest.mark.fault("input ConfigMap deleted and brought back")
def test_a_run_survives_data_that_is_missing_for_a_while(stage: Stage, own_data: dict[str, Any]) -> None:
    stage.slow()
    stage.begin(data=own_data)
    stage.pod("work")
    content = stage.api.get(f"{stage.core('configmaps')}/{stage.name}-data")["data"]
    stage.drop("configmaps", f"{stage.name}-data")
    time.sleep(5)
    stage.api.send("POST", stage.core("configmaps"), config_map(f"{stage.name}-data", content))
    stage.holds()
    stage.drop("configmaps", f"{stage.name}-data")


@pytest.mark.fault("input ConfigMap deleted for long")
def test_a_run_goes_on_when_data_are_back_that_were_missing_for_long(stage: Stage, own_data: dict[str, Any]) -> None:
    stage.slow()
    stage.begin(data=own_data)
    stage.pod("work")
    content = stage.api.get(f"{stage.core('configmaps')}/{stage.name}-data")["data"]
    stage.drop("configmaps", f"{stage.name}-data")
    stage.stalls("MissingConfigMap", f"{stage.name}-data")
    stage.api.send("POST", stage.core("configmaps"), config_map(f"{stage.name}-data", content))
    stage.goes_on()
    stage.holds()
    stage.drop("configmaps", f"{stage.name}-data")


@pytest.mark.fault("input ConfigMap changed in the middle of a run")
def test_data_that_changes_ends_the_run(stage: Stage, own_data: dict[str, Any]) -> None:
    """If the run went on, it would mix results of two data sets."""
    stage.slow()
    stage.begin(data=own_data)
    stage.pod("work")
    path = f"{stage.core('configmaps')}/{stage.name}-data"
    lines = stage.api.get(path)["data"]["validation.jsonl"].splitlines()
    changed = [json.dumps({**json.loads(line), "category": "billing"}) for line in lines]
    stage.merge(path, {"data": {"validation.jsonl": "\n".join(changed)}})
    stage.ends("SourceChanged", "dspy-swarm.dev/rerun-at")
    stage.drop("configmaps", f"{stage.name}-data")


@pytest.mark.fault("Secret deleted and brought back")
def test_a_run_survives_a_secret_that_is_missing_for_a_while(stage: Stage) -> None:
    stage.slow()
    path = f"{stage.core('secrets')}/provider-key"
    content = stage.api.get(path)["data"]
    stage.begin()
    stage.pod("plan")
    stage.api.send("DELETE", path)
    try:
        time.sleep(8)
    finally:
        body = {"kind": "Secret", "metadata": {"name": "provider-key"}, "data": content}
        stage.api.send("POST", stage.core("secrets"), body)
    stage.holds()


@pytest.mark.fault("quota used up for a while")
def test_a_run_survives_a_quota(stage: Stage) -> None:
    stage.slow()
    stage.begin()
    stage.pod("plan")
    quotas = f"/api/v1/namespaces/{stage.namespace.name}/resourcequotas"
    stage.api.send("POST", quotas, {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}})
    try:
        time.sleep(8)
    finally:
        stage.api.send("DELETE", f"{quotas}/full")
    stage.holds()


@pytest.mark.fault("admission webhook for Jobs away for a while")
def test_a_run_survives_a_webhook_that_does_not_answer(stage: Stage) -> None:
    """The status names the webhook. The run continues once the webhook is removed."""
    hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    nobody = {
        "name": "nobody.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 1,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace.name}},
        "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}],
        "clientConfig": {"service": {"name": "nobody", "namespace": stage.namespace.name}},
    }
    stage.slow()
    stage.begin()
    stage.pod("plan")
    stage.api.send("POST", hooks, {"metadata": {"name": stage.name}, "webhooks": [nobody]})
    try:
        stage.when(lambda: "nobody.example.com" in json.dumps((stage.find() or {}).get("status")), seconds=60)
    finally:
        stage.api.send("DELETE", f"{hooks}/{stage.name}")
    stage.holds()
