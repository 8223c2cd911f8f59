"""Makes one pass over one trigger: reads it and its Compilation, decides, writes."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube, Object
from swarm_operator.cluster.resources import MANAGER
from swarm_operator.compilation import api
from swarm_operator.compilation.api import ConditionType
from swarm_operator.compilation.apply.applier import Applier
from swarm_operator.compilation.apply.metadata import owner
from swarm_operator.compilation.decide.conditions import settled
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.observe import objects
from swarm_operator.settings import Settings
from swarm_operator.trigger.api import CAUSE, KIND, TRIGGERS
from swarm_operator.trigger.decide import StartRun, decide, refused
from swarm_operator.trigger.status import RunStatus, TriggerStatus
from swarm_operator.trigger.world import Owned, World
from swarm_wire.words import sentence

log = logging.getLogger(__name__)


class Reconciler:
    """Makes passes over triggers. Passes over the same trigger must not overlap. It keeps no state.

    Args:
        clock: the time of the API server.
    """

    def __init__(self, kube: Kube, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._kube, self._settings, self._clock = kube, settings, clock

    async def __call__(self, key: Key) -> float | None:
        """Makes one pass. Returns the seconds until the next pass; None if only an event starts the next pass.

        Raises errors.ApiError if the caller should try again with increasing delays.
        """
        found = await self._kube.get(TRIGGERS, key.namespace, key.name)
        if found is None or found["metadata"]["uid"] != key.uid:
            return None
        owned = await self._kube.get(api.COMPILATIONS, key.namespace, key.name)
        world = read(found, owned)
        now = self._clock()
        decision = decide(world, now)
        applier = Applier(self._kube, key, kind=KIND, resource=TRIGGERS)
        try:
            if decision.action is not None:
                await self._start(world, decision.action, applier, now)
            if decision.status is not None and decision.status.as_written() != world.status.as_written():
                await applier.write_status(world.resource_version, decision.status.as_written())
                for event in decision.events:
                    log.info("%s: %s: %s", key, event.reason, event.message)
                    await applier.tell(event, now)
        except errors.Vanished as error:
            log.info("%s: %s", key, error)
            return None
        return decision.wake_up

    async def _start(self, world: World, action: StartRun, applier: Applier, now: datetime) -> None:
        key, body = world.key, compilation(world, action)
        if world.owned is not None:
            # Somebody may have deleted or replaced the Compilation since it was read.
            body["metadata"] |= {"uid": world.owned.uid, "resourceVersion": world.owned.resource_version}
        try:
            # A user may have edited the Compilation, or requested a run by hand. The trigger takes its fields back.
            await self._kube.apply(api.COMPILATIONS, key.namespace, key.name, body, force=True)
        except (errors.Forbidden, errors.Rejected) as error:
            status = refused(world, now, sentence(str(error))).status
            if status is not None and status.as_written() != world.status.as_written():
                await applier.write_status(world.resource_version, status.as_written())
            raise
        log.info("%s: StartRun(%s)", key, action.cause)


def read(found: Object, owned: Object | None) -> World:
    """Returns the facts of a trigger, and of the Compilation with its name."""
    metadata = found["metadata"]
    return World(
        key=objects.own_key(found),
        resource_version=metadata["resourceVersion"],
        generation=metadata["generation"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        given=found.get("spec") or {},
        status=TriggerStatus.of(found.get("status")),
        owned=_owned(owned, metadata["uid"]) if owned is not None else None,
    )


def _owned(found: Object, uid: str) -> Owned:
    metadata, seen = found["metadata"], objects.compilation(found)
    cause, status = str((metadata.get("annotations") or {}).get(CAUSE, "")), seen.status
    if not objects.owned_by(metadata, uid):
        return Owned(False)
    made = Owned(True, cause, not cause, uid=metadata["uid"], resource_version=metadata["resourceVersion"])
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
        cause=cause if is_newest and cause in (seen.rerun_at, seen.requested_at) else "",
        start_time=status.start_time,
        completion_time=status.completion_time,
        reason=ready.reason if ready else "",
        score=status.scores.best if status.scores else None,
        cost_usd=max((cost for cost in costs if cost is not None), default=None),
        limit_usd=usage.allowed.cost_usd if usage and usage.allowed else None,
    )
    is_over = is_newest and (rests or settled(status, status.run_id) is not None)
    return replace(made, is_over=is_over, run=run)


def _is_later(start: str, cause: str) -> bool:
    try:
        return datetime.fromisoformat(start) >= datetime.fromisoformat(cause.rpartition(" ")[2])
    except ValueError:
        return True


def compilation(world: World, action: StartRun) -> dict[str, Any]:
    """Returns the manifest of the trigger's Compilation, whose annotations request a run."""
    key, cause = world.key, str(action.cause)
    metadata = world.spec.template.metadata if world.spec else None
    asks = api.RERUN_AT if action.reuses else api.REQUESTED_AT
    written: Mapping[str, str] = metadata.annotations if metadata else {}
    spec = dict(world.given["template"]["spec"])
    if action.limit_usd is not None:
        spec["limits"] = {**spec.get("limits", {}), "costUSD": action.limit_usd}
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {**(metadata.labels if metadata else {}), api.LABEL_MANAGED_BY: MANAGER},
            "annotations": {**written, asks: cause, CAUSE: cause},
            "ownerReferences": [owner(key, KIND)],
        },
        "spec": spec,
    }


def key_of(found: Any) -> Key | None:
    """Returns the key of the trigger that owns an object, by the object's owner reference."""
    metadata = found.get("metadata") or {}
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("kind") == KIND and reference.get("apiVersion", "").startswith(f"{api.GROUP}/"):
            return Key(metadata["namespace"], reference["name"], reference["uid"])
    return None
