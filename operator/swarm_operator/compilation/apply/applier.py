"""Writes a Compilation's objects.

The operator computes each name, so a repeated write finds the object that the first write has created.
"""

import contextlib
from collections.abc import Collection
from datetime import datetime
from typing import Final, assert_never

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube, Object
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS, JOBS, MANAGER, PODS, Resource
from swarm_operator.compilation.api import API_VERSION, COMPILATIONS, FINALIZER, KIND, KUEUE_PREFIX
from swarm_operator.compilation.apply import config_maps
from swarm_operator.compilation.apply.jobs import job
from swarm_operator.compilation.decide.conditions import timestamp
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import (
    Action,
    ClaimName,
    DropJob,
    DropMap,
    Event,
    KeepAssignment,
    KeepRecords,
    KeepRefused,
    MergeShards,
    OpenRun,
    Publish,
    ReleasePod,
    StartJob,
)
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import Key, PublishedProgram
from swarm_operator.compilation.observe import objects
from swarm_wire import names

RELEASE_TRIES: Final = 5


class Applier:
    """Writes the objects of one Compilation.

    Args:
        seen: names of ConfigMaps that the pass has found in the cluster. The applier does not create them again.
        kind: kind of the object whose status and events it writes.
        resource: resource of that kind.
    """

    def __init__(
        self,
        kube: Kube,
        key: Key,
        seen: Collection[str] = (),
        kind: str = KIND,
        resource: Resource = COMPILATIONS,
    ) -> None:
        self._kube, self._key, self._seen = kube, key, seen
        self._kind, self._resource = kind, resource

    async def act(self, action: Action) -> None:
        """Carries out one action. Raises errors.ApiError or config_maps.TooLarge."""
        key = self._key
        match action:
            case OpenRun(request, published):
                program = await self._program(published) if published else None
                await self._keep(config_maps.run_map(key, request, program))
            case KeepRecords():
                for body in config_maps.shard_maps(key, action):
                    await self._keep(body)
            case MergeShards(shards):
                data = b"".join([await self._data(shard) for shard in shards])
                await self._keep(config_maps.merged_map(key, shards, data))
            case KeepAssignment():
                await self._keep(config_maps.assignment_map(key, action))
            case StartJob():
                await self.create(JOBS, job(action))
            case ClaimName(name):
                await self.create(CONFIG_MAPS, config_maps.unwritten_artifact(key, name))
            case Publish(run, artifact, over):
                body = config_maps.artifact_map(run, artifact)
                body["metadata"] |= {"uid": over.uid, "resourceVersion": over.resource_version}
                await self._kube.apply(CONFIG_MAPS, key.namespace, over.name, body)
            case KeepRefused(run, artifact):
                await self._keep(config_maps.refused_map(run, artifact))
            case ReleasePod(name, uid):
                await self.release(name, uid)
            case DropJob(name, uid):
                await self.delete(JOBS, name, uid)
            case DropMap(name, uid):
                await self.delete(CONFIG_MAPS, name, uid)
            case _:
                assert_never(action)

    async def release(self, name: str, uid: str) -> None:
        """Removes the operator's finalizer from a pod, and leaves all other finalizers.

        The Job controller may remove its own finalizer between the operator's read and write. Then the operator tries
        again.
        """
        for _ in range(RELEASE_TRIES):
            try:
                return await self._release(name, uid)
            except errors.Rejected:
                continue
        raise errors.Conflict(f"pod {name}: its finalizers change all the time")

    async def _release(self, name: str, uid: str) -> None:
        found = await self._kube.get(PODS, self._key.namespace, name, metadata_only=True)
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
            await self._kube.patch(PODS, self._key.namespace, name, operations)

    async def write_status(self, resource_version: str, status: Object) -> None:
        """Writes the status.

        Raises Conflict if somebody has changed or recreated the object since the pass read it.
        """
        key = self._key
        body = {
            "apiVersion": API_VERSION,
            "kind": self._kind,
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "uid": key.uid,
                "resourceVersion": resource_version,
            },
            "status": status,
        }
        await self._kube.apply(self._resource, key.namespace, key.name, body, subresource="status")

    async def tell(self, event: Event, now: datetime) -> None:
        """Writes an Event. An equal message about the same run gets the same name, so it is written only once."""
        key = self._key
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": object_names.event(key.name, key.uid, event.run_id, event.reason, event.message),
                "namespace": key.namespace,
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": self._kind,
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

    async def _data(self, shard: Shard) -> bytes:
        """Returns a shard's data.

        Raises errors.Conflict if somebody has deleted or altered its ConfigMap since it was read.
        """
        found = await self._kube.get(CONFIG_MAPS, self._key.namespace, shard.name)
        data = config_maps.shard_data(found, shard) if found else None
        if data is None:
            raise errors.Conflict(f"ConfigMap {shard.name} was deleted or altered")
        return data

    async def _program(self, published: PublishedProgram) -> str:
        """Returns the text of the published program.

        Raises errors.Conflict if somebody has deleted or changed its ConfigMap since it was read.
        """
        name = published.place.name
        found = await self._kube.get(CONFIG_MAPS, self._key.namespace, name)
        if found is None or objects.published_program(found) != published:
            raise errors.Conflict(f"ConfigMap {name} was deleted or changed")
        return str(found["data"][names.PROGRAM_FILE])

    async def _keep(self, body: Object) -> None:
        """Creates a ConfigMap unless the pass has found it in the cluster.

        A pass whose operator died may have written some of the ConfigMaps. The next pass then creates only the others.
        """
        if body["metadata"]["name"] not in self._seen:
            await self.create(CONFIG_MAPS, body)

    async def create(self, resource: Resource, body: Object) -> None:
        """Creates an object. Raises an error if an object of that name exists and cannot be used in its place."""
        place, name = self._key.namespace, body["metadata"]["name"]
        try:
            await self._kube.create(resource, place, body)
        except errors.Exists:
            found = await self._kube.get(resource, place, name, metadata_only=True)
            if found is None:
                raise errors.Conflict(f"{resource.plural} {name} is being deleted") from None
            if not objects.owned_by(found["metadata"], self._key.uid):
                raise errors.NameTaken(f"{resource.plural} {name} exists and is somebody else's") from None
            if not _labels_for_us(body) <= _labels_for_us(found):
                message = f"somebody has changed the labels of {resource.plural} {name}: delete it"
                raise errors.NameTaken(message) from None
            if "deletionTimestamp" in found["metadata"]:
                raise errors.Unavailable(f"{resource.plural} {name} is being deleted") from None

    async def delete(self, resource: Resource, name: str, uid: str) -> None:
        with contextlib.suppress(errors.Vanished, errors.Conflict):
            await self._kube.delete(resource, self._key.namespace, name, uid)


def _labels_for_us(body: Object) -> set[tuple[str, str]]:
    """Returns the labels by which the operator finds an object. Labels for Kueue are not among them."""
    labels = body["metadata"].get("labels") or {}
    return {(name, value) for name, value in labels.items() if not name.startswith(KUEUE_PREFIX)}
