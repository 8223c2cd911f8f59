"""Reads everything of a Compilation from the cluster, again for each pass.

The observer lists ConfigMaps without their content. It reads the content of each ConfigMap once (see `config_maps`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube, Object
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS, JOBS, MANAGER, PODS
from swarm_operator.compilation.api import COMPILATIONS, LABEL_MANAGED_BY, LABEL_UID, ObjectKind
from swarm_operator.compilation.interpret.course import Course, Objects, course, predecessor, reading
from swarm_operator.compilation.interpret.world import Facts, interpreted, journals, pods_of_the_run
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.world import Key, MapRef, Predecessor, PublishedArtifact, PublishedProgram, World
from swarm_operator.compilation.observe import objects
from swarm_operator.compilation.observe.config_maps import MapReader
from swarm_operator.compilation.observe.pod_logs import LogReader
from swarm_operator.settings import Settings
from swarm_wire.messages import RunRequest

REJECTION_AGE: Final = 5.0
"""Seconds that a Job may have no pods before the operator looks for the reason."""


def selector(uid: str) -> str:
    """Returns the label selector of the operator's objects for a Compilation."""
    return f"{LABEL_MANAGED_BY}={MANAGER},{LABEL_UID}={uid}"


class Observer:
    """Reads one Compilation and all its objects.

    Args:
        gate: limits how many outputs of pods the whole operator reads at the same time.
    """

    def __init__(self, kube: Kube, key: Key, settings: Settings, gate: asyncio.Semaphore) -> None:
        self._kube, self._key, self._settings = kube, key, settings
        self._maps = MapReader(kube, key.namespace)
        self._logs = LogReader(kube, key, settings, gate)

    async def jobs(self) -> tuple[Job, ...]:
        """Returns the Jobs of all runs that are not being deleted, even if the Compilation is gone."""
        found = await self._kube.select(JOBS, self._key.namespace, labels=self._selector)
        ours = (item for item in found if objects.owned_by(item["metadata"], self._key.uid))
        return tuple(
            job
            for item in ours
            if "deletionTimestamp" not in item["metadata"] and (job := objects.job(item)) is not None
        )

    async def pods(self) -> tuple[Pod, ...]:
        """Returns the pods of all runs, even if the Compilation is gone."""
        found = await self._kube.select(PODS, self._key.namespace, labels=self._selector)
        return tuple(objects.pod(item) for item in found)

    async def is_gone(self) -> bool:
        """Whether the namespace has no Compilation with this uid, whatever its name.

        This looks at all Compilations, because anybody can write a wrong name into a pod. And it asks the API server
        again, because a single answer may be wrong.
        """
        try:
            found = await self._kube.select(COMPILATIONS, self._key.namespace, metadata_only=True)
        except errors.Vanished:
            # Somebody has deleted the CRD, and all Compilations with it.
            return True
        return all(item["metadata"]["uid"] != self._key.uid for item in found)

    async def world(self, now: datetime) -> World | None:
        """Reads everything for a World; returns None if no Compilation has this name and uid.

        After each read, `interpret` says what the observer has to read next.
        """
        given = await self._kube.get(COMPILATIONS, self._key.namespace, self._key.name)
        if given is None or given["metadata"]["uid"] != self._key.uid:
            return None
        # Jobs are read first, then pods, then the journal, in the order in which they are created. So a record that the
        # journal lacks was not yet written when the pods were read. And a finished Job has all its pods, except those
        # that were already released.
        jobs = await self.jobs()
        pods = await self.pods()
        listed = await self._maps_of(self._key.uid)
        seen = await self._objects(given, jobs, pods, listed)
        of = course(seen, self._settings)
        artifact = await self._artifact(of.artifact_name)
        before = await self._predecessor(of, listed)
        wanted = reading(seen, of, artifact, self._settings, before)
        contents = [await self._maps.content(listed[name]["metadata"]) for name in wanted.maps]
        found = journals(of, wanted, contents)
        inputs = {name: await self._maps.keys(name) for name in wanted.inputs}
        self._maps.forget_all_but(wanted.kept)
        is_asked = of.run is not None and not wanted.rests
        outputs = await self._logs.read(pods_of_the_run(seen, of), found.journal, now) if is_asked else []
        published = await self._published(of.published_name(before))
        facts = Facts(artifact, inputs, outputs, await self._rejections(jobs, pods, now), published, before)
        return interpreted(seen, of, wanted, found, facts)

    @property
    def _selector(self) -> str:
        return selector(self._key.uid)

    async def _maps_of(self, uid: str) -> dict[str, Object]:
        """Returns the operator's ConfigMaps of all runs of a Compilation by name, without their content."""
        found = await self._kube.select(CONFIG_MAPS, self._key.namespace, labels=selector(uid), metadata_only=True)
        return {item["metadata"]["name"]: item for item in found if objects.owned_by(item["metadata"], uid)}

    async def _objects(
        self, given: Object, jobs: tuple[Job, ...], pods: tuple[Pod, ...], listed: Mapping[str, Object]
    ) -> Objects:
        maps = tuple(map(objects.map_ref, listed.values()))
        return Objects(objects.compilation(given), jobs, pods, maps, await self._requests(listed, maps))

    async def _predecessor(self, of: Course, listed: dict[str, Object]) -> Predecessor | None:
        """Returns the predecessor, and adds its ConfigMaps to `listed`; None if the run that is under way has none."""
        if (name := of.predecessor_name) is None:
            return None
        given = await self._kube.get(COMPILATIONS, self._key.namespace, name)
        if given is None:
            return predecessor(of, None)
        its = await self._maps_of(given["metadata"]["uid"])
        listed.update(its)
        return predecessor(of, await self._objects(given, (), (), its))

    async def _requests(self, listed: Mapping[str, Object], maps: Sequence[MapRef]) -> dict[str, RunRequest]:
        """Returns name of a ConfigMap -> the RunRequest in that ConfigMap, if the RunRequest is readable."""
        found = {}
        for ref in maps:
            if ref.kind == ObjectKind.RUN:
                content = await self._maps.content(listed[ref.name]["metadata"])
                if isinstance(content, RunRequest):
                    found[ref.name] = content
        return found

    async def _artifact(self, name: str | None) -> PublishedArtifact | None:
        """Returns the ConfigMap that has the artifact's name."""
        if name is None:
            return None
        found = await self._kube.get(CONFIG_MAPS, self._key.namespace, name, metadata_only=True)
        return objects.artifact(found) if found else None

    async def _published(self, name: str | None) -> PublishedProgram | None:
        """Returns the program in the ConfigMap of the published artifact."""
        found = await self._kube.get(CONFIG_MAPS, self._key.namespace, name) if name else None
        return objects.published_program(found) if found else None

    async def _rejections(self, jobs: tuple[Job, ...], pods: tuple[Pod, ...], now: datetime) -> dict[str, str]:
        """Returns why Jobs have no pods, by uid of the Job. The Job controller reports such a reason in events only."""
        with_pods = {pod.job_uid for pod in pods}
        told = {}
        for job in jobs:
            if job.finished or job.suspended or job.uid in with_pods:
                continue
            if (now - job.created_at).total_seconds() < REJECTION_AGE:
                continue
            fields = f"involvedObject.uid={job.uid},reason=FailedCreate"
            events = await self._kube.select(EVENTS, self._key.namespace, fields=fields)
            if events:
                told[job.uid] = str(events[-1].get("message") or "")[:500]
        return told
