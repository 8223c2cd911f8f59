"""Bare git repositories behind real servers: git's own http-backend with faults, and a real sshd."""

import base64
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BACKEND = Path("/usr/lib/git-core/git-http-backend")
USER, PASSWORD, BEARER = "robot-account", "s3cret-pässword/+1", "bearer-token-4711-abcdef"
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": f"{who}@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}
_SETTINGS = {
    "http.receivepack": "true",
    "uploadpack.allowFilter": "true",
    "receive.denyCurrentBranch": "ignore",
    "receive.autogc": "false",
    "gc.auto": "0",
}


def git(*arguments: str, at: Path, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> str:
    """Returns the output of git, as a developer at their machine runs it."""
    done = subprocess.run(
        ("git", *arguments), cwd=at, input=stdin, capture_output=True, env={**_ENVIRONMENT, **(more or {})}, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(errors="surrogateescape").strip()


@dataclass
class Repository:
    """A bare repository on the server."""

    path: Path

    @classmethod
    def made(cls, path: Path) -> "Repository":
        path.mkdir(parents=True)
        git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", at=path)
        with (path / "config").open("a", encoding="utf-8") as config:
            for name, value in _SETTINGS.items():
                section, _, key = name.partition(".")
                config.write(f"[{section}]\n\t{key} = {value}\n")
        return cls(path)

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        return git(*arguments, at=self.path, stdin=stdin)

    def blob(self, data: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=data)

    def tree(self, *entries: tuple[str, str, str]) -> str:
        """Returns a tree of entries (mode, id, name) as they are, without any check of the names."""
        raw = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(found) for mode, found, name in entries)
        return self.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)

    def commit(
        self,
        files: Mapping[str, bytes | tuple[str, bytes] | tuple[str, str]],
        branch: str = "main",
        message: str = "work",
    ) -> str:
        """Adds a commit with these files to a branch. A pair of mode and content, or mode and id, is another kind."""
        lines = []
        for path, content in files.items():
            mode, data = content if isinstance(content, tuple) else ("100644", content)
            lines.append(f"{mode} {data if isinstance(data, str) else self.blob(data)}\t{path}\n")
        index = {"GIT_INDEX_FILE": str(self.path / f"index-{threading.get_ident()}")}
        old = self.tip(branch)
        git("read-tree", *([old] if old else ["--empty"]), at=self.path, more=index)
        git("update-index", "--add", "--index-info", at=self.path, stdin="".join(lines).encode(), more=index)
        return self.commit_tree(git("write-tree", "--missing-ok", at=self.path, more=index), branch, message, old)

    def commit_tree(self, tree: str, branch: str = "main", message: str = "work", parent: str | None = None) -> str:
        parents = ("-p", parent) if parent else ()
        made = self.git("commit-tree", *parents, "-m", message, tree)
        self.git("update-ref", f"refs/heads/{branch}", made)
        return made

    def tip(self, branch: str = "main") -> str | None:
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}") or None

    def read(self, path: str, at: str = "main") -> str:
        return self.git("show", f"{at}:{path}")

    def messages(self, at: str = "main") -> list[str]:
        return self.git("log", "-z", "--format=%B", at).split("\0")[:-1]

    def hook(self, name: str, script: str) -> None:
        folder = self.path / "hooks"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)


Fault = Callable[["_Handler"], bool]
"""Does something else than to answer. Returns whether it has."""


@dataclass
class GitServer:
    """Serves the repositories of a folder by HTTPS.

    Attributes:
        accepts: values of the header Authorization that may read and write; empty if everybody may.
        fault: what the server does in place of an answer; None if it answers.
        after: what happens after git's answer is computed, and before it is sent.
        asked: (method, path, header Authorization) of each request.
    """

    root: Path
    address: str
    accepts: set[str] = field(default_factory=set)
    fault: Fault | None = None
    after: Callable[["_Handler"], None] | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def repository(self, name: str = "app.git") -> Repository:
        return Repository.made(self.root / name)

    def url(self, name: str = "app.git") -> str:
        return f"{self.address}/{name}"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def answering(status: int, body: str = "", **headers: str) -> Fault:
    """Returns the fault of a server that always gives this answer."""

    def fault(handler: "_Handler") -> bool:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body.encode())
        return True

    return fault


def cut(handler: "_Handler") -> bool:
    """The server closes the connection without an answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def hanging(ended: threading.Event) -> Fault:
    """Returns the fault of a server that never answers."""

    def fault(handler: "_Handler") -> bool:
        ended.wait(60)
        return cut(handler)

    return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        told: GitServer = self.server.told
        authorization = self.headers.get("Authorization", "")
        told.asked.append((self.command, self.path, authorization))
        length = self.headers.get("Content-Length")
        body = self._chunks() if self.headers.get("Transfer-Encoding") else self.rfile.read(int(length or 0))
        if told.fault is not None and told.fault(self):
            return
        if told.accepts and authorization not in told.accepts:
            answering(401, **{"WWW-Authenticate": 'Basic realm="git"'})(self)
            return
        self._answer(told, body)

    do_POST = do_GET

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, told: GitServer, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            **_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(told.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "robot",
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run((BACKEND,), input=body, capture_output=True, env=environment, check=False)
        if told.after is not None:
            told.after(self)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = [line.partition(": ")[::2] for line in head.decode().splitlines()]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client may go away at any time."""


@dataclass(frozen=True)
class Authority:
    """A CA of the tests, and a certificate of 127.0.0.1 from it."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def made(cls, folder: Path, *hosts: str) -> "Authority":
        """Makes a CA, and a certificate for this machine and for further hosts or IPv4 addresses."""
        others = "".join(f",{'DNS' if host.strip('0123456789.') else 'IP'}:{host}" for host in hosts)

        def openssl(*arguments: str) -> None:
            subprocess.run(("openssl", *arguments), cwd=folder, capture_output=True, check=True)

        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256")
        ca = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=tests")
        openssl("req", "-x509", *curve, *ca, "-days", "30", "-keyout", "ca.key", "-out", "ca.crt")
        openssl("req", *curve, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr")
        extensions = f"subjectAltName=IP:127.0.0.1,DNS:localhost{others}\nextendedKeyUsage=serverAuth\n"
        (folder / "extensions").write_text(
            f"{extensions}authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n", encoding="ascii"
        )
        issuer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions")
        openssl("x509", "-req", "-in", "server.csr", *issuer, "-days", "30", "-sha256", "-out", "server.crt")
        return cls(folder / "ca.crt", folder / "server.crt", folder / "server.key")

    def wrapped(self, server: ThreadingHTTPServer) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)


@contextmanager
def https(
    root: Path,
    authority: Authority,
    handler: type[BaseHTTPRequestHandler] = _Handler,
    address: tuple[str, int] = ("127.0.0.1", 0),
) -> Iterator[GitServer]:
    """Serves the repositories of a folder until the block ends."""
    server = _Server(address, handler)
    authority.wrapped(server)
    told = GitServer(root, f"https://127.0.0.1:{server.server_port}")
    server.told = told  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
