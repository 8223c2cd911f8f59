"""The only reader of the cluster: everything that a pass decides from, read anew each time.

ConfigMaps are listed without their content; content is read once (see `maps`).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube, Object
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS, JOBS, MANAGER, PODS
from swarm_operator.compilation.api import COMPILATIONS, LABEL_MANAGED_BY, LABEL_UID, ObjectKind
from swarm_operator.compilation.decide import retention
from swarm_operator.compilation.decide.conditions import State, is_over, settled
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.model.world import (
    AssignmentMap,
    Compilation,
    Harvest,
    Job,
    Key,
    MapRef,
    Pod,
    Run,
    World,
)
from swarm_operator.compilation.observe import harvest, objects
from swarm_operator.compilation.observe.config_maps import MapReader
from swarm_operator.compilation.observe.pod_logs import LogReader
from swarm_operator.settings import Settings
from swarm_wire.messages import RunRequest

REJECTION_AGE: Final = 5.0
"""Seconds that a Job may have no pods before the reason is looked for."""


class Observer:
    """Looks at one Compilation and everything of its.

    Args:
        gate: bounds the reads of pods' output of the whole operator.
    """

    def __init__(self, kube: Kube, key: Key, settings: Settings, gate: asyncio.Semaphore) -> None:
        self._kube, self._key, self._settings = kube, key, settings
        self._maps = MapReader(kube, key.namespace)
        self._logs = LogReader(kube, key, settings, gate)

    async def jobs(self) -> tuple[Job, ...]:
        """Those that are not being deleted, of all runs; also when the Compilation itself is gone."""
        found = await self._kube.select(JOBS, self._key.namespace, labels=self._selector)
        ours = (item for item in found if objects.owned_by(item["metadata"], self._key.uid))
        return tuple(
            job
            for item in ours
            if "deletionTimestamp" not in item["metadata"] and (job := objects.job(item)) is not None
        )

    async def pods(self) -> tuple[Pod, ...]:
        """Of all runs; also when the Compilation itself is gone."""
        found = await self._kube.select(PODS, self._key.namespace, labels=self._selector)
        return tuple(objects.pod(item) for item in found)

    async def is_gone(self) -> bool:
        """Whether there is no such Compilation in the namespace, whatever its name: that may be what somebody has
        written into a pod. And of two answers of the API server one may be wrong.
        """
        try:
            found = await self._kube.select(COMPILATIONS, self._key.namespace, metadata_only=True)
        except errors.Vanished:
            # The kind itself was deleted.
            return True
        return all(item["metadata"]["uid"] != self._key.uid for item in found)

    async def world(self, now: datetime) -> World | None:
        """None where no Compilation of this name has this uid."""
        found = await self._kube.get(COMPILATIONS, self._key.namespace, self._key.name)
        if found is None or found["metadata"]["uid"] != self._key.uid:
            return None
        compilation = objects.compilation(found)
        # In the order in which they come to be. What a pass takes for missing in the journal was missing when the pod
        # was seen, and of a Job that is finished all pods are seen that were not let go; never the other way round.
        jobs = await self.jobs()
        pods = await self.pods()
        maps = await self._own_maps()
        if (last := await self._request(compilation.status.run_id, maps)) is not None:
            held = any(pod.held and pod.run_id == compilation.status.run_id for pod in pods)
            is_opened = object_names.run_map(self._key.name, compilation.run_id) in {ref.name for _, ref in maps}
            compilation = compilation.continued(last, held and not is_opened)
        request = await self._request(compilation.run_id, maps)
        run = None
        if request is not None:
            image = request.spec.image or self._settings.worker_image
            run = Run(self._key, compilation.run_id, request, image)
        spec = run.spec if run else compilation.spec
        artifact = None
        if spec is not None:
            name = spec.artifact_name(self._key.name)
            taken = await self._kube.get(CONFIG_MAPS, self._key.namespace, name, metadata_only=True)
            artifact = objects.artifact(taken) if taken else None
        own, assignments = list[Shard](), dict[tuple[int, int], AssignmentMap]()
        over = is_over(compilation)
        # Of a run that is over nothing is asked any more, unless its artifact has to be written again.
        ended = settled(compilation.status, compilation.run_id)
        if over and (ended is State.FAILED or not compilation.lacks(artifact)):
            run = None
        else:
            own, assignments = await self._progress(compilation.run_id, maps)
        earlier = await self._earlier(compilation, maps)
        refs = tuple(ref for _, ref in maps)
        used = [] if over else retention.reusable(earlier, refs, self._settings.journal_bytes)
        shards, superfluous = retention.sifted([*own, *await self._shards(used, maps)])
        journal = Journal(shard for shard in shards if shard.run_id == compilation.run_id)
        wanted = sorted(spec.needed_config_maps()) if spec and not over else []
        inputs = {name: await self._maps.keys(name) for name in wanted}
        kept = [ref.name for ref in refs if not over or ref.kind == ObjectKind.RUN]
        self._maps.forget_all_but([*kept, *wanted])
        current = [pod for pod in pods if pod.run_id == compilation.run_id]
        outputs = await self._logs.read(current, journal, now) if run else []
        gone = harvest.vanished((job for job in jobs if job.run_id == compilation.run_id), current, journal)
        threads = run.spec.swarm.threads_per_pod if run else 1
        return World(
            compilation=compilation,
            run=run,
            inputs=inputs,
            jobs=jobs,
            pods=pods,
            journal=journal,
            assignments=assignments,
            rejections=await self._rejections(jobs, pods, now),
            artifact=artifact,
            maps=refs,
            earlier=earlier,
            earlier_shards=tuple(shard for shard in shards if shard.run_id != compilation.run_id),
            superfluous=superfluous,
            harvest=harvest.harvest(outputs, journal, threads, gone, compilation.told) if run else Harvest(),
        )

    @property
    def _selector(self) -> str:
        return f"{LABEL_MANAGED_BY}={MANAGER},{LABEL_UID}={self._key.uid}"

    async def _own_maps(self) -> list[tuple[Object, MapRef]]:
        """Metadata of our ConfigMaps, of all runs, and what they say."""
        found = await self._kube.select(CONFIG_MAPS, self._key.namespace, labels=self._selector, metadata_only=True)
        ours = [item["metadata"] for item in found if objects.owned_by(item["metadata"], self._key.uid)]
        return [(metadata, objects.map_ref({"metadata": metadata})) for metadata in ours]

    async def _request(self, run_id: str | None, maps: list[tuple[Object, MapRef]]) -> RunRequest | None:
        """What a run is about; None where it was not opened, or that cannot be read any more."""
        for metadata, ref in maps:
            if run_id and ref.name == object_names.run_map(self._key.name, run_id):
                content = await self._maps.content(metadata)
                return content if isinstance(content, RunRequest) else None
        return None

    async def _progress(
        self, run_id: str, maps: list[tuple[Object, MapRef]]
    ) -> tuple[list[Shard], dict[tuple[int, int], AssignmentMap]]:
        shards: list[Shard] = []
        assignments: dict[tuple[int, int], AssignmentMap] = {}
        for metadata, ref in maps:
            if ref.run_id != run_id or ref.kind == ObjectKind.ARTIFACT:
                continue
            content = await self._maps.content(metadata)
            if isinstance(content, Shard):
                shards.append(content)
            elif isinstance(content, AssignmentMap):
                assignments[content.assignment.round, content.assignment.attempt] = content
        return shards, assignments

    async def _earlier(self, compilation: Compilation, maps: list[tuple[Object, MapRef]]) -> tuple[str, ...]:
        """Other runs of the same request, oldest first."""
        found = []
        for metadata, ref in maps:
            if ref.kind == ObjectKind.RUN and ref.run_id != compilation.run_id:
                request = await self._maps.content(metadata)
                if isinstance(request, RunRequest) and request.requested_at == compilation.requested_at:
                    found.append((ref.created_at, ref.run_id))
        return tuple(run_id for _, run_id in sorted(found))

    async def _shards(self, runs: Sequence[str], maps: list[tuple[Object, MapRef]]) -> list[Shard]:
        """What can be read of the results of these runs, run by run."""
        found = []
        for metadata, ref in sorted(maps, key=lambda item: item[1].name):
            if ref.run_id in runs and ref.kind == ObjectKind.RESULTS:
                content = await self._maps.content(metadata)
                if isinstance(content, Shard):
                    found.append(content)
        return sorted(found, key=lambda shard: (runs.index(shard.run_id), shard.key))

    async def _rejections(self, jobs: tuple[Job, ...], pods: tuple[Pod, ...], now: datetime) -> dict[str, str]:
        """Jobs without pods, and what the Job controller says about them: only events tell."""
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
