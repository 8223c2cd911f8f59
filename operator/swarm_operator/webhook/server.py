"""Answers webhooks, and writes their time into the status of the trigger that their path names.

Many webhooks for one trigger become one write per second. So neither their number nor their size fills the memory, and
a webhook that somebody sends again does no harm.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from aiohttp import web

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube
from swarm_operator.compilation.decide.conditions import timestamp
from swarm_operator.trigger.api import TRIGGERS
from swarm_operator.webhook.signatures import has_signature, is_genuine

log = logging.getLogger(__name__)

MOST_BYTES: Final = 1024 * 1024
"""Largest body. A larger one is refused: then the trigger finds the commit at its next look."""
AT_ONCE: Final = 8
"""So many bodies are in memory at the same time."""
MOST_OPEN: Final = 200
"""So many webhooks may be under way or wait. More are refused."""
ROUTE: Final = "/{namespace:[a-z0-9-]+}/{name:[a-z0-9.-]+}"
REFUSED: Final = "the signature or token is missing or wrong\n"
FOLD_SECONDS: Final = 1.0
BODY_SECONDS: Final = 10.0
"""A sender must have sent its body in this time."""
PATH: Final = "/status/lookRequestedAt"


class Receiver:
    """Answers webhooks.

    Args:
        keys: returns the keys that senders may have.
        clock: the time of the API server.
    """

    def __init__(self, kube: Kube, keys: Callable[[], Sequence[bytes]], clock: Callable[[], datetime]) -> None:
        self._kube, self._keys, self._clock = kube, keys, clock
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._pending: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._open = 0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post(ROUTE, self._received)
        app.router.add_get("/healthz", _well)
        app.on_cleanup.append(self._end)
        return app

    async def _received(self, request: web.Request) -> web.Response:
        if (request.content_length or 0) > MOST_BYTES:
            return _too_large()
        if not has_signature(request.headers):
            return web.Response(status=401, text=REFUSED)
        if self._open >= MOST_OPEN:
            return web.Response(status=503, text="too many webhooks at once\n", headers={"Retry-After": "5"})
        self._open += 1
        try:
            return await self._checked(request)
        finally:
            self._open -= 1

    async def _checked(self, request: web.Request) -> web.Response:
        async with self._gate:
            try:
                body = await asyncio.wait_for(_body(request), BODY_SECONDS)
            except TimeoutError:
                return web.Response(status=408, text="the body came too slowly\n")
            if body is None:
                return _too_large()
            if not is_genuine(request.headers, body, self._keys()):
                return web.Response(status=401, text=REFUSED)
            return await self._asked(request.match_info["namespace"], request.match_info["name"])

    async def _asked(self, namespace: str, name: str) -> web.Response:
        if (namespace, name) not in self._pending:
            try:
                found = await self._kube.get(TRIGGERS, namespace, name)
            except errors.Forbidden:
                found = None
            except errors.ApiError as error:
                log.warning("%s/%s: %s", namespace, name, error)
                return web.Response(status=503, text="the cluster does not answer\n")
            if found is None or "git" not in (found.get("spec") or {}):
                return web.Response(
                    status=404, text=f"{namespace} has no DSPyCompilationTrigger {name} with spec.git\n"
                )
            if (namespace, name) not in self._pending:
                self._pending[namespace, name] = asyncio.create_task(self._ask(namespace, name))
        return web.Response(status=202, text="the trigger looks at the branch\n")

    async def _ask(self, namespace: str, name: str) -> None:
        # The time is that of the write, so it is later than every webhook that this write is for.
        await asyncio.sleep(FOLD_SECONDS)
        # A webhook that comes during the write needs another write.
        del self._pending[namespace, name]
        operations = [{"op": "add", "path": PATH, "value": timestamp(self._clock())}]
        try:
            await self._kube.patch(TRIGGERS, namespace, name, operations, subresource="status")
            log.info("%s/%s: asked to look", namespace, name)
        except errors.Rejected:
            log.info("%s/%s: has no status yet, so it looks anyway", namespace, name)
        except errors.ApiError as error:
            log.warning("%s/%s: %s", namespace, name, error)

    async def _end(self, _: web.Application) -> None:
        await asyncio.gather(*self._pending.values(), return_exceptions=True)


async def _body(request: web.Request) -> bytes | None:
    """Returns the body; None if it is too large.

    `request.read` would raise an exception then, which keeps what was read for as long as the connection lives.
    """
    found = bytearray()
    async for piece in request.content.iter_any():
        found += piece
        if len(found) > MOST_BYTES:
            return None
    return bytes(found)


def _too_large() -> web.Response:
    response = web.Response(status=413, text=f"a webhook may have {MOST_BYTES} bytes\n")
    response.force_close()
    return response


async def _well(_: web.Request) -> web.Response:
    return web.Response(text="well\n")
