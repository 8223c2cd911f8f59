"""Faults of requests and watches, for rules of the fault proxy (`proxy.py`)."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import cycle

from aiohttp import web

from faults.proxy import Answer, Exchange, Fault
from support.sampling import DAY

REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

# Faults of requests


def answered(status: int, message: str = "injected", retry_after: int | None = None) -> Fault:
    """The proxy gives this answer, and the request never reaches the API server."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        return web.json_response(_status(status, message), status=status, headers=headers)

    return fault


def _status(code: int, message: str) -> dict[str, object]:
    reason = REASONS[code]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }


async def dropped(exchange: Exchange) -> web.StreamResponse:
    """The proxy ends the connection without an answer, and the request never reaches the API server."""
    exchange.hang_up()
    return web.Response()


async def unanswered(exchange: Exchange) -> web.StreamResponse:
    """The API server does what the request asks, but the connection ends without an answer."""
    await exchange.forward()
    exchange.hang_up()
    return web.Response()


async def twice(exchange: Exchange) -> web.StreamResponse:
    """The API server gets the request twice, and the second answer comes back."""
    await exchange.forward()
    return (await exchange.forward()).response()


def before(act: Callable[[], object]) -> Fault:
    """The proxy calls `act`, and the request is lost."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        act()
        return await dropped(exchange)

    return fault


def after(act: Callable[[], object]) -> Fault:
    """The API server does what the request asks. Then the proxy calls `act`, and the answer is lost."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        await exchange.forward()
        act()
        exchange.hang_up()
        return web.Response()

    return fault


def amid(act: Callable[[], object]) -> Fault:
    """The proxy calls `act` while the request is on its way. Then the API server gets the request and answers."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        act()
        await asyncio.sleep(0.1)
        return (await exchange.forward()).response()

    return fault


def in_turn(faults: Sequence[Fault]) -> Fault:
    """Each request meets the next of the faults. The first of them changes from day to day."""
    first = DAY % len(faults)
    wheel = cycle([*faults[first:], *faults[:first]])

    async def fault(exchange: Exchange) -> web.StreamResponse:
        return await next(wheel)(exchange)

    return fault


def delayed(seconds: float) -> Fault:
    """The request reaches the API server late."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return (await exchange.forward()).response()

    return fault


def answered_late(seconds: float) -> Fault:
    """The API server does what the request asks at once, but the answer comes late."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        answer = await exchange.forward()
        await asyncio.sleep(seconds)
        return answer.response()

    return fault


async def cut_short(exchange: Exchange) -> web.StreamResponse:
    """Half of the answer comes back, then the connection ends."""
    answer = await exchange.forward()
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(exchange.request)
    await response.write(answer.body[: len(answer.body) // 2])
    exchange.hang_up()
    return response


async def garbled(exchange: Exchange) -> web.StreamResponse:
    """A server between operator and API server answers 200 with a web page."""
    return web.Response(text="<html><body>Welcome to the load balancer</body></html>", content_type="text/html")


async def halved(exchange: Exchange) -> web.StreamResponse:
    """The answer is half of a pod's log, as if the log were complete."""
    answer = await exchange.forward()
    return web.Response(status=answer.status, body=answer.body[: len(answer.body) // 2], content_type="text/plain")


async def emptied(exchange: Exchange) -> web.StreamResponse:
    """The answer is empty, as if a pod had printed nothing."""
    await exchange.forward()
    return web.Response(text="")


class Held:
    """Holds a request until `let_go`, even if its sender no longer waits.

    Attributes:
        came: is set when the request has arrived.
    """

    def __init__(self) -> None:
        self.came = threading.Event()
        self._may_go, self._arrived = threading.Event(), threading.Event()

    async def __call__(self, exchange: Exchange) -> web.StreamResponse:
        self.came.set()
        await asyncio.to_thread(self._may_go.wait)
        answer = await exchange.forward()
        self._arrived.set()
        return answer.response()

    def let_go(self) -> None:
        """Forwards the request, and waits until the API server has answered it."""
        self._may_go.set()
        assert self._arrived.wait(30)


class Recorded:
    """Records the answers and changes nothing."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, exchange: Exchange) -> web.StreamResponse:
        answer = await exchange.forward()
        self.bodies.append(answer.body)
        return answer.response()


class StandingStill:
    """Stands for an API server with a cache. While `still`, it repeats its earlier answers to reads."""

    def __init__(self) -> None:
        self._known: dict[str, Answer] = {}
        self.still = False

    async def __call__(self, exchange: Exchange) -> web.StreamResponse:
        key = f"{exchange.request.raw_path} {exchange.request.headers.get('Accept')}"
        if not self.still or key not in self._known:
            self._known[key] = await exchange.forward()
        return self._known[key].response()


# Faults of watches


class Cut(Exception):
    """Ends the connection of a watch."""


Edit = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]
"""Changes the events of a watch: it takes the lines of the API server and yields lines for the operator."""


def edited(edit: Edit) -> Fault:
    """The proxy changes the events of a watch on their way."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        async with exchange.open() as response:
            answer = web.StreamResponse(headers={"Content-Type": "application/json"})
            await answer.prepare(exchange.request)
            try:
                async for line in edit(_lines(response.content.iter_any())):
                    await answer.write(line)
                await answer.write_eof()
            except Cut:
                exchange.hang_up()
            return answer

    return fault


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"


async def cut_in_a_line(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield line[: len(line) // 2]
        await asyncio.sleep(0.05)
        raise Cut


async def ended_at_once(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield line
        return


async def silent(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The TCP connection stays open, but no more events come."""
    async for _ in lines:
        pass
    yield b""


async def repeated(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield line + line + line


async def disordered(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The proxy swaps each pair of events."""
    held = b""
    async for line in lines:
        if held:
            yield line + held
            held = b""
        else:
            held = line


async def back_in_time(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """After each event, the proxy repeats all earlier events."""
    told: list[bytes] = []
    async for line in lines:
        told.append(line)
        yield line + b"".join(told[:-1])


async def garbage(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield b"}{ not JSON \xff\n" + line


def without(*types: str) -> Edit:
    """The proxy drops events of these types, such as ADDED, MODIFIED or DELETED."""

    async def edit(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in lines:
            if json.loads(line)["type"] not in types:
                yield line

    return edit


def with_error(code: int) -> Edit:
    """The watch delivers one event, and then ends with an ERROR event."""

    async def edit(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in lines:
            yield line
            yield json.dumps({"type": "ERROR", "object": _status(code, "injected")}).encode() + b"\n"
            return

    return edit


def strange(types: Iterable[str] = ("BOOKMARK", "SURPRISE")) -> Edit:
    """Before each event, the proxy adds events of unknown types."""

    async def edit(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in lines:
            for kind in types:
                yield json.dumps({**json.loads(line), "type": kind}).encode() + b"\n"
            yield line

    return edit
