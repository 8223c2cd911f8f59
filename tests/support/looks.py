"""Looks at git repositories and at models in a FakeCluster: it plays the Job controller, the kubelet and the pod."""

from support.fake_cluster import FakeCluster, Object
from swarm_operator.cluster.resources import JOBS, PODS
from swarm_operator.compilation.model import object_names
from swarm_operator.trigger.api import LABEL_TRIGGER
from swarm_wire.looks import Watch, Watched
from swarm_wire.names import ENV_WATCH, SCHEMA_VERSION
from swarm_wire.pod_output import Writer, commit_text


def under_way(cluster: FakeCluster) -> list[Object]:
    """Returns the Jobs of looks that have not ended."""
    return [job for job in cluster.of(JOBS) if "status" not in job]


def watch_of(job: Object) -> Watch:
    [container] = job["spec"]["template"]["spec"]["containers"]
    [given] = [entry["value"] for entry in container["env"] if entry["name"] == ENV_WATCH]
    return Watch.model_validate_json(given)


def end_look(
    cluster: FakeCluster,
    found: Watched | list[str] | None,
    exit_code: int = 0,
    reason: str | None = None,
    message: str = "",
) -> None:
    """Lets the pod of the look that is under way end.

    Args:
        found: what it has found; None if it has failed.
    """
    [job] = under_way(cluster)
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    nonce = object_names.nonce(job["metadata"]["labels"][LABEL_TRIGGER], name)
    commit = Writer(lambda _: None, nonce).commit(exit_code, reason, message or None)
    assert commit.schema_version == SCHEMA_VERSION
    field = "listed" if isinstance(found, list) else "watched"
    text = commit_text(commit.model_copy(update={field: found}))
    template = job["spec"]["template"]["metadata"]
    ended = {"exitCode": exit_code, "message": text, "finishedAt": f"{cluster.now:%Y-%m-%dT%H:%M:%SZ}"}
    job["status"] = {"conditions": [{"type": "Failed" if exit_code else "Complete", "status": "True"}]}
    labels = {**template["labels"], "batch.kubernetes.io/job-name": name, "batch.kubernetes.io/controller-uid": uid}
    body = {
        "metadata": {
            "name": f"{name}-pod",
            "labels": labels,
            "annotations": template["annotations"],
            "ownerReferences": [{"uid": uid, "kind": "Job", "controller": True}],
        },
        "spec": job["spec"]["template"]["spec"],
        "status": {
            "phase": "Failed" if exit_code else "Succeeded",
            "containerStatuses": [{"name": "worker", "state": {"terminated": ended}}],
        },
    }
    cluster.put(PODS, body)
