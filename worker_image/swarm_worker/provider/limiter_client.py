"""Gets turns to send requests from the limiter, which serves all pods."""

import asyncio
import contextlib
import random
import socket
import time

from swarm_wire.rates import GO, WAIT_SECONDS, Answered, Ask, RateLimit
from swarm_worker.errors import LimiterUnreachable
from swarm_worker.provider.turns import End

SILENCE_SECONDS = 3.0 * WAIT_SECONDS
"""A limiter that has sent nothing for this long counts as gone."""
PATIENCE_SECONDS = 90.0
"""How long a limiter may be gone while its pod restarts."""
PAUSE_SECONDS = 0.5


class LimiterTurns:
    """Gets turns from the limiter at an address.

    Args:
        address: host:port.
    """

    def __init__(self, address: str, limit: RateLimit, patience: float = PATIENCE_SECONDS) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._limit, self._patience = (host, int(port)), limit, patience
        self._idle: list[socket.socket] = []

    def wait(self, tokens: int) -> End:
        """Waits for a turn. Raises LimiterUnreachable."""
        question, absence = self._ask(tokens), _Absence(self._address, self._patience)
        while True:
            line: socket.socket | None = None
            try:
                line = self._line()
                line.sendall(question)
                while _read_line(line) != GO:
                    absence.over()
                return self._ends(line)
            except OSError as error:
                if line is not None:
                    line.close()
                self._idle.clear()
                time.sleep(absence.pause(error))

    async def async_wait(self, tokens: int) -> End:
        """Waits for a turn as `wait` does, without blocking the event loop."""
        question, absence = self._ask(tokens), _Absence(self._address, self._patience)
        while True:
            writer: asyncio.StreamWriter | None = None
            try:
                opening = asyncio.open_connection(*self._address)
                reader, line = await asyncio.wait_for(opening, SILENCE_SECONDS)
                writer = line
                line.write(question)
                while (said := await asyncio.wait_for(reader.readline(), SILENCE_SECONDS)) != GO:
                    if not said:
                        raise ConnectionResetError("the connection has ended")
                    absence.over()
                return _async_ends(line)
            except BaseException as error:
                if writer is not None:
                    writer.close()
                if not isinstance(error, OSError | asyncio.TimeoutError):
                    raise
                await asyncio.sleep(absence.pause(error))

    def _line(self) -> socket.socket:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return socket.create_connection(self._address, SILENCE_SECONDS)

    def _ask(self, tokens: int) -> bytes:
        return (Ask(limit=self._limit, tokens=tokens).to_json() + "\n").encode()

    def _ends(self, line: socket.socket) -> End:
        def end(answered: Answered) -> None:
            try:
                line.sendall((answered.to_json() + "\n").encode())
                self._idle.append(line)
            except OSError:  # the limiter takes a closed connection for the end of the request
                line.close()

        return end


def _async_ends(writer: asyncio.StreamWriter) -> End:
    def end(answered: Answered) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the loop may be closed
            writer.write((answered.to_json() + "\n").encode())
            writer.close()

    return end


class _Absence:
    """Measures how long the limiter has not answered."""

    def __init__(self, address: tuple[str, int], patience: float) -> None:
        self._address, self._patience = address, patience
        self._since: float | None = None

    def over(self) -> None:
        self._since = None

    def pause(self, error: Exception) -> float:
        """Returns the seconds until the next attempt. Raises LimiterUnreachable if the limiter is gone for too long."""
        self._since = self._since or time.monotonic()
        gone = time.monotonic() - self._since
        if gone >= self._patience:
            host, port = self._address
            raise LimiterUnreachable(
                f"the limiter, which keeps models.*.limits, has not answered at {host}:{port} for {gone:.0f} s "
                f"({type(error).__name__}: {error}). Is its pod running, and does every NetworkPolicy allow this pod "
                "to reach it?"
            ) from error
        return PAUSE_SECONDS * (1 + random.random())


def _read_line(line: socket.socket) -> bytes:
    """Returns the limiter's next line. Raises ConnectionResetError at the connection's end."""
    said = b""
    while not said.endswith(b"\n"):
        if not (part := line.recv(1)):
            raise ConnectionResetError("the connection has ended")
        said += part
    return said
