"""The operator reads objects of the API server, in any state that kubelets, schedulers and users leave behind."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.worlds import KEY, RUN_ID, plan_order, shard
from swarm_operator.compilation.api import FINALIZER, ObjectKind, Reason
from swarm_operator.compilation.apply.jobs import job
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.observe import objects
from swarm_wire.messages import Commit
from swarm_wire.pod_output import commit_text

QUEUE = {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "low"}
JOB = f"triage-{RUN_ID}-w0-1"
NONCE = object_names.nonce(KEY.uid, JOB)
LABELS = {
    "app.kubernetes.io/managed-by": "dspy-swarm",
    "dspy-swarm.dev/compilation-uid": KEY.uid,
    "dspy-swarm.dev/run": RUN_ID,
    "dspy-swarm.dev/role": "work",
    "dspy-swarm.dev/round": "0",
    "dspy-swarm.dev/attempt": "1",
    "batch.kubernetes.io/job-name": JOB,
    "batch.kubernetes.io/controller-uid": "job-uid",
    "batch.kubernetes.io/job-completion-index": "3",
}
METADATA = {
    "name": "p",
    "namespace": "team",
    "uid": "pod-uid",
    "creationTimestamp": "2026-11-21T12:00:00Z",
    "labels": LABELS,
    "annotations": {"dspy-swarm.dev/compilation": "triage"},
    "finalizers": ["batch.kubernetes.io/job-tracking", FINALIZER],
}


def a_pod(phase: str, state: dict[str, Any] | None = None, metadata: Any = None, **status: Any) -> dict[str, Any]:
    containers = [{"name": "sidecar", "state": {}}, {"name": "worker", "state": state}] if state else []
    return {
        "metadata": {**METADATA, **(metadata or {})},
        "status": {"phase": phase, "containerStatuses": containers, **status},
    }


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {
        "terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-11-21T12:01:00Z", "message": message}
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


@pytest.mark.parametrize(("reason", "started"), [("Error", True), ("StartError", False), ("ContainerCannotRun", False)])
def test_a_container_that_kubernetes_could_not_run_counts_as_not_started(reason: str, started: bool) -> None:
    pod = objects.pod(a_pod("Failed", ended(128, reason)))
    assert (pod.started, pod.ended) == (started, True)


def test_the_identity_of_a_pod_comes_from_its_labels() -> None:
    pod = objects.pod(a_pod("Running", {"running": {"startedAt": "x"}}))
    assert pod is not None
    assert (pod.job, pod.job_uid, pod.round, pod.attempt, pod.index) == (JOB, "job-uid", 0, 1, 3)
    assert (pod.held, pod.started, pod.ended) == (True, True, False)


@pytest.mark.parametrize(
    "label",
    sorted(
        set(LABELS) - {"app.kubernetes.io/managed-by", "batch.kubernetes.io/job-completion-index", "dspy-swarm.dev/run"}
    ),
)
def test_a_pod_without_our_labels_belongs_to_no_run(label: str) -> None:
    """If somebody removes a label, the operator releases the pod. Otherwise our finalizer would keep it forever."""
    for labels in (
        {key: value for key, value in LABELS.items() if key != label},
        {**LABELS, "dspy-swarm.dev/role": "x"},
    ):
        pod = objects.pod(a_pod("Running", metadata={"labels": labels}))
        assert (pod.run_id, pod.uid, pod.held) == ("", "pod-uid", True)
        assert (pod.started, pod.ended) == (False, False)
        over = objects.pod(a_pod("Succeeded", ended(0), metadata={"labels": labels}))
        assert (over.run_id, over.started, over.ended) == ("", True, True), "nothing waits for it"


@pytest.mark.parametrize(("spec", "over"), [({}, True), ({"nodeName": "a"}, False)])
def test_a_pod_that_is_deleted_before_it_has_a_node_never_runs(spec: dict[str, Any], over: bool) -> None:
    found = a_pod("Pending", metadata={"deletionTimestamp": "2026-11-21T12:02:00Z"})
    pod = objects.pod({**found, "spec": spec})
    assert (pod.started, pod.ended) == (False, over)


def test_a_pod_without_a_run_label_belongs_to_no_run() -> None:
    """The operator releases such a pod as it releases pods of older runs."""
    pod = objects.pod(a_pod("Running", metadata={"labels": {**LABELS, "dspy-swarm.dev/run": ""}}))
    found = objects.pod(
        a_pod("Running", metadata={"labels": {k: v for k, v in LABELS.items() if not k.endswith("/run")}})
    )
    assert pod is not None
    assert found is not None
    assert pod.run_id == found.run_id == ""


def test_a_pod_counts_as_ended_once_its_container_has_ended() -> None:
    pod = objects.pod(a_pod("Running", ended(0, "Completed")))
    assert pod is not None
    assert (pod.ended, pod.exit_code, pod.finished_at) == (True, 0, datetime(2026, 11, 21, 12, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("found", "own"),
    [
        (a_pod("Failed", ended(1)), True),
        (a_pod("Failed", ended(137, "OOMKilled")), True),
        (a_pod("Succeeded", ended(0)), True),
        (a_pod("Failed", ended(75)), False),
        (a_pod("Failed", ended(137), {"deletionTimestamp": "2026-11-21T12:02:00Z"}), False),
        (a_pod("Failed", ended(143), conditions=[{"type": "DisruptionTarget", "status": "True"}]), False),
        (a_pod("Running", {"running": {"x": 1}}), False),
    ],
    ids=["failed", "out of memory", "succeeded", "interrupted", "deleted", "disrupted", "running"],
)
def test_a_pod_counts_as_ended_on_its_own_unless_something_interrupted_it(found: Any, own: bool) -> None:
    pod = objects.pod(found)
    assert pod is not None
    assert pod.failed_on_its_own is own


def killed(reason: str, **resources: dict[str, str]) -> dict[str, Any]:
    containers = [{"name": "sidecar", "resources": {"limits": {"memory": "1Mi"}}}]
    containers += [{"name": "worker", "resources": resources}]
    return {**a_pod("Failed", ended(137, reason)), "spec": {"containers": containers}}


LIMIT, REQUEST = {"memory": "48Mi"}, {"memory": "32Mi"}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            killed("OOMKilled", requests=REQUEST, limits=LIMIT),
            "OOMKilled (exit code 137): raise spec.swarm.resources.limits.memory, which was 48Mi",
        ),
        (
            killed("OOMKilled", requests=REQUEST, limits={"cpu": "1"}),
            "OOMKilled (exit code 137): raise spec.swarm.resources.requests.memory, which was 32Mi",
        ),
        (killed("OOMKilled"), "OOMKilled (exit code 137): set spec.swarm.resources.requests.memory"),
        (
            killed("Error", limits=LIMIT),
            "exit code 137, killed: perhaps it had too little memory; raise spec.swarm.resources.limits.memory, which "
            "was 48Mi",
        ),
        (a_pod("Failed", ended(3)), "exit code 3"),
        (a_pod("Failed", reason="Evicted", message="low on memory"), "Evicted: low on memory"),
    ],
)
def test_the_message_about_a_failed_pod_says_how_it_ended_and_what_to_change(found: Any, text: str) -> None:
    pod = objects.pod(found)
    assert pod is not None
    assert pod.failure == text


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (waiting("CreateContainerConfigError", 'secret "key" not found'), Reason.MISSING_SECRET),
        (waiting("CreateContainerConfigError", "couldn't find key a in Secret team/b"), Reason.MISSING_SECRET),
        (waiting("CreateContainerConfigError", "container has runAsNonRoot"), Reason.POD_CANNOT_START),
        (waiting("ErrImagePull", "not found"), Reason.IMAGE_PULL_FAILED),
        (waiting("ImagePullBackOff"), Reason.IMAGE_PULL_FAILED),
        (waiting("InvalidImageName"), Reason.IMAGE_PULL_FAILED),
        (waiting("ContainerCreating"), None),
        (waiting("PodInitializing"), None),
    ],
)
def test_the_state_of_a_waiting_container_becomes_a_reason(state: Any, reason: Reason | None) -> None:
    pod = objects.pod(a_pod("Pending", state))
    assert pod is not None
    assert (pod.trouble.reason if pod.trouble else None) == reason


def test_the_message_about_an_unschedulable_pod_is_that_of_the_scheduler() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    pod = objects.pod(a_pod("Pending", conditions=[condition]))
    assert pod is not None
    assert pod.trouble is not None
    assert (pod.trouble.reason, pod.trouble.message) == (Reason.UNSCHEDULABLE, "0/1 nodes")


def test_a_commit_counts_only_with_the_nonce_of_its_pod() -> None:
    own = commit_text(Commit(nonce=NONCE, exit_code=0))
    other = commit_text(Commit(nonce="f" * 32, exit_code=0))
    for text, there in [(own, True), (f"runtime said\n{own}", True), (other, False), ("", False), ("{}", False)]:
        pod = objects.pod(a_pod("Succeeded", ended(0, message=text)))
        assert pod is not None
        assert (pod.commit is not None) is there


@given(st.text(max_size=300))
def test_the_operator_can_read_any_termination_message(text: str) -> None:
    assert objects.pod(a_pod("Failed", ended(1, message=text))) is not None


def test_an_object_belongs_to_the_compilation_that_its_labels_name() -> None:
    assert objects.key_of({"metadata": METADATA}) == KEY
    assert objects.key_of({"metadata": {**METADATA, "labels": {}}}) is None
    assert objects.key_of({}) is None


@pytest.mark.parametrize(
    ("conditions", "finished"),
    [
        ([], False),
        ([{"type": "Complete", "status": "True"}], True),
        ([{"type": "FailureTarget", "status": "True"}], True),
    ],
)
def test_a_job_whose_condition_says_that_it_ends_counts_as_finished(conditions: Any, finished: bool) -> None:
    metadata = {**METADATA, "name": JOB}
    job = objects.job({"metadata": metadata, "spec": {"completions": 4}, "status": {"conditions": conditions}})
    assert job is not None
    assert (job.finished, job.completions, job.round) == (finished, 4, 0)


def test_the_operator_reads_the_mounts_of_a_job_and_whether_it_is_suspended() -> None:
    made = job(plan_order(None, 1, 1, shard(ObjectKind.RESULTS, 0, 1), queue=QUEUE))
    made["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    read = objects.job(made)
    assert read is not None
    assert (read.suspended, read.mounted) == (False, frozenset({shard(ObjectKind.RESULTS, 0, 1).name}))
    made["spec"]["suspend"] = True
    assert objects.job(made).suspended  # type: ignore[union-attr]
    assert made["metadata"]["labels"].items() >= QUEUE.items()
    assert not made["spec"]["template"]["metadata"]["labels"].keys() & QUEUE.keys()


def test_only_labels_of_kueue_are_copied_from_a_compilation_to_its_jobs() -> None:
    found = {
        "metadata": {
            **METADATA,
            "resourceVersion": "1",
            "generation": 1,
            "labels": {**QUEUE, "app": "triage", "kueue.example/x": "y", "dspy-swarm.dev/run": "forged"},
        }
    }
    assert objects.compilation(found).queue == QUEUE


@pytest.mark.parametrize(
    ("fields", "foreign"),
    [
        ([{"manager": "dspy-swarm", "fieldsV1": {"f:data": {}}}], False),
        ([{"manager": "kubectl-edit", "fieldsV1": {"f:metadata": {}}}], False),
        ([{"manager": "kubectl-edit", "fieldsV1": {"f:data": {"f:program.json": {}}}}], True),
        ([{"manager": "kubectl-edit", "fieldsV1": {"f:binaryData": {}}}], True),
    ],
)
def test_an_artifact_whose_data_others_have_written_counts_as_foreign(fields: Any, foreign: bool) -> None:
    owners = [{"uid": "gc-only"}, {"uid": KEY.uid, "controller": True}]
    metadata = {"name": "a", "uid": "u", "resourceVersion": "1", "ownerReferences": owners, "managedFields": fields}
    found = objects.artifact({"metadata": metadata})
    assert (found.owner_uid, found.foreign) == (KEY.uid, foreign)
