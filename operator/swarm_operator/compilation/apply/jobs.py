"""Builds bodies of Jobs (pure). It computes every name from the purpose of the Job."""

from swarm_operator.compilation.api import ANNOTATION_ALLOWANCE, ANNOTATION_COMPILATION, ANNOTATION_PARTIAL, FINALIZER
from swarm_operator.compilation.apply.metadata import Manifest, labels, owner, place
from swarm_operator.compilation.apply.pods import pod_spec
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import StartJob
from swarm_wire.names import TERMINAL_EXITS


def job(order: StartJob) -> Manifest:
    """Returns an Indexed Job. Its pods have a finalizer, so that the operator can read their output before deletion."""
    run, key = order.run, order.run.key
    name = object_names.job(key.name, run.id, order.role, order.round, order.attempt)
    ours = {**labels(key, run.id, order.role), **place(order.round, order.attempt)}
    annotations = {ANNOTATION_COMPILATION: key.name}
    if order.allowance.is_limited:
        annotations[ANNOTATION_ALLOWANCE] = order.allowance.to_json()
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": {**order.queue, **ours},
            "annotations": {**annotations, **({ANNOTATION_PARTIAL: order.partial} if order.partial else {})},
            "ownerReferences": [owner(key)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": order.pods,
            "parallelism": order.parallel,
            # Each index gets one pod. If Kubernetes repeated a failed pod, that pod would pay again for cells that are
            # in the journal. The operator's next attempt runs only the missing cells.
            "backoffLimitPerIndex": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": object_names.CONTAINER,
                            "operator": "In",
                            "values": sorted(int(code) for code in TERMINAL_EXITS),
                        },
                    },
                    {"action": "FailIndex", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": {"labels": ours, "annotations": annotations, "finalizers": [FINALIZER]},
                "spec": pod_spec(order, name),
            },
        },
    }
