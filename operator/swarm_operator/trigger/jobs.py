"""Builds bodies of Jobs whose pods look at a git repository (pure)."""

from swarm_operator.cluster.resources import MANAGER
from swarm_operator.compilation.api import LABEL_MANAGED_BY, LABEL_ROLE
from swarm_operator.compilation.apply.metadata import Manifest, owner
from swarm_operator.compilation.apply.pods import closed, secret_volume
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.world import Key
from swarm_operator.settings import Settings
from swarm_operator.trigger.api import (
    ANNOTATION_TRIGGER,
    ANNOTATION_WATCH,
    KIND,
    LABEL_NUMBER,
    LABEL_TRIGGER,
    WATCH_ROLE,
)
from swarm_operator.trigger.watches import PENDING_SECONDS, StartLook, digest_of
from swarm_wire import names
from swarm_wire.spec.swarm import Swarm

SECONDS = PENDING_SECONDS + 300
"""Seconds that a look may take, with the time that its pod waits for a node or an image."""
KEPT_SECONDS = 3600
"""Seconds after which Kubernetes deletes a Job that the operator did not delete."""
CREDENTIALS = "credentials"


def watch_job(order: StartLook, key: Key, swarm: Swarm, settings: Settings) -> Manifest:
    """Returns the Job of a look. Only its pod mounts the credentials of the repository."""
    name = object_names.watch_job(key.name, key.uid, order.number)
    labels = {
        LABEL_MANAGED_BY: MANAGER,
        LABEL_ROLE: WATCH_ROLE,
        LABEL_TRIGGER: key.uid,
        LABEL_NUMBER: str(order.number),
    }
    annotations = {ANNOTATION_TRIGGER: key.name, ANNOTATION_WATCH: digest_of(order.watch)}
    secret = order.watch.source.secret
    folder = str(names.CREDENTIALS_DIR)
    variables = {
        names.ENV_WATCH: order.watch.to_json(),
        names.ENV_NONCE: object_names.nonce(key.uid, name),
        "HOME": "/tmp",
    }
    container = {
        "image": settings.git_image,
        **({"imagePullPolicy": settings.image_pull_policy} if settings.image_pull_policy else {}),
        "args": [WATCH_ROLE],
        "env": [{"name": variable, "value": value} for variable, value in variables.items()],
        "resources": {"requests": swarm.resources.requested, "limits": dict(swarm.resources.limits)},
        "volumeMounts": [{"name": CREDENTIALS, "mountPath": folder, "readOnly": True}] if secret else [],
    }
    volumes = {CREDENTIALS: secret_volume(secret.name)} if secret else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner(key, KIND)],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": closed(container, volumes, swarm, SECONDS),
            },
        },
    }
