"""An https server with files of data, which may fail in the ways of real servers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.git_server import Authority

Answer = Callable[["Handler"], None]
"""Answers a request in place of the file."""


@dataclass
class DataServer:
    """The server as tests see it.

    Attributes:
        files: content by path.
        faults: answers to the next requests, in order; None answers with the file.
        always: answers all requests, after the faults.
        accepts: value of the header Authorization that the server wants; empty if it wants none.
        has_etags: whether the server names the state of a file.
        has_sizes: whether the server says how large a file is.
        asked: method, path and headers of each request.
    """

    url: str
    ca: Path
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Answer | None] = field(default_factory=list)
    always: Answer | None = None
    accepts: str = ""
    has_etags: bool = True
    has_sizes: bool = True
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told: DataServer = self.server.told  # type: ignore[attr-defined]
        told.asked.append((self.command, self.path, dict(self.headers)))
        answer = (told.faults.pop(0) if told.faults else None) or told.always
        if answer is not None:
            answer(self)
            return
        if told.accepts and self.headers.get("Authorization") != told.accepts:
            self.refuse(401)
            return
        if (content := told.files.get(self.path.partition("?")[0])) is None:
            self.refuse(404)
            return
        self.file(content)

    do_HEAD = do_GET

    def file(self, content: bytes, *, cut: int | None = None) -> None:
        """Sends a file, or only its first bytes."""
        told: DataServer = self.server.told  # type: ignore[attr-defined]
        self.send_response(200)
        if told.has_sizes:
            self.send_header("Content-Length", str(len(content)))
        if told.has_etags:
            self.send_header("ETag", f'"{hash(content)}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:cut])

    def refuse(self, status: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def status(code: int, **headers: str) -> Answer:
    """Returns an answer with this status."""
    return lambda handler: handler.refuse(code, **headers)


@contextmanager
def serving(authority: Authority) -> Iterator[DataServer]:
    """Serves files until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    authority.wrapped(server)
    told = DataServer(f"https://127.0.0.1:{server.server_port}", authority.ca)
    server.told = told  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
