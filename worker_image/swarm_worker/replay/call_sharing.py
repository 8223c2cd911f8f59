"""Lets the processes of one machine share LM calls, also within a round.

The local driver keeps a table of calls. A worker claims a call there before it makes the call. The first worker that
claims a call makes it, and the others wait for its answer. Pods of a cluster share no table. There, one pod runs all
cells of an example, and the journal has the calls of earlier rounds.
"""

import contextlib
import secrets
import tempfile
import threading
import time
from collections.abc import MutableMapping
from concurrent.futures import Future
from multiprocessing import ProcessError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Self

from swarm_wire import names

PAUSE_SECONDS = 0.05
"""How long the local driver waits after a failed connection of a worker before it accepts another one."""


class Table:
    """Finished calls, and calls under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._finished: dict[str, bytes] = {}
        self._flights: dict[str, Future[None]] = {}

    def claim(self, key: str) -> bytes | Future[None] | None:
        """Claims a call.

        Returns:
            The answer, if it is known. A future, if another claimer makes the call: wait for it, then claim again.
                None, if the caller is to make the call, and then to call `land`.
        """
        with self._lock:
            if (body := self._finished.get(key)) is not None:
                return body
            flight = self._flights.get(key)
            if flight is None:
                self._flights[key] = Future()
                self._flights[key].set_running_or_notify_cancel()  # now a waiter that gives up cannot cancel the future
            return flight

    def land(self, key: str, body: bytes | None) -> None:
        """Ends a claimed call. The body is None if there is no answer that others could use."""
        with self._lock:
            if body is not None:
                self._finished[key] = body
            self._flights.pop(key).set_result(None)


class Desk:
    """Serves the table of LM calls to other processes of this user, by a Unix socket in a private folder."""

    def __init__(self) -> None:
        self._table = Table()
        self._key = secrets.token_bytes(16)

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="swarm-")
        self._is_open = True
        self._listener = Listener(str(Path(self._folder.name) / "calls"), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        self._listener.close()
        self._folder.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """Returns the environment variables that tell a worker how to reach this desk."""
        return {names.ENV_EXCHANGE: f"{self._key.hex()}:{self._listener.address}"}

    def _accept(self) -> None:
        while self._is_open:
            try:
                line = self._listener.accept()
            except OSError:
                time.sleep(PAUSE_SECONDS)  # the desk is closed, or a worker closed its connection at once
                continue
            threading.Thread(target=self._greet, args=(line,), daemon=True).start()

    def _greet(self, line: Connection) -> None:
        """Serves a connection if its other end has the key. It has its own thread, so a stuck peer blocks no other."""
        try:
            deliver_challenge(line, self._key)
            answer_challenge(line, self._key)
        except (EOFError, OSError, ProcessError):
            return
        self._serve(line)

    def _serve(self, line: Connection) -> None:
        """Serves one connection. The other end ends each claimed call before it claims another."""
        claimed: str | None = None
        try:
            while True:
                key, body = line.recv()
                if claimed is not None:
                    self._table.land(claimed, body)
                    claimed = None
                    continue
                while isinstance(found := self._table.claim(key), Future):
                    found.result()
                claimed = key if found is None else None
                line.send(found)
        except (EOFError, OSError):
            if claimed is not None:
                self._table.land(claimed, None)


class Window:
    """A worker's access to the local driver's `Desk`. If that cannot be reached, each process makes its own calls.

    A connection serves one claim at a time, so there is one connection for each call under way.
    """

    def __init__(self, address: str) -> None:
        key, _, path = address.partition(":")
        self._key, self._path = bytes.fromhex(key), path
        self._idle: list[Connection] = []
        self._claimed: dict[str, Connection] = {}

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> "Window | None":
        """Returns access to the desk that the environment names; None if it names none. Removes the variable."""
        address = environment.pop(names.ENV_EXCHANGE, "")
        return cls(address) if address else None

    def claim(self, key: str) -> bytes | None:
        """Waits for another process's answer, and returns it. None: the caller makes the call, then calls `land`."""
        with contextlib.suppress(EOFError, OSError, ProcessError):
            line = self._idle.pop() if self._idle else Client(self._path, authkey=self._key)
            line.send((key, None))
            answer: bytes | None = line.recv()
            if answer is None:
                self._claimed[key] = line
            else:
                self._idle.append(line)
            return answer
        return None

    def land(self, key: str, body: bytes | None) -> None:
        """Ends a claimed call."""
        line = self._claimed.pop(key, None)
        if line is not None:
            with contextlib.suppress(OSError):
                line.send((key, body))
                self._idle.append(line)
