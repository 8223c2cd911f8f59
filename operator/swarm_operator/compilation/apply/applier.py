"""The only writer. Every write may be repeated: names are computed, and what is there already is what was wanted."""

import contextlib
from datetime import datetime
from typing import Final, assert_never

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube, Object
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS, JOBS, MANAGER, PODS, Resource
from swarm_operator.compilation.api import API_VERSION, COMPILATIONS, FINALIZER, KIND, KUEUE_PREFIX, ObjectKind
from swarm_operator.compilation.apply import manifests
from swarm_operator.compilation.decide.conditions import timestamp
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import (
    Action,
    ClaimName,
    DropJob,
    DropMap,
    Event,
    KeepRecords,
    MergeShards,
    OpenRun,
    Publish,
    ReleasePod,
    StartPlan,
    StartWork,
)
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import Compilation, Key, Run, World
from swarm_operator.compilation.observe import objects
from swarm_operator.settings import Settings
from swarm_wire.messages import RunRequest
from swarm_wire.rates import rate_limits

RELEASE_TRIES: Final = 5


class Applier:
    """Carries out decisions."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self._kube, self._settings = kube, settings

    async def act(self, world: World, action: Action) -> None:
        """One action. Raises errors.ApiError or manifests.TooLarge."""
        key = world.compilation.key
        match action:
            case OpenRun():
                await self._keep(world, self._run_map(world))
            case KeepRecords(kind, round_, attempt, records):
                for body in manifests.shard_maps(_run(world), kind, round_, attempt, records):
                    await self._keep(world, body)
            case MergeShards(shards):
                data = b"".join([await self._data(key, shard) for shard in shards])
                await self._keep(world, manifests.merged_map(key, shards, data))
            case StartPlan(round_, attempt):
                journal, around = world.journal.of(ObjectKind.RESULTS), self._around(world)
                body = manifests.plan_job(
                    _run(world),
                    round_,
                    attempt,
                    journal,
                    around,
                    action.allowance,
                    action.ending,
                    action.runs_cells,
                    leftover=[] if action.ending else world.journal.leftover,
                )
                await self._create(JOBS, key, body)
            case StartWork(assignment, strikes, allowance):
                await self._keep(world, manifests.assignment_map(_run(world), assignment, dict(strikes)))
                tasks, journal = world.journal.task_shards(assignment.round), world.journal.of(ObjectKind.RESULTS)
                body = manifests.work_job(_run(world), assignment, tasks, journal, self._around(world), allowance)
                await self._create(JOBS, key, body)
            case ClaimName():
                body = manifests.unwritten_artifact(key, _run(world).spec.artifact_name(key.name))
                await self._create(CONFIG_MAPS, key, body)
            case Publish(artifact):
                body = manifests.artifact_map(_run(world), artifact)
                # The very object that was found to be ours, as it was then.
                assert world.artifact is not None, "its name was claimed"
                body["metadata"] |= {"uid": world.artifact.uid, "resourceVersion": world.artifact.resource_version}
                await self._kube.apply(CONFIG_MAPS, key.namespace, body["metadata"]["name"], body)
            case ReleasePod(name, uid):
                await self.release(key, name, uid)
            case DropJob(name, uid):
                await self.delete(JOBS, key, name, uid)
            case DropMap(name, uid):
                await self.delete(CONFIG_MAPS, key, name, uid)
            case _:
                assert_never(action)

    async def release(self, key: Key, name: str, uid: str) -> None:
        """Takes our finalizer off a pod, and no other.

        The Job controller takes its own off at the same time, so the list may change between reading and writing.
        """
        for _ in range(RELEASE_TRIES):
            try:
                return await self._release(key, name, uid)
            except errors.Rejected:
                continue
        raise errors.Conflict(f"pod {name}: its finalizers change all the time")

    async def _release(self, key: Key, name: str, uid: str) -> None:
        found = await self._kube.get(PODS, key.namespace, name, metadata_only=True)
        if found is None or found["metadata"]["uid"] != uid:
            return
        finalizers = found["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return
        path = f"/metadata/finalizers/{finalizers.index(FINALIZER)}"
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": path, "value": FINALIZER},
            {"op": "remove", "path": path},
        ]
        with contextlib.suppress(errors.Vanished):
            await self._kube.patch(PODS, key.namespace, name, operations)

    async def write_status(self, compilation: Compilation, status: Object) -> None:
        """As seen: an object that changed since then, or that was made anew, is a Conflict."""
        key = compilation.key
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "uid": key.uid,
                "resourceVersion": compilation.resource_version,
            },
            "status": status,
        }
        await self._kube.apply(COMPILATIONS, key.namespace, key.name, body, subresource="status")

    async def tell(self, compilation: Compilation, event: Event, now: datetime) -> None:
        """Writes an Event. The same thing said of the same run has the same name: it is written once."""
        key = compilation.key
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": object_names.event(key.name, key.uid, event.run_id, event.reason, event.message),
                "namespace": key.namespace,
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": key.name,
                "namespace": key.namespace,
                "uid": key.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1000],
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "firstTimestamp": timestamp(now),
            "lastTimestamp": timestamp(now),
            "count": 1,
        }
        with contextlib.suppress(errors.Exists, errors.Vanished):
            await self._kube.create(EVENTS, key.namespace, body)

    def _run_map(self, world: World) -> Object:
        """The request holds the image that the run begins with: an operator's new default is for new runs."""
        compilation = world.compilation
        spec = compilation.spec
        assert spec is not None
        request = RunRequest(
            run_id=compilation.run_id,
            name=compilation.key.name,
            namespace=compilation.key.namespace,
            requested_at=compilation.requested_at,
            rerun_at=compilation.rerun_at,
            spec=spec.model_copy(update={"image": spec.image or self._settings.worker_image}),
        )
        return manifests.run_map(compilation.run_id, compilation.key, request)

    def _around(self, world: World) -> manifests.Surroundings:
        """Providers' limits as the spec has them now: a run goes on with other ones."""
        key, spec = world.compilation.key, world.compilation.spec
        assert spec is not None
        rates = rate_limits(spec, key.namespace, key.name)
        policy, queue = self._settings.image_pull_policy, world.compilation.queue
        return manifests.Surroundings(policy, self._settings.limiter, rates, queue, world.earlier_shards)

    async def _keep(self, world: World, body: Object) -> None:
        """A ConfigMap, unless it was seen: an operator that dies after every write gets to the next one."""
        if body["metadata"]["name"] not in {found.name for found in world.maps}:
            await self._create(CONFIG_MAPS, world.compilation.key, body)

    async def _data(self, key: Key, shard: Shard) -> bytes:
        """What a shard holds. Raises errors.Conflict where it is not there any more as it was seen."""
        found = await self._kube.get(CONFIG_MAPS, key.namespace, shard.name)
        data = manifests.shard_data(found, shard) if found else None
        if data is None:
            raise errors.Conflict(f"ConfigMap {shard.name} was deleted or altered")
        return data

    async def _create(self, resource: Resource, key: Key, body: Object) -> None:
        name = body["metadata"]["name"]
        try:
            await self._kube.create(resource, key.namespace, body)
        except errors.Exists:
            found = await self._kube.get(resource, key.namespace, name, metadata_only=True)
            if found is None:
                raise errors.Conflict(f"{resource.plural} {name} is being deleted") from None
            if not objects.owned_by(found["metadata"], key.uid):
                raise errors.NameTaken(f"{resource.plural} {name} exists and is not this Compilation's") from None
            if not _labels_for_us(body) <= _labels_for_us(found):
                message = f"somebody has changed the labels of {resource.plural} {name}: delete it"
                raise errors.NameTaken(message) from None
            if "deletionTimestamp" in found["metadata"]:
                raise errors.Unavailable(f"{resource.plural} {name} is being deleted") from None

    async def delete(self, resource: Resource, key: Key, name: str, uid: str) -> None:
        with contextlib.suppress(errors.Vanished, errors.Conflict):
            await self._kube.delete(resource, key.namespace, name, uid)


def _labels_for_us(body: Object) -> set[tuple[str, str]]:
    """By which an object is found, and known for what it is; others are for queues."""
    labels = body["metadata"].get("labels") or {}
    return {(name, value) for name, value in labels.items() if not name.startswith(KUEUE_PREFIX)}


def _run(world: World) -> Run:
    assert world.run is not None
    return world.run
