"""A reverse proxy between one operator and its API server, which can inject a fault into any request.

Each request meets the fault of the first rule that fits and is not used up. If no rule fits, request and answer pass
unchanged. `seen` records all requests.
"""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from aiohttp import web

WRITES = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


@dataclass(frozen=True)
class Call:
    """A request to the API server, described in the words of Kubernetes.

    Attributes:
        verb: get, list, watch, create, patch, update or delete.
        resource: the plural, with any subresource after a slash: "pods", "dspycompilations/status", "pods/log".
        number: counts the operator's writes from 1, and says which of them this request is. A read has 0.
        at: the time of the request's arrival, in seconds of the monotonic clock.
        body: the data to write.
    """

    verb: str
    resource: str
    name: str
    number: int
    at: float
    body: bytes = field(default=b"", repr=False)

    @property
    def writes(self) -> bool:
        return self.number > 0

    def __str__(self) -> str:
        return f"{self.number or '':>3} {self.verb} {self.resource} {self.name}"


@dataclass(frozen=True)
class Answer:
    """An answer of the API server."""

    status: int
    body: bytes
    headers: dict[str, str]

    def response(self) -> web.Response:
        return web.Response(status=self.status, body=self.body, headers=self.headers)


Fault = Callable[["Exchange"], Awaitable[web.StreamResponse]]
"""A fault decides what happens to a request."""


@dataclass
class Rule:
    """Says which requests meet which fault. At most `times` requests meet the fault; None means all."""

    fits: Callable[[Call], bool]
    fault: Fault
    times: int | None = 1
    hit: list[Call] = field(default_factory=list)

    def takes(self, call: Call) -> bool:
        if (self.times is not None and len(self.hit) >= self.times) or not self.fits(call):
            return False
        self.hit.append(call)
        return True


class FaultProxy:
    """Listens on a free port of the loopback interface, in its own thread.

    Args:
        upstream: the URL of the API server.
        trust: the API server's certificate authority. The operator's credentials pass through the proxy.
    """

    def __init__(self, upstream: str, trust: ssl.SSLContext) -> None:
        self._upstream, self._trust = upstream, trust
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._numbers = 0
        self.rules: list[Rule] = []
        self.seen: list[Call] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def writes(self) -> list[Call]:
        """Returns all writes but those of the Lease, which the operator renews all the time."""
        return [call for call in self.seen if call.writes and call.resource != "leases"]

    def add(self, fits: Callable[[Call], bool], fault: Fault, times: int | None = 1) -> Rule:
        rule = Rule(fits, fault, times)
        self.rules.append(rule)
        return rule

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def close_port(self) -> None:
        """Refuses new connections from now on, and ends open connections."""
        self._do(self._stop_listening())

    def open_port(self) -> None:
        self._do(self._listen())

    def _do(self, work: Awaitable[None]) -> None:
        async def wrapped() -> None:
            await work

        asyncio.run_coroutine_threadsafe(wrapped(), self._loop).result(30)

    async def _open(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        await self._listen()

    async def _listen(self) -> None:
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop_listening(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _close(self) -> None:
        await self._stop_listening()
        if self._session is not None:
            await self._session.close()
        # TLS connections need a moment to close.
        await asyncio.sleep(0.3)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = self._call(request, body)
        self.seen.append(call)
        rule = next((rule for rule in self.rules if rule.takes(call)), None)
        assert self._session is not None
        exchange = Exchange(call, request, body, self._session, self._upstream)
        return await (rule.fault if rule else passed)(exchange)

    def _call(self, request: web.Request, body: bytes) -> Call:
        parts = request.path.strip("/").split("/")
        # A path is /api/v1/ or /apis/GROUP/VERSION/, then namespaces/NAMESPACE/, then RESOURCE[/NAME[/SUBRESOURCE]].
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        resource, name, subresource = [*rest, "", "", ""][:3]
        if request.method == "GET":
            verb = "watch" if request.query.get("watch") in ("true", "1") else "get" if name else "list"
        else:
            verb = WRITES[request.method]
            name = name or json.loads(body)["metadata"]["name"]
            self._numbers += 1
        number = self._numbers if verb in WRITES.values() else 0
        full = f"{resource}/{subresource}" if subresource else resource
        return Call(verb, full, name, number, time.monotonic(), body)


class Exchange:
    """A request on its way, which a fault may forward, answer or drop."""

    def __init__(
        self, call: Call, request: web.Request, body: bytes, session: aiohttp.ClientSession, upstream: str
    ) -> None:
        self.call, self.request, self._body, self._session, self._upstream = call, request, body, session, upstream

    def open(self) -> "aiohttp.client._RequestContextManager":
        """Sends the request to the API server. Each call sends it again."""
        kept = ("Authorization", "Accept", "Content-Type", "User-Agent")
        headers = {name: self.request.headers[name] for name in kept if name in self.request.headers}
        url = self._upstream + self.request.raw_path
        return self._session.request(self.request.method, url, data=self._body or None, headers=headers)

    async def forward(self) -> Answer:
        async with self.open() as response:
            kept = ("Content-Type", "Retry-After", "Date")
            headers = {name: response.headers[name] for name in kept if name in response.headers}
            return Answer(response.status, await response.read(), headers)

    def hang_up(self) -> None:
        """Ends the operator's connection, even in the middle of an answer."""
        if self.request.transport is not None:
            self.request.transport.abort()


async def passed(exchange: Exchange) -> web.StreamResponse:
    """Passes request and answer on without a fault."""
    if exchange.call.verb != "watch":
        return (await exchange.forward()).response()
    async with exchange.open() as response:
        if response.status != 200:
            return web.Response(status=response.status, body=await response.read(), content_type="application/json")
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(exchange.request)
        async for piece in response.content.iter_any():
            await answer.write(piece)
        await answer.write_eof()
        return answer
