"""Builds bodies of pods (pure).

This module copies only the spec fields that it names into a pod. So users cannot set the security context.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from swarm_operator.compilation.apply import training
from swarm_operator.compilation.apply.metadata import Manifest
from swarm_operator.compilation.apply.pod_parts import placement, plain
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import StartJob
from swarm_operator.compilation.model.roles import ROLES, Folder
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import Run
from swarm_wire import names
from swarm_wire.names import variable_prefix
from swarm_wire.spec.git import GitDestination
from swarm_wire.spec.swarm import Swarm
from swarm_wire.spec.variables import Variable

GRACE_SECONDS: Final = 30
LINGER_SECONDS: Final = 20
"""Seconds for which a worker keeps its container alive after SIGTERM, so that the operator can read its output.

They are fewer than the pod's grace period, after which the kubelet kills the container.
"""
CELL_GRACE_SECONDS: Final = 12
"""Seconds for which cells may go on after SIGTERM. The operator reads their output in the rest of LINGER_SECONDS."""
_WRITABLE: Final = frozenset({str(names.DEPOT_DIR), *training.WRITABLE})
"""Folders to which pods write. They mount all others read-only."""
SECRET_MODE: Final = 0o440
"""Mode of files with credentials. Kubernetes gives them to the pod's group."""
OUTPUT_BYTES: Final = 6 * 1024 * 1024
"""When a pod has printed this many bytes, it leaves the rest of its work to another pod.

A kubelet rotates a log at 10 MiB, and so loses the log's beginning. The difference to 10 MiB leaves room for
results of running cells, timestamps of the container runtime, and the output of user code.
"""


def pod_spec(order: StartJob, job: str) -> Manifest:
    """Returns the spec of pods for the Job named `job`."""
    mounted = _volumes(order, job)
    # If data and the depot share a claim, the volume is that of the depot, which comes last and may be written to.
    volumes = {name: mounted[path] for path, name in _volume_names(mounted).items()}
    made = closed(_container(order, job, mounted), volumes, order.run.spec.swarm, order.seconds)
    trainer = order.run.spec.trainer
    if trainer is None or not ROLES[order.role].trains:
        return made
    return training.pod(made, order, _variables(trainer.env))


def closed(container: Manifest, volumes: Mapping[str, Manifest], swarm: Swarm, seconds: int) -> Manifest:
    """Returns the spec of a pod with as few rights as possible, and with a folder /tmp.

    Args:
        container: its only container, without security context.
        volumes: volumes that the container mounts, by name.
        seconds: how long the pod may live.
    """
    made: Manifest = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": seconds,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": object_names.CONTAINER,
                **container,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "terminationMessagePath": str(names.TERMINATION_LOG),
                "terminationMessagePolicy": "File",
                "volumeMounts": [*container["volumeMounts"], {"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [
            *({"name": name, **volume} for name, volume in volumes.items()),
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    }
    made |= placement(swarm)
    if swarm.image_pull_secrets:
        made["imagePullSecrets"] = [{"name": secret.name} for secret in swarm.image_pull_secrets]
    if swarm.service_account_name:
        made["serviceAccountName"] = swarm.service_account_name
    return made


def _container(order: StartJob, job: str, mounted: dict[str, Manifest]) -> Manifest:
    run, resources, role = order.run, order.run.spec.swarm.resources, ROLES[order.role]
    given = _given(order, job) if role.repository is None else [*plain(_own(run, job)), *_of_this_job(order)]
    return {
        "image": order.image or run.image,
        **({"imagePullPolicy": order.pull_policy} if order.pull_policy else {}),
        "args": [role.command],
        "env": given,
        **(_variables_from(run) if role.runs_code else {}),
        "resources": {"requests": resources.requested, "limits": dict(resources.limits)},
        "volumeMounts": [
            {"name": name, "mountPath": path, "readOnly": path not in _WRITABLE}
            for path, name in _volume_names(mounted).items()
        ],
    }


def _volumes(order: StartJob, job: str) -> dict[str, Manifest]:
    """Returns the volumes of a pod, by mount path."""
    run, journal, role = order.run, order.run.spec.journal, ROLES[order.role]
    mounted: dict[str, Manifest] = {
        str(names.RUN_DIR): {"configMap": {"name": object_names.run_map(run.key.name, run.id)}}
    }
    for folder in role.mounts:
        if folder in order.mounts:
            mounted[folder.value] = _folder(folder, order.mounts[folder], job)
    if role.repository is not None:
        return mounted | _of_git(order)
    for name in sorted(run.spec.config_maps()) if role.runs_code else ():
        mounted[str(names.SOURCES_DIR / name)] = {"configMap": {"name": name}}
    for name in sorted(run.spec.claims()) if role.runs_code else ():
        # The kubelet gives the files of a volume to the pod's fsGroup, unless the volume itself is read-only.
        mounted[str(names.VOLUMES_DIR / name)] = {"persistentVolumeClaim": {"claimName": name, "readOnly": True}}
    if role.trains:
        mounted |= training.volumes(run.spec)
    if journal is not None and journal.persistent_volume_claim is not None:
        claim = {"claimName": journal.persistent_volume_claim.claim_name}
        mounted[str(names.DEPOT_DIR)] = {"persistentVolumeClaim": claim}
    return mounted


def _of_git(order: StartJob) -> dict[str, Manifest]:
    """Returns the volumes of a pod that uses git: the credentials, and what it publishes.

    The volume with the credentials is optional. So a missing Secret does not keep the pod from starting, and the pod
    says which Secret is missing.
    """
    spec, find = order.run.spec, ROLES[order.role].repository
    repository = find(spec) if find else None
    mounted: dict[str, Manifest] = {}
    if repository is not None and repository.secret is not None:
        mounted[str(names.CREDENTIALS_DIR)] = secret_volume(repository.secret.name)
    if order.artifact:
        mounted[str(names.ARTIFACT_DIR)] = {"configMap": {"name": order.artifact}}
    if isinstance(repository, GitDestination) and repository.signing_key is not None:
        key = repository.signing_key.secret
        items = [{"key": key.key, "path": names.SIGNING_FILE}]
        mounted[str(names.SIGNING_DIR)] = secret_volume(key.name, items=items)
    return mounted


def secret_volume(name: str, **more: object) -> Manifest:
    """Returns a volume with a Secret, which may be missing."""
    return {"secret": {"secretName": name, "optional": True, "defaultMode": SECRET_MODE, **more}}


def _folder(folder: Folder, shards: Sequence[Shard], job: str) -> Manifest:
    match folder:
        case Folder.ASSIGNMENT:
            items = [{"key": names.ASSIGNMENT_FILE, "path": names.ASSIGNMENT_FILE}]
            return {"configMap": {"name": job, "items": items}}
        case Folder.EARLIER:
            # Each run gets one folder, and the newest run's folder sorts last. A missing ConfigMap does not keep a pod
            # from starting, because these volumes are optional.
            runs = list(dict.fromkeys(shard.run_id for shard in shards))
            folders = {run: f"{number:04d}-{run}" for number, run in enumerate(runs)}
            return _projected(_source(shard, f"{folders[shard.run_id]}/{shard.key}", optional=True) for shard in shards)
        case _ if not shards:
            return {"emptyDir": {"sizeLimit": "1Mi"}}
        case _:
            return _projected(_source(shard, shard.key) for shard in shards)


def _volume_names(mounted: dict[str, Manifest]) -> dict[str, str]:
    """Returns the name of the volume at each mount path.

    If one claim has data and the depot, both mounts share a volume: a pod with two volumes of a claim never starts.
    """
    shared: dict[str, str] = {}
    return {
        path: shared.setdefault(volume.get("persistentVolumeClaim", {}).get("claimName", path), f"volume-{number}")
        for number, (path, volume) in enumerate(mounted.items())
    }


def _projected(sources: Iterable[Manifest]) -> Manifest:
    return {"projected": {"sources": [{"configMap": source} for source in sources]}}


def _source(shard: Shard, path: str, **more: bool) -> Manifest:
    return {"name": shard.name, "items": [{"key": shard.key, "path": path}], **more}


def _given(order: StartJob, job: str) -> list[Manifest]:
    """Returns the environment variables of a pod that runs the worker image."""
    spec = order.run.spec
    variables = _variables(spec.env, variable_prefix(len(spec.env_from))) if ROLES[order.role].runs_code else []
    return [*_environment(order, job), *variables, *_of_this_job(order)]


def _own(run: Run, job: str) -> dict[str, str]:
    """Returns the environment variables that every pod of a run has."""
    return {
        names.ENV_NONCE: object_names.nonce(run.key.uid, job),
        names.ENV_LINGER_SECONDS: str(LINGER_SECONDS),
        "HOME": "/tmp",
    }


def _environment(order: StartJob, job: str) -> list[Manifest]:
    """Returns the environment variables that every pod with the worker image has, and those from Secrets."""
    run = order.run
    values = {
        **_own(run, job),
        names.ENV_IMAGE: run.image,
        names.ENV_GRACE_SECONDS: str(CELL_GRACE_SECONDS),
        names.ENV_OUTPUT_BYTES: str(OUTPUT_BYTES),
        **_depot(run),
        # These variables replace those of a user's own worker image. Only /tmp is writable, and all pods need the same
        # hash seed.
        "DSPY_CACHEDIR": "/tmp/dspy",
        "PYTHONHASHSEED": "0",
    }
    return [
        *plain(values),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}
            for name, secret in ROLES[order.role].secrets(run.spec).items()
        ),
    ]


def _of_this_job(order: StartJob) -> list[Manifest]:
    """Returns the environment variables that only pods of this Job have."""
    values = training.environment(order.run.spec) if ROLES[order.role].trains else {}
    if order.rates.models:
        values |= {names.ENV_LIMITER: order.limiter, names.ENV_RATE_LIMITS: order.rates.to_json()}
    if order.allowance.is_limited:
        values[names.ENV_ALLOWANCE] = order.allowance.to_json()
    for name in ROLES[order.role].environment:
        if name in order.environment:
            values[name] = order.environment[name]
    return plain(values)


def _variables(given: Iterable[Variable], prefix: str = "") -> list[Manifest]:
    """Returns variables of the user."""
    made = []
    for variable in given:
        if variable.value_from is not None:
            value: Manifest = {"valueFrom": variable.value_from.as_written()}
        else:
            # The kubelet expands $(NAME) and reads $$ as $, so each $ of a user's value is doubled.
            value = {"value": (variable.value or "").replace("$", "$$")}
        made.append({"name": prefix + variable.name, **value})
    return made


def _variables_from(run: Run) -> Manifest:
    made = [
        {**source.as_written(), "prefix": variable_prefix(number) + (source.prefix or "")}
        for number, source in enumerate(run.spec.env_from)
    ]
    return {"envFrom": made} if made else {}


def _depot(run: Run) -> dict[str, str]:
    """Returns the variable with the folder of the Compilation's depot, if spec.journal is set.

    The folder contains the Compilation's uid, so that a later Compilation of the same name gets another folder.
    """
    journal = run.spec.journal
    if journal is None:
        return {}
    base = (journal.url or f"file://{names.DEPOT_DIR}").rstrip("/")
    return {names.ENV_DEPOT: f"{base}/{run.key.namespace}/{run.key.name}/{run.key.uid}"}
