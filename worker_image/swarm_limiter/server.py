"""The queues of the groups, over TCP. Requests are served in the order in which they came.

So Compilations that share a group share its limits in proportion to their requests.
"""

import asyncio
import contextlib
import random
import socket
from collections import Counter, deque
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from pydantic import ValidationError

from swarm_limiter.rate import LONGEST_HINT, Rate, Turn
from swarm_wire.rates import GO, LINE_BYTES, WAIT, WAIT_SECONDS, Answered, Ask, RateLimit

FORGET_SECONDS: Final = 2 * LONGEST_HINT
"""Seconds after which the limiter forgets a group without requests. No pause is longer."""
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 40_000}
"""Socket options that end a connection to a node that is gone, even if data was sent to it meanwhile."""


@dataclass(eq=False)
class Waiter:
    """A request that waits, and the turn that it gets later."""

    ask: Ask
    turn: asyncio.Future[Turn]


class Group:
    """The waiting and running requests that share a limit.

    Args:
        since: the time since which the limiter knows all requests of the group.
    """

    def __init__(self, since: float) -> None:
        self._rate, self._queue = Rate(since), deque[Waiter]()
        self._limits: Counter[RateLimit] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_since = _now()

    @property
    def quiet_for(self) -> float:
        """Returns the seconds since the group's last request ended; 0 while it has requests."""
        return 0.0 if self._limits else _now() - self._quiet_since

    def enter(self, ask: Ask) -> Waiter:
        """Adds a request to the queue. The caller must call `leave` afterwards, whatever happens."""
        waiter = Waiter(ask, asyncio.get_running_loop().create_future())
        self._limits[ask.limit] += 1
        self._queue.append(waiter)
        self._go_on()
        return waiter

    def leave(self, waiter: Waiter, answered: Answered) -> None:
        """Ends a running request, or gives up a waiting request."""
        limit = waiter.ask.limit
        self._limits[limit] -= 1
        if not self._limits[limit]:
            del self._limits[limit]
        self._quiet_since = _now()
        try:
            if waiter.turn.done():
                self._rate.end(waiter.turn.result(), answered, self._quiet_since, random.random())
            else:
                self._queue.remove(waiter)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        """Lets through all requests that may go now, and sets a timer for the next request."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            first = self._queue[0]
            found = self._rate.take(self._limit, first.ask.tokens, _now())
            if not isinstance(found, Turn):
                if found < inf:
                    self._timer = asyncio.get_running_loop().call_later(found, self._go_on)
                return
            self._queue.popleft()
            first.turn.set_result(found)

    @property
    def _limit(self) -> RateLimit:
        """Returns the smallest figures of all limits that current requests of the group name."""
        named = list(self._limits)
        if len(named) == 1:
            return named[0]
        figures = {
            name: min((figure for limit in named if (figure := getattr(limit, name)) is not None), default=None)
            for name in RateLimit.model_fields
            if name != "group"
        }
        return RateLimit(group=named[0].group, **figures)


class Limiter:
    """Holds all groups, and serves the connections of pods."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._began = -inf

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Starts to listen. Port 0 means any free port."""
        self._began = _now()
        return await asyncio.start_server(self._connected, host, port, limit=LINE_BYTES, backlog=1024)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _keep_alive(writer)
        # An invalid message ends the connection on which it came, and has no other effect.
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError, ValidationError):
            while line := await reader.readline():
                await self._serve_one(Ask.model_validate_json(line), reader, writer)

    async def _serve_one(self, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one request from Ask to Answered. Raises OSError if the pod is gone."""
        group = self._group(ask.limit.group)
        waiter, answered = group.enter(ask), Answered()
        try:
            await _unless_gone(waiter.turn, reader, writer)
            writer.write(GO)
            await writer.drain()
            line = await reader.readline()
            if not line:
                raise ConnectionResetError
            answered = Answered.model_validate_json(line)
        finally:
            group.leave(waiter, answered)

    def _group(self, name: str) -> Group:
        if name not in self._groups:
            quiet = [other for other, group in self._groups.items() if group.quiet_for > FORGET_SECONDS]
            for other in quiet:
                del self._groups[other]
        return self._groups.setdefault(name, Group(self._began))


async def _unless_gone(turn: asyncio.Future[Turn], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Waits until the turn has come. Raises ConnectionResetError if the waiting pod sends anything or goes away."""
    gone: asyncio.Future[bytes] = asyncio.ensure_future(reader.read(1))
    try:
        while not turn.done():
            waiting: set[asyncio.Future[Any]] = {turn, gone}
            await asyncio.wait(waiting, timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ConnectionResetError
            if not turn.done():
                writer.write(WAIT)
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    line = writer.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _now() -> float:
    return asyncio.get_running_loop().time()
