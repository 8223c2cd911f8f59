"""Connects kopf with the operator: an event that kopf reports starts a pass. Only this module imports kopf.

All handlers are `on.event` handlers, so kopf stores nothing in objects and puts no finalizer on them. A handler derives
a key from the event, and wakes this key in the operator's own queue. Each minute a resync finds what watches have
missed.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import kopf
from aiohttp import web

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube, RestKube
from swarm_operator.cluster.lease import Deposed, Fenced, Lease
from swarm_operator.cluster.resources import MANAGER, OURS, PODS
from swarm_operator.runtime.health import Pulse
from swarm_operator.runtime.kinds import Kind
from swarm_operator.runtime.workqueue import Schedule
from swarm_operator.settings import Settings

log = logging.getLogger(__name__)

STUCK_SECONDS = 8.0
"""Seconds after the begin of its cleanup at which a process that still runs ends itself.

They are fewer than the grace period of the operator's pod in the chart.
"""


@dataclass(frozen=True)
class Woken:
    """An object that needs a pass, as an entry of the queue."""

    kind: Kind
    key: Any

    def __str__(self) -> str:
        return f"{self.kind.resource.plural} {self.key}"


class Operator:
    """Connects kopf's events, the queue and the passes of each kind."""

    def __init__(self, settings: Settings, kinds: Sequence[Kind]) -> None:
        self.settings, self.kinds = settings, kinds
        self.pulse = Pulse(settings.deaf_after + settings.resync_interval)
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()
        self._schedule: Schedule[Woken] | None = None

    async def start(self) -> None:
        try:
            await self._start()
        except BaseException:
            # kopf runs no cleanup handler if it is stopped during startup.
            await self.stop()
            raise

    async def _start(self) -> None:
        rest = await RestKube.connect(self.settings)
        self._stack.push_async_callback(rest.close)
        if self.settings.liveness_port:
            await self._serve_probes()
        kube = await self._fenced(rest)
        passes = {kind: kind.passes(kube, self.settings, rest.clock) for kind in self.kinds}

        async def work(woken: Woken) -> float | None:
            return await passes[woken.kind](woken.key)

        self._schedule = Schedule(work, concurrency=self.settings.concurrent_passes)
        self._run(self._schedule.run(), "schedule")
        self._run(self._resync(kube), "resync")
        await self._kinds_exist(kube)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def heard(self, found: Any, kind: Kind | None = None) -> None:
        """Handles an event about an object of this kind. If `kind` is None, the event is about a Job or pod.

        The event also starts a pass over the object's owner, if that is of a kind.
        """
        self.pulse.told(*_version(found))
        if kind is not None:
            self._wake(kind, kind.key(found))
        for owner in self.kinds:
            self._wake(owner, owner.owner(found))

    def _wake(self, kind: Kind, key: Any) -> None:
        if key is not None and self._schedule is not None:
            self._schedule.wake(Woken(kind, key))

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _fenced(self, rest: RestKube) -> Kube:
        """Waits until this process holds the Lease.

        Returns a client that writes only while this process holds the Lease.
        """
        if not self.settings.lease:
            return rest
        # A container that restarts has the same holder name, so it need not wait until its own Lease expires.
        holder = f"{socket.gethostname()}_{os.getpid()}"
        namespace, name = self.settings.lease.split("/")
        lease = Lease(rest, namespace, name, holder, rest.clock)
        self._stack.push_async_callback(_release, lease)
        self._run(_hold(lease), "lease")
        while not lease.held:
            await asyncio.sleep(0.1)
        return Fenced(rest, lease)

    async def _kinds_exist(self, kube: Kube) -> None:
        """Waits until each kind can be listed, because kopf starts after this and looks for the kinds only once."""
        while True:
            try:
                for namespace, kind in product(self.settings.namespaces or (None,), self.kinds):
                    await kube.select(kind.resource, namespace, metadata_only=True)
                return
            except errors.ApiError as error:
                log.warning("custom resources cannot be listed: %s. Is the CRD installed? Tried again in 5 s.", error)
            await asyncio.sleep(5)

    async def _resync(self, kube: Kube) -> None:
        while True:
            try:
                found = [item async for item in _everything(kube, self.settings, self.kinds)]
            except errors.ApiError as error:
                self.pulse.failed()
                log.warning("a look at everything failed: %s", error)
            else:
                self.pulse.looked(dict(_version(item) for item, _, _ in found))
                for _, kind, key in found:
                    self._wake(kind, key)
            await asyncio.sleep(self.settings.resync_interval)

    async def _serve_probes(self) -> None:
        def answer(trouble: str) -> web.Response:
            return web.Response(text=f"{trouble or 'well'}\n", status=503 if trouble else 200)

        async def healthz(_: web.Request) -> web.Response:
            dead = [f"{task.get_name()} has ended" for task in self._tasks if task.done()]
            return answer("; ".join(filter(None, [*dead, self.pulse.trouble])))

        async def readyz(_: web.Request) -> web.Response:
            return answer("" if self.pulse.ready else "nothing was heard of the cluster lately")

        app = web.Application()
        app.router.add_get("/healthz", healthz)
        app.router.add_get("/readyz", readyz)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, port=self.settings.liveness_port).start()


async def _hold(lease: Lease) -> None:
    try:
        await lease.keep()
    except Deposed as error:
        log.error("%s; this process ends", error)
        # The process ends at once, because a pass that goes on would decide from outdated facts.
        os._exit(1)


async def _release(lease: Lease) -> None:
    try:
        await lease.release()
    except errors.ApiError as error:
        log.warning("the Lease could not be released, and ends by itself: %s", error)


async def _everything(
    kube: Kube, settings: Settings, kinds: Sequence[Kind]
) -> AsyncIterator[tuple[Any, Kind, Any | None]]:
    """Yields every object that the watches report, with its kind and the key to wake.

    The key of an object of a kind is its own key. The key of a pod is its owner's key if the pod still has the
    finalizer, even if the owner is gone. Another pod has no key.
    """
    for namespace in settings.namespaces or (None,):
        # Without the CRD there are no objects of the kind. But pods that such objects left may still have the
        # finalizer.
        for kind in kinds:
            with contextlib.suppress(errors.Vanished):
                for found in await kube.select(kind.resource, namespace, metadata_only=True):
                    yield found, kind, kind.key(found)
        for found in await kube.select(PODS, namespace, labels=OURS, metadata_only=True):
            for kind in kinds:
                held = kind.finalizer in (found["metadata"].get("finalizers") or ())
                yield found, kind, kind.owner(found) if held else None


def _version(found: Any) -> tuple[str, str]:
    """Returns an object's uid and resourceVersion."""
    return found["metadata"]["uid"], found["metadata"]["resourceVersion"]


class _Endless(Iterable[float]):
    """Endlessly many pauses between tries of a request. After a last try, kopf would end its process."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1, 1, 2, 3, 5, 8, 13, 21), itertools.repeat(30))


def configure(settings: kopf.OperatorSettings) -> None:
    """Configures kopf so that it only watches, and writes nothing."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.error_backoffs = _Endless()
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.networking.enforce_retry_after = True
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 5
    # The API server filters by these labels, since each event of a foreign pod would cost the operator a millisecond.
    settings.watching.label_selectors["v1", "pods"] = OURS
    settings.watching.label_selectors["batch", "jobs"] = OURS
    settings.persistence.finalizer = f"{MANAGER}.dev/unused"


def register(registry: kopf.OperatorRegistry, operator: Operator) -> None:
    """Registers event handlers only, since kopf's other handlers write to objects."""

    @kopf.on.login(registry=registry, retries=3)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=registry)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        await operator.start()

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        # kopf may never end by itself. We saw it wait forever after the API server had refused a watch with status 401.
        end = threading.Timer(STUCK_SECONDS, os._exit, (1,))
        end.daemon = True
        end.start()
        await operator.stop()

    def watch(kind: Kind) -> None:
        group, version = kind.resource.api_version.split("/")

        @kopf.on.event(group, version, kind.resource.plural, registry=registry)
        async def changed(body: kopf.Body, **_: Any) -> None:
            operator.heard(body, kind)

    for each in operator.kinds:
        watch(each)

    @kopf.on.event("batch", "v1", "jobs", registry=registry)
    @kopf.on.event("", "v1", "pods", registry=registry)
    async def child(body: kopf.Body, **_: Any) -> None:
        operator.heard(body)


def run(settings: Settings, kinds: Sequence[Kind]) -> None:
    """Runs the operator until it is stopped."""
    registry = kopf.OperatorRegistry()
    operator = Operator(settings, kinds)
    register(registry, operator)
    served = ", ".join(f"{kind.resource.plural} of {kind.resource.api_version}" for kind in kinds)
    log.info("serves %s in %s", served, ", ".join(settings.namespaces) or "all namespaces")
    kopf.run(
        registry=registry,
        standalone=True,
        # Without this argument, kopf looks up the name of its user, and the container's user has no name.
        identity=MANAGER,  # type: ignore[arg-type]
        clusterwide=not settings.namespaces,
        namespaces=list(settings.namespaces),
    )
