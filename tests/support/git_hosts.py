"""A server with one repository, and its pull requests: what the fakes of all providers have in common."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from support.git_server import Authority
from swarm_wire.spec.git import GitDestination

TOKEN, READS_ONLY, OF_A_STRANGER = "tok-writes-1234", "tok-reads-5678", "tok-stranger-9012"
BASE = "main"
HOME, FORK = 1, 2
"""Ids of the repository and of a fork."""


@dataclass
class Pull:
    """A pull request as a server keeps it."""

    number: int
    head: str
    base: str
    title: str
    body: str
    is_open: bool = True
    repository: int = HOME


@dataclass(frozen=True)
class Call:
    """A request over HTTP. `path` is still percent-encoded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    status: int
    value: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class FakeHost:
    """A provider's server, with one repository of which branches and requests are set by tests.

    Attributes:
        faults: replies that the next calls get in place of their own.
        late_faults: as `faults`, but the server does what it is asked to do first.
        is_blind: whether the server opens a request although there is one, as Gitea does if two calls come at once.
        before: called once before the next call of a method, as another process that comes first.
    """

    provider: ClassVar[str]
    prefix: ClassVar[str]
    """Path of the API."""
    project: ClassVar[str] = "acme/app"
    header: ClassVar[tuple[str, str]]
    """Name of the header that carries the token, and what stands before the token."""
    most_in_a_page: ClassVar[int] = 3
    """Real servers show at most 50 or 100."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.pulls: list[Pull] = []
        self.branches = {BASE}
        self.calls: list[Call] = []
        self.faults: list[Reply] = []
        self.late_faults: list[Reply] = []
        self.is_blind = False
        self.before: dict[str, Callable[[], object]] = {}
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.ca_file = authority.ca if authority else None
        self._scheme = "https" if authority else "http"
        if authority:
            authority.wrapped(self._server)

    @contextmanager
    def running(self) -> Iterator["FakeHost"]:
        thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    @property
    def api(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}{self.prefix}"

    @property
    def token(self) -> str:
        return TOKEN

    def destination(self, base: str = BASE, **changed: Any) -> GitDestination:
        return GitDestination.model_validate(
            {
                "url": f"https://git.example.com/{self.project}.git",
                "secret": {"name": "git-token"},
                "branch": base,
                "path": "prompts/triage",
                "pullRequest": {"provider": self.provider, "api": self.api},
                **changed,
            }
        )

    def add_branch(self, name: str) -> None:
        self.branches.add(name)

    def add(self, head: str, base: str = BASE, title: str = "old", repository: int = HOME) -> Pull:
        pull = Pull(len(self.pulls) + 1, head, base, title, "", repository=repository)
        self.pulls.append(pull)
        return pull

    def close(self, number: int) -> None:
        self.pulls[number - 1].is_open = False

    def open_pulls(self, head: str) -> list[Pull]:
        return [pull for pull in self.pulls if pull.is_open and pull.head == head and pull.repository == HOME]

    def answer(self, call: Call) -> Reply:
        """Answers a call. This is called in the thread of the call."""
        with self._lock:
            self.calls.append(call)
            if self.faults:
                return self.faults.pop(0)
            if before := self.before.pop(call.method, None):
                before()
            reply = self._answer(call)
            return self.late_faults.pop(0) if self.late_faults and reply.status < 300 else reply

    def _answer(self, call: Call) -> Reply:
        name, scheme = self.header
        token = call.headers.get(name, "").removeprefix(scheme)
        if not call.headers.get(name, "").startswith(scheme) or token not in (TOKEN, READS_ONLY, OF_A_STRANGER):
            return self.unauthorized()
        if (
            not (found := re.fullmatch(f"{self.prefix}{self.route()}(?:/([0-9]+))?", call.path))
            or token == OF_A_STRANGER
        ):
            return self.not_found()
        if call.method != "GET" and token == READS_ONLY:
            return self.forbidden()
        if call.method == "GET" and not found[1]:
            return self._listed(call)
        if call.method == "POST" and not found[1]:
            return self.opened(call.body)
        return self.updated(self.pulls[int(found[1]) - 1], call)

    def _listed(self, call: Call) -> Reply:
        """Answers with one page, newest first, and with the header Link if there are more."""
        chosen = [pull for pull in reversed(self.pulls) if self.chosen(pull, call.query)]
        size = min(int(call.query.get(self.size_parameter(), 20)), self.most_in_a_page)
        page = int(call.query.get("page", 1))
        rest = chosen[page * size :]
        link = {"Link": f'<{self.api}/next?page={page + 1}>; rel="next"'} if rest else {}
        return Reply(200, [self.shown(pull) for pull in chosen[(page - 1) * size : page * size]], link)

    def taken(self, head: str, base: str) -> Pull | None:
        if self.is_blind:
            return None
        return next((pull for pull in self.open_pulls(head) if pull.base == base), None)

    def route(self) -> str:
        return f"/repos/{self.project}/pulls"

    def size_parameter(self) -> str:
        return "per_page"

    def unauthorized(self) -> Reply:
        raise NotImplementedError

    def not_found(self) -> Reply:
        raise NotImplementedError

    def forbidden(self) -> Reply:
        raise NotImplementedError

    def chosen(self, pull: Pull, query: Mapping[str, str]) -> bool:
        raise NotImplementedError

    def shown(self, pull: Pull) -> dict[str, Any]:
        raise NotImplementedError

    def opened(self, body: Mapping[str, Any]) -> Reply:
        raise NotImplementedError

    def updated(self, pull: Pull, call: Call) -> Reply:
        raise NotImplementedError


def _handler(host: FakeHost) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            address = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_json = self.headers.get("Content-Type") == "application/json"
            body = json.loads(text) if text and is_json else {}
            query = dict(parse_qsl(address.query))
            reply = host.answer(Call(self.command, address.path, query, dict(self.headers.items()), body))
            if not reply.status:
                self.close_connection = True
                return
            content = reply.value if isinstance(reply.value, bytes) else json.dumps(reply.value).encode()
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = answer

        def log_message(self, *_: Any, **__: Any) -> None:
            """Does not print."""

    return Handler
