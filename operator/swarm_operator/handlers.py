"""kopf wiring: what wakes a pass. The only importer of kopf.

Only `on.event` handlers: kopf stores nothing in our objects and puts no finalizer on them. Each event is reduced to the
key of its Compilation and wakes our own queue; a look at everything, each minute, repairs what watches missed.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import kopf
from aiohttp import web

from swarm_operator import errors, parse
from swarm_operator.api import API_VERSION, FINALIZER, GROUP, LABEL_MANAGED_BY, MANAGER, PLURAL, VERSION
from swarm_operator.kube import COMPILATIONS, PODS, Kube, RestKube
from swarm_operator.reconcile import Reconciler
from swarm_operator.schedule import Schedule
from swarm_operator.settings import Settings
from swarm_operator.world import Key

log = logging.getLogger(__name__)

STUCK_SECONDS = 20.0
"""After its cleanup the process ends at once, or else is ended."""


class Pulse:
    """When this process last heard of the cluster: a watch event, or a look at everything that succeeded.

    A watch may fall silent without an error; the process is then restarted by its liveness probe.
    """

    def __init__(self) -> None:
        self._heard_at = time.monotonic()

    def beat(self) -> None:
        self._heard_at = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self._heard_at


class Operator:
    """Connects kopf's events, the queue and the passes."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.pulse = settings, Pulse()
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()
        self._schedule: Schedule[Key] | None = None

    async def start(self) -> None:
        kube = await RestKube.connect(self.settings)
        self._stack.push_async_callback(kube.close)
        reconciler = Reconciler(kube, self.settings, kube.clock)
        self._schedule = Schedule(reconciler, concurrency=self.settings.concurrent_passes)
        self._tasks = [
            asyncio.create_task(self._schedule.run(), name="schedule"),
            asyncio.create_task(self._resync(kube), name="resync"),
        ]
        if self.settings.liveness_port:
            await self._serve_liveness()
        await self._kind_exists(kube)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def heard(self, key: Key | None) -> None:
        """An event about an object of this Compilation's."""
        self.pulse.beat()
        if key is not None and self._schedule is not None:
            self._schedule.wake(key)

    async def _kind_exists(self, kube: Kube) -> None:
        """Returns when Compilations can be listed: kopf, which starts after this, never looks for their kind again."""
        while True:
            try:
                for namespace in self.settings.namespaces or (None,):
                    await kube.select(COMPILATIONS, namespace, metadata_only=True)
                return
            except errors.ApiError as error:
                log.warning("Compilations cannot be listed: %s. Is the CRD installed? Tried again in 5 s.", error)
            await asyncio.sleep(5)

    async def _resync(self, kube: Kube) -> None:
        while True:
            try:
                keys = [key async for key in _all_keys(kube, self.settings)]
            except errors.ApiError as error:
                log.warning("a look at everything failed: %s", error)
            else:
                self.pulse.beat()
                for key in keys:
                    if self._schedule is not None:
                        self._schedule.wake(key)
            await asyncio.sleep(self.settings.resync_interval)

    async def _serve_liveness(self) -> None:
        async def healthz(_: web.Request) -> web.Response:
            dead = [task.get_name() for task in self._tasks if task.done()]
            deaf = self.pulse.age > self.settings.deaf_after
            text = f"heard of the cluster {self.pulse.age:.0f} s ago" + (f"; ended: {', '.join(dead)}" if dead else "")
            return web.Response(text=text + "\n", status=503 if dead or deaf else 200)

        app = web.Application()
        app.router.add_get("/healthz", healthz)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, port=self.settings.liveness_port).start()


async def _all_keys(kube: Kube, settings: Settings) -> AsyncIterator[Key]:
    """Every Compilation, and every one that is gone and whose pods still have our finalizer."""
    for namespace in settings.namespaces or (None,):
        # Without the CRD there are none, and what their pods hold is still to be let go.
        with contextlib.suppress(errors.Vanished):
            for found in await kube.select(COMPILATIONS, namespace, metadata_only=True):
                yield compilation_key(found)
        for found in await kube.select(PODS, namespace, labels=f"{LABEL_MANAGED_BY}={MANAGER}", metadata_only=True):
            key = parse.key_of(found)
            if key is not None and FINALIZER in (found["metadata"].get("finalizers") or ()):
                yield key


def compilation_key(found: Any) -> Key:
    metadata = found["metadata"]
    return Key(metadata["namespace"], metadata["name"], metadata["uid"])


class _Endless(Iterable[float]):
    """Seconds between tries of a request: kopf ends the process when they are used up, so they never are."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1, 1, 2, 3, 5, 8, 13, 21), itertools.repeat(30))


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf's settings, for an operator that uses it for watching only."""
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
    # Filtered by the API server: pods of others would cost a millisecond each.
    ours = f"{LABEL_MANAGED_BY}={MANAGER}"
    settings.watching.label_selectors["v1", "pods"] = ours
    settings.watching.label_selectors["batch", "jobs"] = ours
    settings.persistence.finalizer = f"{GROUP}/unused"


def register(registry: kopf.OperatorRegistry, operator: Operator) -> None:
    """The handlers. Nothing but events: every other kind would write to the objects."""

    @kopf.on.login(registry=registry, retries=3)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=registry)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        await operator.start()

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        # kopf may be unable to end: it was seen to wait for ever after a watch was refused with 401.
        end = threading.Timer(STUCK_SECONDS, os._exit, (1,))
        end.daemon = True
        end.start()
        await operator.stop()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def compilation(body: kopf.Body, **_: Any) -> None:
        operator.heard(compilation_key(body))

    @kopf.on.event("batch", "v1", "jobs", registry=registry)
    @kopf.on.event("", "v1", "pods", registry=registry)
    async def child(body: kopf.Body, **_: Any) -> None:
        operator.heard(parse.key_of(body))


def run(settings: Settings) -> None:
    """Runs the operator until it is told to stop."""
    registry = kopf.OperatorRegistry()
    operator = Operator(settings)
    register(registry, operator)
    log.info("serves %s in %s", API_VERSION, ", ".join(settings.namespaces) or "all namespaces")
    kopf.run(
        registry=registry,
        standalone=True,
        # Else it asks for the user's name, which an image has not.
        identity=MANAGER,  # type: ignore[arg-type]
        clusterwide=not settings.namespaces,
        namespaces=list(settings.namespaces),
    )
