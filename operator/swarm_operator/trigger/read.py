"""Converts API objects to facts (pure)."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from swarm_operator.compilation import api
from swarm_operator.compilation.api import ConditionType
from swarm_operator.compilation.decide.conditions import settled
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.observe import objects
from swarm_operator.trigger.api import (
    ANNOTATION_TRIGGER,
    ANNOTATION_WATCH,
    BEGUN,
    CAUSE,
    KIND,
    LABEL_NUMBER,
    LABEL_TRIGGER,
    MODEL,
)
from swarm_operator.trigger.status import RunStatus, TriggerStatus
from swarm_operator.trigger.world import LookJob, Owned, World
from swarm_wire.pod_output import parse_commit
from swarm_wire.report import Verdict

Object = Mapping[str, Any]


def key_of(found: Object) -> Key | None:
    """Returns the key of the trigger to which a Compilation, a Job or a pod belongs; None if it belongs to none."""
    metadata = found.get("metadata") or {}
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("kind") == KIND and reference.get("apiVersion", "").startswith(f"{api.GROUP}/"):
            return Key(metadata["namespace"], reference["name"], reference["uid"])
    uid = (metadata.get("labels") or {}).get(LABEL_TRIGGER)
    name = (metadata.get("annotations") or {}).get(ANNOTATION_TRIGGER)
    return Key(metadata["namespace"], name, uid) if uid and name else None


def world(found: Object) -> World:
    """Returns the facts of a trigger alone."""
    metadata = found["metadata"]
    return World(
        key=objects.own_key(found),
        resource_version=metadata["resourceVersion"],
        generation=metadata["generation"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        given=found.get("spec") or {},
        status=TriggerStatus.of(found.get("status")),
    )


def owned(found: Object, uid: str) -> Owned:
    """Returns the facts of a Compilation that has the name of the trigger with this uid, or is of a new model."""
    metadata, seen = found["metadata"], objects.compilation(found)
    cause, status = str((metadata.get("annotations") or {}).get(CAUSE, "")), seen.status
    if not objects.owned_by(metadata, uid):
        return Owned(False)
    has_drifted = status.drift is not None and status.drift.verdict == Verdict.WORSE
    made = Owned(
        True,
        cause,
        not cause,
        name=metadata["name"],
        has_published=status.artifact is not None,
        drifted=(status.run_id or "") if has_drifted and status.completion_time else "",
        requested_at=seen.requested_at or "",
        begun=_begun(metadata),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
    )
    if status.run_id is None or status.start_time is None:
        return made
    # After a change of a limit, the run goes on with the id that it had.
    is_newest = status.run_id == seen.run_id or _is_later(status.start_time, cause)
    ready, stalled = status.condition(ConditionType.READY), status.condition(ConditionType.STALLED)
    usage = status.usage
    costs = [usage.cost_usd, usage.spent.cost_usd if usage.spent else None] if usage else []
    # A run that waits for somebody, or that a user has suspended, is no reason to leave out a cause.
    rests = stalled is not None or (ready is not None and ready.reason == api.Reason.SUSPENDED)
    run = RunStatus(
        run_id=status.run_id,
        cause=cause if is_newest and cause == seen.rerun_at else "",
        start_time=status.start_time,
        completion_time=status.completion_time,
        reason=ready.reason if ready else "",
        score=status.scores.best if status.scores else None,
        cost_usd=max((cost for cost in costs if cost is not None), default=None),
        limit_usd=usage.allowed.cost_usd if usage and usage.allowed else None,
    )
    is_over = is_newest and (rests or settled(status, status.run_id) is not None)
    return replace(made, is_over=is_over, run=run)


def trials(found: Iterable[Object], key: Key) -> dict[str, Owned]:
    """Returns the facts of the Compilations that the trigger owns for new models, by model."""
    made = dict[str, Owned]()
    for each in found:
        model = str((each["metadata"].get("annotations") or {}).get(MODEL, ""))
        its = owned(each, key.uid)
        if its.is_ours and model and each["metadata"]["name"] != key.name:
            made[model] = replace(its, run=(its.run or _begins(each)).model_copy(update={"compilation": its.name}))
    return made


def _begins(found: Object) -> RunStatus:
    """Returns the run of a new Compilation that has no status yet. It may spend its limit."""
    seen = objects.compilation(found)
    limits, cause = (found.get("spec") or {}).get("limits") or {}, str(seen.rerun_at or "")
    return RunStatus(
        run_id=seen.run_id,
        cause=cause,
        start_time=found["metadata"]["creationTimestamp"],
        limit_usd=limits.get("costUSD"),
    )


def _begun(metadata: Object) -> dict[str, str]:
    try:
        found = json.loads((metadata.get("annotations") or {}).get(BEGUN, "{}"))
    except ValueError:
        return {}
    return {str(kind): str(digest) for kind, digest in found.items()} if isinstance(found, dict) else {}


def _is_later(start: str, cause: str) -> bool:
    try:
        return datetime.fromisoformat(start) >= datetime.fromisoformat(cause.rpartition(" ")[2])
    except ValueError:
        return True


def looks(jobs: Iterable[Object], pods: Sequence[Object]) -> tuple[LookJob, ...]:
    """Returns the Jobs of looks, in the order of their numbers."""
    by_job = {(each["metadata"].get("labels") or {}).get("batch.kubernetes.io/controller-uid"): each for each in pods}
    found = (_look(job, by_job.get(job["metadata"]["uid"])) for job in jobs)
    return tuple(sorted(filter(None, found), key=lambda look: look.number))


def _look(job: Object, pod: Object | None) -> LookJob | None:
    metadata = job["metadata"]
    labels = metadata.get("labels") or {}
    number = str(labels.get(LABEL_NUMBER, ""))
    if not number.isdigit():
        return None
    nonce = object_names.nonce(str(labels.get(LABEL_TRIGGER)), metadata["name"])
    return LookJob(
        name=metadata["name"],
        uid=metadata["uid"],
        number=int(number),
        watch=str((metadata.get("annotations") or {}).get(ANNOTATION_WATCH, "")),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        is_over=objects.is_finished(job),
        pod=objects.pod(pod) if pod is not None else None,
        commit=parse_commit(objects.termination_message(pod), nonce) if pod is not None else None,
    )


def digest(found: Mapping[str, Object], used: Mapping[str, set[str] | None]) -> str:
    """Returns a digest of the used keys of ConfigMaps.

    Args:
        found: the ConfigMaps by name.
        used: the used keys by the name of the ConfigMap; None for all keys.
    """
    content = {
        name: {
            field: {key: value for key, value in (body.get(field) or {}).items() if _uses(used[name], key)}
            for field in ("data", "binaryData")
        }
        for name, body in found.items()
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _uses(keys: set[str] | None, key: str) -> bool:
    return keys is None or key in keys
