"""Runs the limiter within the local driver."""

import asyncio
import threading
from typing import Self

from swarm_limiter.server import Limiter
from swarm_wire import names
from swarm_wire.rates import RateLimits

HOST = "127.0.0.1"


class LocalLimiter:
    """Runs a limiter for the local driver's processes until the `with` block ends. Without rate limits, runs none.

    Args:
        port: the port to serve on. 0 means any free port.
    """

    def __init__(self, limits: RateLimits, port: int = 0) -> None:
        self._limits, self._port = limits, port
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        if self._limits.models:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
            self._thread.start()
            self._server = asyncio.run_coroutine_threadsafe(Limiter().serve(HOST, self._port), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None

    async def _end(self) -> None:
        self._server.close()
        lines = asyncio.all_tasks() - {asyncio.current_task()}
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)

    @property
    def address(self) -> str:
        return f"{HOST}:{self._server.sockets[0].getsockname()[1]}" if self._loop else ""

    @property
    def environment(self) -> dict[str, str]:
        """Returns the environment variables that make a process keep to the limits."""
        if self._loop is None:
            return {}
        return {names.ENV_LIMITER: self.address, names.ENV_RATE_LIMITS: self._limits.to_json()}
