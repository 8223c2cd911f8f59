"""Converts API objects to facts (pure). It does not trust what a pod or a user may have written into these objects."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from swarm_operator.cluster.resources import MANAGER
from swarm_operator.compilation.api import (
    ANNOTATION_ALLOWANCE,
    ANNOTATION_BYTES,
    ANNOTATION_COMPILATION,
    ANNOTATION_PARTIAL,
    ANNOTATION_SHA256,
    FINALIZER,
    KUEUE_PREFIX,
    LABEL_ATTEMPT,
    LABEL_KIND,
    LABEL_ROLE,
    LABEL_ROUND,
    LABEL_RUN,
    LABEL_UID,
    REQUESTED_AT,
    RERUN_AT,
    ObjectKind,
    Reason,
)
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.object_names import CONTAINER, TRAINER
from swarm_operator.compilation.model.pods import Job, Pod, Trouble
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.world import Compilation, Key, MapRef, PublishedArtifact, PublishedProgram
from swarm_operator.compilation.status import Status
from swarm_wire.names import PROGRAM_FILE
from swarm_wire.pod_output import parse_commit
from swarm_wire.spending import UNLIMITED, Allowance
from swarm_wire.words import printable

Object = Mapping[str, Any]

WAITING: Final[Mapping[str, Reason]] = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "ImageInspectError": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.POD_CANNOT_START,
    "CreateContainerError": Reason.POD_CANNOT_START,
    "RunContainerError": Reason.POD_CANNOT_START,
}
"""The kubelet's reasons for a wait that does not end by itself."""
KILLED: Final = 137
"""Exit code of a process that the signal SIGKILL ended."""
OUT_OF_MEMORY: Final = "OOMKilled"
"""The kubelet's reason for the end of a container, if it knows that memory was the cause."""
NEVER_RAN: Final = frozenset({"StartError", "ContainerCannotRun"})
"""The container runtime's reasons for the end of a container in which no process was started."""
OVER: Final = frozenset({"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"})
"""Types of conditions of a Job that starts no more pods."""


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def own_key(found: Object) -> Key:
    """Returns namespace, name and uid of this Compilation."""
    metadata = found["metadata"]
    return Key(metadata["namespace"], metadata["name"], metadata["uid"])


def key_of(found: Object) -> Key | None:
    """Returns the key of an object's Compilation, according to the operator's labels and annotations on the object."""
    metadata = found.get("metadata") or {}
    uid = (metadata.get("labels") or {}).get(LABEL_UID)
    name = (metadata.get("annotations") or {}).get(ANNOTATION_COMPILATION)
    namespace = metadata.get("namespace")
    return Key(namespace, name, uid) if uid and name and namespace else None


def compilation(found: Object) -> Compilation:
    metadata = found["metadata"]
    return Compilation(
        key=own_key(found),
        resource_version=metadata["resourceVersion"],
        generation=metadata["generation"],
        requested_at=(metadata.get("annotations") or {}).get(REQUESTED_AT),
        rerun_at=(metadata.get("annotations") or {}).get(RERUN_AT),
        deleting="deletionTimestamp" in metadata,
        given=found.get("spec") or {},
        status=Status.of(found.get("status")),
        queue={name: value for name, value in (metadata.get("labels") or {}).items() if name.startswith(KUEUE_PREFIX)},
    )


def owned_by(metadata: Object, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in metadata.get("ownerReferences") or ())


def job(found: Object) -> Job | None:
    """Converts a Job. Returns None if its labels are not the operator's."""
    metadata = found["metadata"]
    labels = metadata.get("labels") or {}
    try:
        shards = list(_shards(found["spec"]))
        return Job(
            name=metadata["name"],
            uid=metadata["uid"],
            run_id=labels[LABEL_RUN],
            kind=_role(labels),
            round=int(labels[LABEL_ROUND]),
            attempt=int(labels[LABEL_ATTEMPT]),
            completions=found["spec"].get("completions") or 1,
            created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
            suspended=found["spec"].get("suspend") is True,
            mounted=frozenset(source["name"] for source in shards),
            needed=frozenset(source["name"] for source in shards if not source.get("optional")),
            allowance=_allowance(metadata),
            is_partial=ANNOTATION_PARTIAL in (metadata.get("annotations") or {}),
            finished=is_finished(found),
        )
    except (KeyError, ValueError):
        return None


def is_finished(job: Object) -> bool:
    """Whether a Job starts no more pods, as the Job controller says."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(_is(conditions, type_) for type_ in OVER)


def _role(labels: Object) -> ObjectKind:
    """Returns the job role in the labels. Raises KeyError or ValueError if they name no job role."""
    role = ObjectKind(labels[LABEL_ROLE])
    if role not in ROLES:
        raise ValueError(f"{role} is no role of a Job")
    return role


def _shards(spec: Object) -> Iterable[Object]:
    """Yields the ConfigMaps whose shards a Job's pods mount. Only shards are mounted by projected volumes."""
    for volume in ((spec.get("template") or {}).get("spec") or {}).get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if "name" in (found := source.get("configMap") or {}):
                yield found


def pod(found: Object) -> Pod:
    """Converts a pod. A pod that lacks the operator's labels belongs to no run, and the operator releases it."""
    metadata, status = found["metadata"], found.get("status") or {}
    labels = metadata.get("labels") or {}
    container, own = _current(status), _own(status)
    state: Object = container.get("state") or {}
    ended: Object = state.get("terminated") or {}
    has_own = state if container is own else {}
    phase = status.get("phase")
    conditions = status.get("conditions") or ()
    bare = Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        run_id="",
        kind=ObjectKind.WORK,
        round=0,
        attempt=0,
        index=0,
        job="",
        job_uid="",
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        held=FINALIZER in (metadata.get("finalizers") or ()),
        started=_has_run(has_own),
        prepares=any(_has_run(before.get("state") or {}) for before in status.get("initContainerStatuses") or ()),
        # Kubernetes never starts an ended container again. The pod's phase changes up to a second after that end.
        ended=bool(ended) or phase in ("Succeeded", "Failed") or _never(found),
        deleted_at=moment(metadata.get("deletionTimestamp")),
        finished_at=moment(ended.get("finishedAt")) or _transition(conditions),
        # The exit codes of the user's trainer have no meaning here.
        exit_code=None if container.get("name") == TRAINER else ended.get("exitCode"),
        disrupted=_is(conditions, "DisruptionTarget"),
        failure=_failure(status, container, found),
        trouble=_trouble(state, conditions),
    )
    try:
        job_name = labels["batch.kubernetes.io/job-name"]
        return replace(
            bare,
            run_id=labels.get(LABEL_RUN, ""),
            kind=_role(labels),
            round=int(labels[LABEL_ROUND]),
            attempt=int(labels[LABEL_ATTEMPT]),
            index=int(labels.get("batch.kubernetes.io/job-completion-index") or 0),
            job=job_name,
            job_uid=labels["batch.kubernetes.io/controller-uid"],
            commit=parse_commit(termination_message(found), object_names.nonce(labels[LABEL_UID], job_name)),
            allowance=_allowance(metadata),
        )
    except (KeyError, ValueError):
        return bare


def _allowance(metadata: Object) -> Allowance:
    text = (metadata.get("annotations") or {}).get(ANNOTATION_ALLOWANCE)
    try:
        return Allowance.model_validate_json(text) if text else UNLIMITED
    except ValueError:
        return UNLIMITED


def map_ref(found: Object) -> MapRef:
    metadata = found["metadata"]
    labels = metadata.get("labels") or {}
    round_ = labels.get(LABEL_ROUND, "")
    size = (metadata.get("annotations") or {}).get(ANNOTATION_BYTES, "")
    return MapRef(
        name=metadata["name"],
        uid=metadata["uid"],
        run_id=labels.get(LABEL_RUN, ""),
        kind=labels.get(LABEL_KIND, ""),
        round=int(round_) if round_.isdigit() else 0,
        size=int(size) if size.isdigit() else 0,
        created_at=moment(metadata.get("creationTimestamp")),
    )


def artifact(found: Object) -> PublishedArtifact:
    """Returns the ConfigMap that has the artifact's name, from its metadata."""
    metadata = found["metadata"]
    owners = [owner.get("uid", "") for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    return PublishedArtifact(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner_uid=owners[0] if owners else "",
        run_id=(metadata.get("labels") or {}).get(LABEL_RUN, ""),
        sha256=(metadata.get("annotations") or {}).get(ANNOTATION_SHA256, ""),
        partial=(metadata.get("annotations") or {}).get(ANNOTATION_PARTIAL, ""),
        foreign=any(
            entry.get("manager") != MANAGER and {"f:data", "f:binaryData"} & set(entry.get("fieldsV1") or ())
            for entry in metadata.get("managedFields") or ()
        ),
    )


def published_program(found: Object) -> PublishedProgram:
    """Returns the published program in a ConfigMap of an artifact. The ConfigMap may be anybody's."""
    text = (found.get("data") or {}).get(PROGRAM_FILE)
    return PublishedProgram(artifact(found), hashlib.sha256(text.encode()).hexdigest() if text else "")


def termination_message(found: Object) -> str | None:
    """Returns what the container of a pod has left at its end; None before its end."""
    state: Object = _current(found.get("status") or {}).get("state") or {}
    text = (state.get("terminated") or {}).get("message")
    return None if text is None else str(text)


def _own(status: Object) -> Object:
    """Returns the status of the container that prints records."""
    found = status.get("containerStatuses") or ()
    return next((container for container in found if container.get("name") == CONTAINER), {})


def _current(status: Object) -> Object:
    """Returns the status of the container whose turn it is: the first that has not ended well, else the last."""
    before: Iterable[Object] = status.get("initContainerStatuses") or ()
    for container in before:
        ended = (container.get("state") or {}).get("terminated")
        if ended is None or ended.get("exitCode") != 0:
            return container
    return _own(status)


def _has_run(state: Object) -> bool:
    """Whether a container runs or has run."""
    ended: Object = state.get("terminated") or {}
    return bool(state.get("running") or ended) and ended.get("reason") not in NEVER_RAN


def _never(found: Object) -> bool:
    """Whether a pod was deleted before it had a node. No scheduler will give it a node any more."""
    placed = (found.get("spec") or {}).get("nodeName") or (found.get("status") or {}).get("phase") != "Pending"
    return "deletionTimestamp" in found["metadata"] and not placed


def _is(conditions: Iterable[Object], type_: str) -> bool:
    return any(condition.get("type") == type_ and condition.get("status") == "True" for condition in conditions)


def _transition(conditions: Iterable[Object]) -> datetime | None:
    """Returns the latest time in a pod's conditions.

    If the pod has ended and its container never ran, this is its end.
    """
    moments = [found for condition in conditions if (found := moment(condition.get("lastTransitionTime")))]
    return max(moments, default=None)


def _resources(found: Object, name: str) -> Object:
    """Returns the resources of a pod's container, as the API server admitted the pod."""
    spec = found.get("spec") or {}
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    return next((each.get("resources") or {} for each in containers if each.get("name") == name), {})


def _failure(status: Object, container: Object, found: Object) -> str:
    """Returns how a pod ended, such as "OOMKilled (exit code 137)"."""
    name, ended = str(container.get("name") or CONTAINER), (container.get("state") or {}).get("terminated") or {}
    if name != TRAINER or not ended or status.get("reason"):
        return _how(status, ended, _resources(found, name), "spec.swarm")
    how = _how(status, ended, _resources(found, name), "spec.finetune.trainer")
    said = str(ended.get("message") or "").strip().rpartition("\n")[2]
    return f"the trainer ended: {how}" + (f"; its last line: {printable(said)[:300]}" if said else "")


def _how(status: Object, ended: Object, resources: Object, field: str) -> str:
    """Returns how a container ended. A kubelet may not know that memory was the cause."""
    if status.get("reason"):
        return f"{status['reason']}: {status.get('message') or ''}".rstrip(": ")
    if not ended:
        return ""
    number, reason = ended.get("exitCode"), ended.get("reason")
    code = f"exit code {number}"
    if reason == OUT_OF_MEMORY:
        return f"{reason} ({code}): {_memory(resources, field)}"
    if number == KILLED and reason == "Error":
        return f"{code}, killed: perhaps it had too little memory; {_memory(resources, field)}"
    return f"{reason} ({code})" if reason and reason not in ("Error", "Completed") else code


def _memory(resources: Object, field: str) -> str:
    """Tells people how much memory a pod had, and which field raises it.

    Without a limit, the node's memory is the limit.
    """
    for kind in ("limits", "requests"):
        if (given := (resources.get(kind) or {}).get("memory")) is not None:
            return f"raise {field}.resources.{kind}.memory, which was {given}"
    return f"set {field}.resources.requests.memory"


def _trouble(state: Object, conditions: Iterable[Object]) -> Trouble | None:
    waiting: Object = state.get("waiting") or {}
    said = str(waiting.get("reason"))
    if said in WAITING:
        message = str(waiting.get("message") or said)
        reason = WAITING[said]
        if reason is Reason.POD_CANNOT_START and "secret" in message.lower():
            reason = Reason.MISSING_SECRET
        return Trouble(reason, message[:500])
    for condition in conditions:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble(Reason.UNSCHEDULABLE, str(condition.get("message") or "no node takes it")[:500])
    return None
