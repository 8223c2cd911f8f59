"""Makes one pass over one trigger: reads it, its Compilation and what it watches, decides, writes."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube, Object
from swarm_operator.cluster.resources import CONFIG_MAPS, JOBS, MANAGER, PODS
from swarm_operator.compilation import api
from swarm_operator.compilation.apply.applier import Applier
from swarm_operator.compilation.apply.metadata import owner
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.world import Key
from swarm_operator.settings import Settings
from swarm_operator.trigger import read, trials
from swarm_operator.trigger.api import BEGUN, CAUSE, KIND, LABEL_TRIGGER, MODEL, TRIGGERS
from swarm_operator.trigger.decide import StartRun, decide, refused
from swarm_operator.trigger.jobs import watch_job
from swarm_operator.trigger.status import TriggerStatus
from swarm_operator.trigger.watches import MODELS, StartLook
from swarm_operator.trigger.world import World
from swarm_wire.spec.compilation import CompilationSpec
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
        world = await self._observed(found, key)
        now = self._clock()
        applier = Applier(self._kube, key, kind=KIND, resource=TRIGGERS)
        try:
            decision = decide(world, now)
            while (action := decision.action) is not None and action.model:
                if (error := await self._try(world, action, applier)) is None:
                    break
                # Other models, and the rest of the pass, do not wait for this one.
                world = replace(world, refused={**world.refused, action.model: sentence(str(error))})
                decision = decide(world, now)
            if decision.action is not None and not decision.action.model:
                await self._start(world, decision.action, applier, now)
            refusal = await self._look(world, decision.looks, applier)
            status = decision.status
            if refusal is not None:
                status = refused(world, now, sentence(str(refusal)), status)
            await self._write(world, status, applier)
            for event in decision.events:
                log.info("%s: %s: %s", key, event.reason, event.message)
                await applier.tell(event, now)
            if refusal is not None:
                raise refusal
            for look in decision.over:
                await applier.delete(JOBS, look.name, look.uid)
        except errors.Vanished as error:
            log.info("%s: %s", key, error)
            return None
        return decision.wake_up

    async def _observed(self, found: Object, key: Key) -> World:
        """Returns the facts of a trigger, of its Compilation, and of what it watches."""
        compilation = await self._kube.get(api.COMPILATIONS, key.namespace, key.name)
        world = replace(read.world(found), owned=read.owned(compilation, key.uid) if compilation else None)
        spec = world.spec
        mine, watched = f"{LABEL_TRIGGER}={key.uid}", {watch.kind for watch in world.status.watches}
        if MODELS in watched or (spec is not None and spec.models is not None):
            found_trials = await self._kube.select(api.COMPILATIONS, key.namespace, labels=mine)
            world = replace(world, trials=read.trials(found_trials, key))
        if watched or (spec is not None and (spec.git is not None or spec.models is not None)):
            jobs = await self._kube.select(JOBS, key.namespace, labels=mine)
            pods = await self._kube.select(PODS, key.namespace, labels=mine) if jobs else ()
            world = replace(world, looks=read.looks(jobs, pods))
        if spec is not None and spec.config_maps:
            world = replace(world, config_maps=await self._digest(spec.template.spec, key))
        return world

    async def _digest(self, spec: CompilationSpec, key: Key) -> str | None:
        """Returns a digest of the ConfigMaps that a Compilation uses; None if one is missing.

        The artifact that the Compilation itself publishes is no change that begins a run.
        """
        used = {name: keys for name, keys in spec.config_maps().items() if name != spec.artifact_name(key.name)}
        found = {name: await self._kube.get(CONFIG_MAPS, key.namespace, name) for name in used}
        there = {name: body for name, body in found.items() if body is not None}
        return read.digest(there, used) if len(there) == len(used) else None

    async def _write(self, world: World, status: TriggerStatus | None, applier: Applier) -> None:
        if status is not None and status.as_written() != world.status.as_written():
            await applier.write_status(world.resource_version, status.as_written())

    async def _start(self, world: World, action: StartRun, applier: Applier, now: datetime) -> None:
        key, body = world.key, compilation(world, action)
        if world.owned is not None:
            # Somebody may have deleted or replaced the Compilation since it was read.
            body["metadata"] |= {"uid": world.owned.uid, "resourceVersion": world.owned.resource_version}
        try:
            # A user may have edited the Compilation, or requested a run by hand. The trigger takes its fields back.
            await self._kube.apply(api.COMPILATIONS, key.namespace, key.name, body, force=True)
        except (errors.Forbidden, errors.Rejected) as error:
            await self._write(world, refused(world, now, sentence(str(error))), applier)
            raise
        log.info("%s: StartRun(%s)", key, action.cause)

    async def _try(self, world: World, action: StartRun, applier: Applier) -> errors.ApiError | None:
        """Creates the Compilation for a new model. Returns the error if the API server refuses it."""
        try:
            await applier.create(api.COMPILATIONS, trial(world, action))
        except (errors.Forbidden, errors.Rejected, errors.NameTaken) as error:
            return error
        log.info("%s: StartRun(%s)", world.key, action.cause)
        return None

    async def _look(self, world: World, looks: Sequence[StartLook], applier: Applier) -> errors.ApiError | None:
        """Starts looks. Returns an error if the API server refuses a Job; then runs still begin."""
        refusal = None
        for look in looks if world.spec is not None else ():
            assert world.spec is not None, "only a valid spec has looks"
            try:
                await applier.create(JOBS, watch_job(look, world.key, world.spec.template.spec, self._settings))
            except (errors.Forbidden, errors.Rejected, errors.NameTaken) as error:
                refusal = error
            else:
                log.info("%s: StartLook(%s)", world.key, look.number)
        return refusal


def trial(world: World, action: StartRun) -> dict[str, Any]:
    """Returns the manifest of the trigger's Compilation for a new model."""
    key, cause = world.key, str(action.cause)
    assert world.spec is not None, "only a valid trigger begins runs"
    assert world.spec.models is not None, "it looks for new models"
    spec = trials.spec_for(world.given["template"]["spec"], key.name, action.model, world.spec.models)
    marks = {api.RERUN_AT: cause, CAUSE: cause, MODEL: action.model}
    made = _manifest(world, object_names.trial(key.name, action.model), spec, marks, action.limit_usd)
    made["metadata"]["labels"][LABEL_TRIGGER] = key.uid
    return made


def compilation(world: World, action: StartRun) -> dict[str, Any]:
    """Returns the manifest of the trigger's Compilation, whose annotations request a run."""
    cause = str(action.cause)
    kept = world.owned.requested_at if world.owned else ""
    # A run reuses what was paid for since the last run that asked the models anew. So it must name that run's request.
    since = kept if action.reuses else cause
    # Without the field, an apply would leave a suspended Compilation suspended.
    spec = {"suspend": False, **world.given["template"]["spec"]}
    marks = {
        **({api.REQUESTED_AT: since} if since else {}),
        api.RERUN_AT: cause,
        CAUSE: cause,
        BEGUN: json.dumps(dict(action.content)),
    }
    return _manifest(world, world.key.name, spec, marks, action.limit_usd)


def _manifest(
    world: World, name: str, spec: dict[str, Any], marks: Mapping[str, str], limit_usd: float | None
) -> dict[str, Any]:
    metadata = world.spec.template.metadata if world.spec else None
    if limit_usd is not None:
        spec = {**spec, "limits": {**spec.get("limits", {}), "costUSD": limit_usd}}
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "metadata": {
            "name": name,
            "namespace": world.key.namespace,
            "labels": {**(metadata.labels if metadata else {}), api.LABEL_MANAGED_BY: MANAGER},
            "annotations": {**(metadata.annotations if metadata else {}), **marks},
            "ownerReferences": [owner(world.key, KIND)],
        },
        "spec": spec,
    }
