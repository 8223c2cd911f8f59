"""Builds a real Gitea from its Go module, and runs it for tests of pull requests.

The module of 1.27 has another path, under which Go cannot get it.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed import cache
from testbed.shell import CommandError, free_port, run, say

MODULE = "code.gitea.io/gitea@v1.26.4"
# mattn's SQLite needs cgo. Without the tags there is no SQLite at all.
_TAGS = "timetzdata,sqlite,sqlite_unlock_notify"
_READ_AT_RUN_TIME = ("templates", "options", "public")
_USER = "nobody"
"""Gitea refuses to run as root. Every Linux has this user."""
_SECONDS_TO_START = 60
ADMIN, PASSWORD = "owner", "a-password-of-tests-1"
PAGE = 3
"""The API shows so many items in a page, so that a test has several pages with few requests."""


def program() -> Path:
    """Build Gitea unless it was built before: some minutes. Return the folder with it and the files that it reads."""
    return cache.made("gitea", (MODULE, _TAGS), _make)


def _make(folder: Path) -> None:
    say(f"building {MODULE}, which takes five minutes on two cores")
    module = json.loads(run("go", "mod", "download", "-json", MODULE, cwd=Path("/")))
    # Gitea is built in its own module, since only there its go.mod and its replacements of modules count.
    source = folder / "source"
    shutil.copytree(module["Dir"], source, copy_function=shutil.copyfile)
    for path in (source, *source.rglob("*")):
        path.chmod(0o755)
    flags = {"CGO_ENABLED": "1", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
    run(
        *("nice", "go", "build", "-tags", _TAGS, "-ldflags", "-s -w", "-o", folder / "gitea", "."),
        env=flags | {"GOCACHE": str(cache.root() / "go-build")},
        cwd=source,
    )
    for name in _READ_AT_RUN_TIME:
        (source / name).rename(folder / name)
    shutil.rmtree(source)


@dataclass(frozen=True)
class Gitea:
    """A running Gitea. Its user ADMIN has the password PASSWORD.

    Attributes:
        url: its address, with https.
        ca_file: certificate of the CA to trust.
    """

    url: str
    ca_file: Path


@contextmanager
def running(ca_file: Path, certificate: Path, key: Path, address: str = "127.0.0.1") -> Iterator[Gitea]:
    """Run a new Gitea at this address until the block ends. It keeps nothing.

    Raises:
        CommandError: it does not start. The message ends with what it has printed.
    """
    built = program()
    # The cache may be in a folder that only root may read, and Gitea runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="dspy-swarm-gitea-"))
    try:
        shutil.copytree(built, folder / "program")
        for name, path in (("cert.pem", certificate), ("key.pem", key)):
            shutil.copyfile(path, folder / name)
        port = free_port(address)
        (folder / "app.ini").write_text(_configuration(folder, address, port), encoding="utf-8")
        account = _Account.of(folder)
        account.run("migrate")
        user = ("--username", ADMIN, "--password", PASSWORD, "--email", f"{ADMIN}@example.com")
        account.run("admin", "user", "create", *user, "--admin", "--must-change-password=false")
        with account.serving(address, port):
            yield Gitea(f"https://{address}:{port}", ca_file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Account:
    """The user as which Gitea runs, and its folder."""

    folder: Path
    switch: Mapping[str, int | list[int]]
    """Arguments of subprocess that change the user; empty unless this process is root's."""

    @classmethod
    def of(cls, folder: Path) -> _Account:
        if os.getuid() != 0:
            return cls(folder, {})
        user = pwd.getpwnam(_USER)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
        return cls(folder, {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []})

    def command(self, *arguments: str) -> list[str]:
        return [str(self.folder / "program" / "gitea"), *arguments, "--config", str(self.folder / "app.ini")]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "USER": _run_user()}

    def run(self, *arguments: str) -> None:
        ended = subprocess.run(  # type: ignore[call-overload]
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            check=False,
            **self.switch,
        )
        if ended.returncode != 0:
            said = (ended.stdout + ended.stderr).decode(errors="replace")
            raise CommandError(f"gitea {arguments[0]} ended with {ended.returncode}:\n{said[-3000:]}")

    @contextmanager
    def serving(self, address: str, port: int) -> Iterator[None]:
        log = self.folder / "gitea.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # type: ignore[call-overload]
                self.command("web"),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self.switch,
            )
        try:
            deadline = time.monotonic() + _SECONDS_TO_START
            while not _answers(address, port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CommandError(f"gitea web does not start:\n{log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(30)


def _run_user() -> str:
    return _USER if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


def _configuration(folder: Path, address: str, port: int) -> str:
    sections: dict[str, dict[str, object]] = {
        "server": {
            "PROTOCOL": "https",
            "HTTP_ADDR": address,
            "HTTP_PORT": port,
            "ROOT_URL": f"https://{address}:{port}/",
            "CERT_FILE": folder / "cert.pem",
            "KEY_FILE": folder / "key.pem",
            "STATIC_ROOT_PATH": folder / "program",
            "APP_DATA_PATH": folder / "data",
            "OFFLINE_MODE": "true",
            "DISABLE_SSH": "true",
        },
        "database": {"DB_TYPE": "sqlite3", "PATH": folder / "gitea.db"},
        "repository": {"ROOT": folder / "repositories", "DEFAULT_BRANCH": "main"},
        "security": {"INSTALL_LOCK": "true"},
        "service": {"DISABLE_REGISTRATION": "true"},
        "api": {"MAX_RESPONSE_ITEMS": PAGE, "DEFAULT_PAGING_NUM": PAGE},
        "log": {"MODE": "console", "LEVEL": "warn"},
        "webhook": {"ALLOWED_HOST_LIST": "loopback"},
        "actions": {"ENABLED": "false"},
        "packages": {"ENABLED": "false"},
    }
    lines = ["RUN_MODE = prod", f"RUN_USER = {_run_user()}", f"WORK_PATH = {folder / 'work'}"]
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
