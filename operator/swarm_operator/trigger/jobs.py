"""Builds bodies of Jobs whose pods look at a git repository, or list models (pure)."""

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
from swarm_wire.looks import ModelWatch, Watch
from swarm_wire.spec.compilation import CompilationSpec

SECONDS = PENDING_SECONDS + 300
"""Seconds that a look may take, with the time that its pod waits for a node or an image."""
KEPT_SECONDS = 3600
"""Seconds after which Kubernetes deletes a Job that the operator did not delete."""
CREDENTIALS = "credentials"
MODELS_COMMAND = "models"
"""The command with which the worker image lists models."""


def watch_job(order: StartLook, key: Key, spec: CompilationSpec, settings: Settings) -> Manifest:
    """Returns the Job of a look. Only its pod gets the credentials of the repository, or the API key.

    Args:
        spec: that of the trigger's template.
    """
    name = object_names.watch_job(key.name, key.uid, order.number)
    labels = {
        LABEL_MANAGED_BY: MANAGER,
        LABEL_ROLE: WATCH_ROLE,
        LABEL_TRIGGER: key.uid,
        LABEL_NUMBER: str(order.number),
    }
    annotations = {ANNOTATION_TRIGGER: key.name, ANNOTATION_WATCH: digest_of(order.watch)}
    match order.watch:
        case Watch() as watch:
            given, volumes = _of_git(watch, settings)
        case ModelWatch() as models:
            given, volumes = _of_models(models, settings), {}
    # A look needs no right in the cluster. So it has no service account, which an administrator might have to allow.
    swarm = spec.swarm.model_copy(update={"service_account_name": None})
    plain = {
        names.ENV_WATCH: order.watch.to_json(),
        names.ENV_NONCE: object_names.nonce(key.uid, name),
        "HOME": "/tmp",
        "PYTHONHASHSEED": "0",
    }
    variables = [{"name": variable, "value": value} for variable, value in plain.items()]
    container = {
        **given,
        **({"imagePullPolicy": settings.image_pull_policy} if settings.image_pull_policy else {}),
        "env": [*variables, *given["env"]],
        "resources": {"requests": swarm.resources.requested, "limits": dict(swarm.resources.limits)},
    }
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


def _of_git(watch: Watch, settings: Settings) -> tuple[Manifest, dict[str, Manifest]]:
    """Returns what the container of a look at a repository has of its own, and its volumes."""
    secret, folder = watch.source.secret, str(names.CREDENTIALS_DIR)
    mounted = [{"name": CREDENTIALS, "mountPath": folder, "readOnly": True}] if secret else []
    volumes = {CREDENTIALS: secret_volume(secret.name)} if secret else {}
    return {"image": settings.git_image, "args": [WATCH_ROLE], "env": [], "volumeMounts": mounted}, volumes


def _of_models(watch: ModelWatch, settings: Settings) -> Manifest:
    """Returns what the container of a look at models has of its own. It runs no code of a user."""
    key = watch.secret
    reference = {"secretKeyRef": {"name": key.name, "key": key.key}} if key else {}
    given = [{"name": names.api_key_env(watch.role), "valueFrom": reference}] if key else []
    return {"image": settings.worker_image, "args": [MODELS_COMMAND], "env": given, "volumeMounts": []}
