"""Bodies of what the operator writes: Jobs and ConfigMaps. Pure; every name is computed from what the object is for.

Nothing of a user's object is copied but fields of the spec that this file names. The security context is ours alone.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from swarm_operator.cluster.resources import MANAGER
from swarm_operator.compilation.api import (
    ANNOTATION_ALLOWANCE,
    ANNOTATION_BYTES,
    ANNOTATION_COMPILATION,
    ANNOTATION_PARTIAL,
    ANNOTATION_SCORE,
    ANNOTATION_SHA256,
    API_VERSION,
    FINALIZER,
    KIND,
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_MANAGED_BY,
    LABEL_ROLE,
    LABEL_ROUND,
    LABEL_RUN,
    LABEL_UID,
    ObjectKind,
)
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.shards import Artifact, Shard
from swarm_operator.compilation.model.world import Key, Run
from swarm_wire import names, shards
from swarm_wire.messages import Assignment, Ending, RunRequest
from swarm_wire.names import api_key_env, variable_prefix
from swarm_wire.rates import RateLimits
from swarm_wire.records import Framed
from swarm_wire.spec.schema import SpecModel
from swarm_wire.spending import UNLIMITED, Allowance

Manifest = dict[str, Any]

"""Key of the assignment's ConfigMap: cell key -> failed attempts before this one. Only the operator reads it. Keys are
hexadecimal, so zlib halves them: an outage may strike each cell of a round."""
GRACE_SECONDS: Final = 30
LINGER_SECONDS: Final = 20
"""How long a worker stays readable after SIGTERM: shorter than its grace period, or its last words would be cut."""
POD_SECONDS: Final = 24 * 3600
"""Longest life of a pod, for those that hang where nobody looks: in an import, in the data, in an optimizer; workers,
whose cells have a time, have less, for those in which nothing moves any more. One that works loses what is in flight,
as by any SIGTERM, and another goes on."""
START_SECONDS: Final = 600
"""Of a worker, for its image, which a new node pulls first, its imports and data."""
PARTIAL_SECONDS: Final = 1800
"""That of a plan for the best program so far, which makes no call: what it replays took seconds or minutes before."""
CELL_GRACE_SECONDS: Final = 12
"""How long cells in flight may go on after SIGTERM: the rest of LINGER_SECONDS is for reading what they printed."""
OUTPUT_BYTES: Final = 6 * 1024 * 1024
"""After how much output a pod leaves the rest to another. With what is in flight then, the runtime's timestamps and
what user code prints it stays below the 10 MiB at which a kubelet rotates the log: the beginning would be gone."""
CONFIG_MAP_BYTES: Final = 1_000_000
"""What we put into one ConfigMap at most; Kubernetes allows 1,048,576 bytes, keys included."""


@dataclass(frozen=True)
class Surroundings:
    """What pods are made with that is not their run's.

    Attributes:
        pull_policy: of their image. Empty: Kubernetes' default.
        limiter: host:port of who keeps `rates`.
        queue: labels of Jobs, for Kueue.
        earlier: shards of earlier runs, oldest first: what they paid for is used.
    """

    pull_policy: str = ""
    limiter: str = ""
    rates: RateLimits = field(default_factory=RateLimits)
    queue: Mapping[str, str] = field(default_factory=dict)
    earlier: Sequence[Shard] = ()


class TooLarge(Exception):
    """Something does not fit into a ConfigMap."""


def run_map(run_id: str, key: Key, request: RunRequest) -> Manifest:
    """The ConfigMap with the run's request, which is fixed when the run begins."""
    return _config_map(
        object_names.run_map(key.name, run_id),
        key,
        run_id,
        ObjectKind.RUN,
        data={names.REQUEST_FILE: request.to_json()},
    )


def shard_maps(run: Run, kind: ObjectKind, round_: int, attempt: int, records: Iterable[Framed]) -> list[Manifest]:
    """Records as ConfigMaps of one shard each. Raises TooLarge."""
    made = []
    for shard in shards.pack(records):
        if len(shard) > CONFIG_MAP_BYTES:
            raise TooLarge(
                f"a record of round {round_} has {len(shard):,} bytes, and a ConfigMap takes {CONFIG_MAP_BYTES:,}"
            )
        made.append(_shard_map(run.key, run.id, kind, round_, attempt, shard))
    return made


def merged_map(key: Key, merged: Sequence[Shard], data: bytes) -> Manifest:
    """What several shards of a run hold as one: frames are put one after the other, as they are.

    Args:
        data: theirs, in their order.
    """
    first = merged[0]
    round_ = max(shard.round for shard in merged)
    return _shard_map(key, first.run_id, first.kind, round_, min(shard.attempt for shard in merged), data)


def shard_data(found: Mapping[str, Any], shard: Shard) -> bytes | None:
    """What a ConfigMap holds, as it is; None where that is not the shard that was seen."""
    try:
        data = base64.b64decode(found["binaryData"][shard.key], validate=True)
    except (KeyError, TypeError, ValueError):
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    key = object_names.shard_key(shard.kind, shard.round, shard.attempt, sha256, names.SHARD_SUFFIX)
    return data if key == shard.key else None


def assignment_map(run: Run, assignment: Assignment, strikes: Mapping[str, int]) -> Manifest:
    return _config_map(
        object_names.work_job(run.key.name, run.id, assignment.round, assignment.attempt),
        run.key,
        run.id,
        ObjectKind.ASSIGNMENT,
        labels={LABEL_ROUND: str(assignment.round), LABEL_ATTEMPT: str(assignment.attempt)},
        data={names.ASSIGNMENT_FILE: assignment.to_json()},
        binaryData={object_names.STRIKES_FILE: base64.b64encode(zlib.compress(json.dumps(strikes).encode())).decode()},
    )


def artifact_map(run: Run, artifact: Artifact) -> Manifest:
    """The compiled program. Raises TooLarge."""
    size = len(artifact.program.encode()) + len(artifact.report_text.encode())
    if size > CONFIG_MAP_BYTES:
        raise TooLarge(f"program and report have {size:,} bytes, and a ConfigMap takes {CONFIG_MAP_BYTES:,}")
    score = artifact.report.scores.best
    made = _config_map(
        run.spec.artifact_name(run.key.name),
        run.key,
        run.id,
        ObjectKind.ARTIFACT,
        annotations={
            ANNOTATION_SHA256: artifact.sha256,
            **({ANNOTATION_SCORE: f"{score:g}"} if score is not None else {}),
            **({ANNOTATION_PARTIAL: artifact.report.partial} if artifact.report.partial else {}),
        },
        data={names.PROGRAM_FILE: artifact.program, names.REPORT_FILE: artifact.report_text},
    )
    # A later run replaces it.
    del made["immutable"]
    return made


def unwritten_artifact(key: Key, name: str) -> Manifest:
    """For an artifact that is still to come: of no run, so what is applied later conflicts with nothing in it."""
    labels = {LABEL_MANAGED_BY: MANAGER, LABEL_UID: key.uid, LABEL_KIND: ObjectKind.ARTIFACT.value}
    metadata = {"name": name, "namespace": key.namespace, "labels": labels, "ownerReferences": [owner(key)]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def plan_job(
    run: Run,
    round_: int,
    attempt: int,
    journal: Sequence[Shard],
    around: Surroundings = Surroundings(),
    allowance: Allowance = UNLIMITED,
    ending: Ending | None = None,
    runs_cells: bool = True,
    leftover: Sequence[Shard] = (),
) -> Manifest:
    """One pod that replays the compile from the whole journal.

    Args:
        ending: a limit ends the run: the plan brings the best program so far.
        runs_cells: it may run small waves itself.
        leftover: tasks of a round that a limit has cut short: it asks for the rest of them first.
    """
    name = object_names.plan_job(run.key.name, run.id, round_, attempt)
    volumes = {str(names.JOURNAL_DIR): _shards_volume(journal)}
    if leftover:
        volumes[str(names.TASKS_DIR)] = _shards_volume(leftover)
    seconds = POD_SECONDS if ending is None else PARTIAL_SECONDS
    made = _job(run, name, ObjectKind.PLAN, round_, attempt, "plan", 1, 1, seconds, volumes, around, allowance)
    container = made["spec"]["template"]["spec"]["containers"][0]
    if not runs_cells:
        container["env"] += [{"name": names.ENV_SMALL_WAVE, "value": "0"}]
    if ending is not None:
        made["metadata"]["annotations"] |= {ANNOTATION_PARTIAL: ending.why}
        container["env"] += [{"name": names.ENV_PARTIAL, "value": ending.to_json()}]
    return made


def work_job(
    run: Run,
    assignment: Assignment,
    tasks: Sequence[Shard],
    journal: Sequence[Shard],
    around: Surroundings = Surroundings(),
    allowance: Allowance = UNLIMITED,
) -> Manifest:
    """One pod for each slice, `spec.swarm.pods` of them side by side. From the journal they take LM calls, unpaid.

    Args:
        allowance: of each pod.
    """
    round_, attempt = assignment.round, assignment.attempt
    name = object_names.work_job(run.key.name, run.id, round_, attempt)
    volumes = {
        str(names.TASKS_DIR): _shards_volume(tasks),
        str(names.JOURNAL_DIR): _shards_volume(journal),
        str(names.WORK_DIR): {
            "configMap": {"name": name, "items": [{"key": names.ASSIGNMENT_FILE, "path": names.ASSIGNMENT_FILE}]}
        },
    }
    slices = len(assignment.slices)
    pods = min(run.spec.swarm.pods, slices)
    # How long a pod waits for its turn at a provider cannot be known.
    seconds = POD_SECONDS if around.rates.models else _longest(run, assignment, tasks)
    return _job(run, name, ObjectKind.WORK, round_, attempt, "work", slices, pods, seconds, volumes, around, allowance)


def _longest(run: Run, assignment: Assignment, tasks: Sequence[Shard]) -> int:
    """Seconds that a pod may take, by limits.cellSeconds: a thread takes the last cell when all others are done."""
    weights = {task.digest: task.weight for shard in tasks for task in shard.tasks}
    cells = [[weights.get(ref.task, 1) for ref in slice_ for _ in ref.cells] for slice_ in assignment.slices]
    turns = max(ceil(sum(each) / run.spec.swarm.threads_per_pod) + max(each) for each in cells)
    return min(POD_SECONDS, START_SECONDS + turns * run.spec.limits.cell_seconds)


def owner(key: Key) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": key.name,
        "uid": key.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _labels(key: Key, run_id: str, kind: ObjectKind) -> dict[str, str]:
    what = LABEL_ROLE if kind in (ObjectKind.PLAN, ObjectKind.WORK) else LABEL_KIND
    return {LABEL_MANAGED_BY: MANAGER, LABEL_UID: key.uid, LABEL_RUN: run_id, what: kind.value}


def _config_map(
    name: str,
    key: Key,
    run_id: str,
    kind: ObjectKind,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **content: Any,
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": {**_labels(key, run_id, kind), **(labels or {})},
            "annotations": {ANNOTATION_COMPILATION: key.name, **(annotations or {})},
            "ownerReferences": [owner(key)],
        },
        "immutable": True,
        **content,
    }


def _shard_map(key: Key, run_id: str, kind: ObjectKind, round_: int, attempt: int, shard: bytes) -> Manifest:
    sha256 = hashlib.sha256(shard).hexdigest()
    return _config_map(
        object_names.shard_map(key.name, run_id, kind, round_, attempt, sha256),
        key,
        run_id,
        kind,
        labels={LABEL_ROUND: str(round_), LABEL_ATTEMPT: str(attempt)},
        annotations={ANNOTATION_SHA256: sha256, ANNOTATION_BYTES: str(len(shard))},
        binaryData={
            object_names.shard_key(kind, round_, attempt, sha256, names.SHARD_SUFFIX): base64.b64encode(shard).decode()
        },
    )


def _shards_volume(mounted: Sequence[Shard]) -> Manifest:
    if not mounted:
        return {"emptyDir": {"sizeLimit": "1Mi"}}
    return _projected(_source(shard, shard.key) for shard in mounted)


def _earlier_volume(mounted: Sequence[Shard]) -> Manifest:
    """A folder for each run, the newest one last by name. What is gone when a pod starts is not missed."""
    runs = list(dict.fromkeys(shard.run_id for shard in mounted))
    folders = {run: f"{number:04d}-{run}" for number, run in enumerate(runs)}
    return _projected(_source(shard, f"{folders[shard.run_id]}/{shard.key}", optional=True) for shard in mounted)


def _projected(sources: Iterable[Manifest]) -> Manifest:
    return {"projected": {"sources": [{"configMap": source} for source in sources]}}


def _source(shard: Shard, path: str, **more: bool) -> Manifest:
    return {"name": shard.name, "items": [{"key": shard.key, "path": path}], **more}


def _job(
    run: Run,
    name: str,
    kind: ObjectKind,
    round_: int,
    attempt: int,
    command: str,
    completions: int,
    parallelism: int,
    seconds: int,
    volumes: Mapping[str, Manifest],
    around: Surroundings,
    allowance: Allowance,
) -> Manifest:
    labels = {**_labels(run.key, run.id, kind), LABEL_ROUND: str(round_), LABEL_ATTEMPT: str(attempt)}
    annotations = {ANNOTATION_COMPILATION: run.key.name}
    if around.earlier:
        volumes = {**volumes, str(names.EARLIER_DIR): _earlier_volume(around.earlier)}
    pod = _pod_spec(run, name, command, seconds, volumes, around.pull_policy)
    if around.rates.models:
        pod["containers"][0]["env"] += [
            {"name": names.ENV_LIMITER, "value": around.limiter},
            {"name": names.ENV_RATE_LIMITS, "value": around.rates.to_json()},
        ]
    if allowance.is_limited:
        annotations[ANNOTATION_ALLOWANCE] = allowance.to_json()
        pod["containers"][0]["env"] += [{"name": names.ENV_ALLOWANCE, "value": allowance.to_json()}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": run.key.namespace,
            "labels": {**around.queue, **labels},
            "annotations": dict(annotations),
            "ownerReferences": [owner(run.key)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": completions,
            "parallelism": parallelism,
            # Each index has one pod: a repeat by Kubernetes would pay again for cells that are in the journal. Our next
            # attempt does only what is missing.
            "backoffLimitPerIndex": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": object_names.CONTAINER,
                            "operator": "In",
                            "values": sorted(int(code) for code in names.TERMINAL_EXITS),
                        },
                    },
                    {"action": "FailIndex", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": {"labels": labels, "annotations": annotations, "finalizers": [FINALIZER]},
                "spec": pod,
            },
        },
    }


def _pod_spec(
    run: Run, job: str, command: str, seconds: int, volumes: Mapping[str, Manifest], pull_policy: str
) -> Manifest:
    swarm, journal = run.spec.swarm, run.spec.journal
    mounted: dict[str, Manifest] = {
        str(names.RUN_DIR): {"configMap": {"name": object_names.run_map(run.key.name, run.id)}},
        **volumes,
        **{str(names.SOURCES_DIR / name): {"configMap": {"name": name}} for name in sorted(run.spec.config_maps())},
    }
    if journal is not None and journal.persistent_volume_claim is not None:
        claim = {"claimName": journal.persistent_volume_claim.claim_name}
        mounted[str(names.DEPOT_DIR)] = {"persistentVolumeClaim": claim}
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
                "image": run.image,
                **({"imagePullPolicy": pull_policy} if pull_policy else {}),
                "args": [command],
                "env": [*_environment(run, job), *_variables(run)],
                **_variables_from(run),
                "resources": {"requests": swarm.resources.requested, "limits": dict(swarm.resources.limits)},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "terminationMessagePath": str(names.TERMINATION_LOG),
                "terminationMessagePolicy": "File",
                "volumeMounts": [
                    *(
                        {
                            "name": f"volume-{number}",
                            "mountPath": path,
                            "readOnly": "persistentVolumeClaim" not in volume,
                        }
                        for number, (path, volume) in enumerate(mounted.items())
                    ),
                    {"name": "tmp", "mountPath": "/tmp"},
                ],
            }
        ],
        "volumes": [
            *({"name": f"volume-{number}", **volume} for number, volume in enumerate(mounted.values())),
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    }
    if swarm.node_selector:
        made["nodeSelector"] = dict(swarm.node_selector)
    if swarm.tolerations:
        made["tolerations"] = [_written(toleration) for toleration in swarm.tolerations]
    if swarm.image_pull_secrets:
        made["imagePullSecrets"] = [{"name": secret.name} for secret in swarm.image_pull_secrets]
    if swarm.service_account_name:
        made["serviceAccountName"] = swarm.service_account_name
    return made


def _environment(run: Run, job: str) -> list[Manifest]:
    secrets = {api_key_env(role): secret for role, secret in sorted(run.spec.secrets().items())}
    if run.spec.journal is not None and run.spec.journal.options is not None:
        secrets[names.ENV_DEPOT_OPTIONS] = run.spec.journal.options.secret
    plain = {
        names.ENV_NONCE: object_names.nonce(run.key.uid, job),
        names.ENV_IMAGE: run.image,
        names.ENV_LINGER_SECONDS: str(LINGER_SECONDS),
        names.ENV_GRACE_SECONDS: str(CELL_GRACE_SECONDS),
        names.ENV_OUTPUT_BYTES: str(OUTPUT_BYTES),
        **_depot(run),
        # A user's own worker image may not set them: only /tmp can be written to, and order must not differ by pod.
        "HOME": "/tmp",
        "DSPY_CACHEDIR": "/tmp/dspy",
        "PYTHONHASHSEED": "0",
    }
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}}
            for name, secret in secrets.items()
        ),
    ]


def _variables(run: Run) -> list[Manifest]:
    """The user's own."""
    prefix = variable_prefix(len(run.spec.env_from))
    made = []
    for variable in run.spec.env:
        if variable.value_from is not None:
            value: Manifest = {"valueFrom": _written(variable.value_from)}
        else:
            # The kubelet replaces $(NAME), and takes $$ for $.
            value = {"value": (variable.value or "").replace("$", "$$")}
        made.append({"name": prefix + variable.name, **value})
    return made


def _variables_from(run: Run) -> Manifest:
    made = [
        {**_written(source), "prefix": variable_prefix(number) + (source.prefix or "")}
        for number, source in enumerate(run.spec.env_from)
    ]
    return {"envFrom": made} if made else {}


def _written(part: SpecModel) -> Manifest:
    return part.model_dump(mode="json", by_alias=True, exclude_none=True)


def _depot(run: Run) -> dict[str, str]:
    """A folder for each Compilation: a namesake that is made later has another one."""
    journal = run.spec.journal
    if journal is None:
        return {}
    base = (journal.url or f"file://{names.DEPOT_DIR}").rstrip("/")
    return {names.ENV_DEPOT: f"{base}/{run.key.namespace}/{run.key.name}/{run.key.uid}"}
