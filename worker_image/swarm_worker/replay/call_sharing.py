"""Lets the processes of one machine make each LM call once, also within a round.

The local driver keeps the table; its workers claim a call before they make it. Whoever claims first makes the call, the
others wait for the answer. Pods of a cluster have no such table: there, cells of one example meet in one pod, and what
an earlier round finished is in the journal.
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
"""Before the desk listens again after somebody could not be let in."""


class Table:
    """Calls that are finished, and those under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._finished: dict[str, bytes] = {}
        self._flights: dict[str, Future[None]] = {}

    def claim(self, key: str) -> bytes | Future[None] | None:
        """The answer; or what to wait for, then to claim again; or None: the caller makes the call, and `land`s."""
        with self._lock:
            if (body := self._finished.get(key)) is not None:
                return body
            flight = self._flights.get(key)
            if flight is None:
                self._flights[key] = Future()
                self._flights[key].set_running_or_notify_cancel()  # who gives up waiting does not cancel it
            return flight

    def land(self, key: str, body: bytes | None) -> None:
        """The call is finished, with this answer or with none that others could use."""
        with self._lock:
            if body is not None:
                self._finished[key] = body
            self._flights.pop(key).set_result(None)


class Desk:
    """The table, for other processes of this user: a Unix socket in a folder that is theirs alone."""

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
        """What a process needs to find the desk."""
        return {names.ENV_EXCHANGE: f"{self._key.hex()}:{self._listener.address}"}

    def _accept(self) -> None:
        while self._is_open:
            try:
                line = self._listener.accept()
            except OSError:
                time.sleep(PAUSE_SECONDS)  # closed, or somebody went away at once
                continue
            threading.Thread(target=self._greet, args=(line,), daemon=True).start()

    def _greet(self, line: Connection) -> None:
        """Serves a line whose other end has the key. In a thread of its own: who stops here stops nobody else."""
        try:
            deliver_challenge(line, self._key)
            answer_challenge(line, self._key)
        except (EOFError, OSError, ProcessError):
            return
        self._serve(line)

    def _serve(self, line: Connection) -> None:
        """One line: a call is claimed, and landed before another one is."""
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
    """The desk, from another process. When it cannot be reached, each process makes its own calls.

    A line serves one claim at a time: there are as many as calls under way.
    """

    def __init__(self, address: str) -> None:
        key, _, path = address.partition(":")
        self._key, self._path = bytes.fromhex(key), path
        self._idle: list[Connection] = []
        self._claimed: dict[str, Connection] = {}

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> "Window | None":
        """The desk that the environment names, and takes its name out of it."""
        address = environment.pop(names.ENV_EXCHANGE, "")
        return cls(address) if address else None

    def claim(self, key: str) -> bytes | None:
        """The answer of another process, which may take as long as the call; None: make the call, and `land`."""
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
        """The call that was claimed is finished."""
        line = self._claimed.pop(key, None)
        if line is not None:
            with contextlib.suppress(OSError):
                line.send((key, body))
                self._idle.append(line)
