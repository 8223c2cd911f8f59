"""Runs git in a closed environment: none of its configuration comes from the machine, the user or the repository.

Only on a laptop, git may use the configuration of the machine and of its user, for their credentials.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from swarm_git.errors import GitError, Place, explained, unreachable
from swarm_git.masking import PROXIES, Masks

COMMAND_SECONDS = 600.0
"""Largest number of seconds for one command of git."""
SILENT_SECONDS = 60
"""After so many seconds without a byte from the server, git gives up."""
CONNECT_SECONDS = 20
_PASSED = ("PATH", "TMPDIR", *PROXIES, "no_proxy", "NO_PROXY")
_ENVIRONMENT: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    # Neither `file`, which would read the pod's files, nor `ext`, which runs programs.
    "GIT_ALLOW_PROTOCOL": "https:http:ssh",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_SSH_VARIANT": "ssh",
    "LC_ALL": "C",
}
_NO_FILES: Final = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
"""Variables with which git reads no configuration of the machine or the user."""
_NO_HELPERS: Final = {"credential.helper": ""}
"""Clears all helpers, also those of one host."""
_CONFIG: Final = {
    "core.hooksPath": "/dev/null",
    # git would ask for credentials of the other host, or send ours.
    "http.followRedirects": "false",
    "http.emptyAuth": "false",
    "http.sslVerify": "true",
    # A server that computes sends one byte a second at least.
    "http.lowSpeedLimit": "1",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # Nothing is ever checked out, git verifies each object's hash, and `tree` checks names. More checks would refuse
    # many an old repository for a badly written date.
    "transfer.fsckObjects": "false",
    # A repository may be half as large as the pod's memory.
    "pack.threads": "1",
    "core.bigFileThreshold": "16m",
}


@dataclass(frozen=True)
class Access:
    """How git gets at the repository.

    Attributes:
        environment: further variables of git.
        config: further configuration of git. It travels in variables, so no list of processes shows it.
        token: the password or token, for the API of the server; empty for ssh.
        ca_file: certificates of the only CAs to trust; None for those of the machine.
        users_config: whether git uses the configuration of the machine and its user, with their credential helpers.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    token: str = field(default="", repr=False)
    ca_file: Path | None = None
    users_config: bool = False


@dataclass(frozen=True)
class Patience:
    """How many seconds a command may take, and how many may pass without a byte from the server."""

    command: float = COMMAND_SECONDS
    silence: int = SILENT_SECONDS


class Failed(Exception):
    """git has ended with an error.

    Attributes:
        said: what git has printed on standard error.
        out: what git has printed on standard output.
    """

    def __init__(self, said: str, out: bytes = b"") -> None:
        super().__init__(said)
        self.said, self.out = said, out


class Git:
    """A bare repository of its own, and a remote one.

    Args:
        scratch: an empty folder. Only git's own files are in it.
        access: how git gets at the remote repository.
        place: what messages say about the remote repository.
        masks: the secrets that no message may have.
    """

    def __init__(
        self, scratch: Path, access: Access, place: Place, masks: Masks, patience: Patience | None = None
    ) -> None:
        self.access, self.place, self._masks, self._patience = access, place, masks, patience or Patience()
        self._home, self._repository = scratch / "home", scratch / "repository.git"
        self._home.mkdir()
        self.run("init", "--quiet", "--bare", "--template=", "--initial-branch=swarm", str(self._repository))

    def run(self, *arguments: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> bytes:
        """Returns the output of a command. Raises Failed.

        Args:
            more: further variables of this command.
        """
        with self._started(arguments, more or {}) as process:
            try:
                out, said = process.communicate(stdin, timeout=self._patience.command)
            except subprocess.TimeoutExpired:
                raise self._too_slow(arguments[0]) from None
        if process.returncode:
            raise Failed(self._masks.redact(said.decode(errors="replace")), out)
        return out

    def text(self, *arguments: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> str:
        """Returns the output of a command, without white space at its ends. Raises Failed."""
        return self.run(*arguments, stdin=stdin, more=more).decode(errors="surrogateescape").strip()

    def asked(self, *arguments: str, place: Place | None = None) -> bytes:
        """Returns the output of a command that asks the server. Raises GitError if it fails.

        Args:
            place: what the message says, if not the same as in other messages.
        """
        try:
            return self.run(*arguments)
        except Failed as failed:
            raise explained(failed.said, place or self.place) from None

    def parts(self, *arguments: str) -> Iterator[bytes]:
        """Yields the parts of a command's output that NUL separates. A caller may stop early. Raises Failed."""
        with self._started(arguments, {}) as process:
            alarm = threading.Timer(self._patience.command, _end, (process,))
            alarm.start()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.close()
                rest = b""
                while piece := process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
                    *whole, rest = (rest + piece).split(b"\0")
                    yield from whole
            finally:
                alarm.cancel()
            assert process.stderr is not None
            said = process.stderr.read().decode(errors="replace")
            if process.wait():
                raise Failed(self._masks.redact(said))

    @contextmanager
    def _started(self, arguments: tuple[str, ...], more: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """Starts a command. At the end, neither the command nor a process that it has started is left."""
        pipe = subprocess.PIPE
        command = ("git", *arguments)
        # With a session of its own, git has no terminal to ask on, and can be ended with all its helpers.
        with subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=self._home,
            env=self._environment(more),
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                _end(process)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        no_files, no_helpers = ({}, {}) if self.access.users_config else (_NO_FILES, _NO_HELPERS)
        config = {**_CONFIG, **no_helpers, "http.lowSpeedTime": str(self._patience.silence), **self.access.config}
        pairs = enumerate(config.items())
        numbered = {
            name: value
            for number, (key, setting) in pairs
            for name, value in ((f"GIT_CONFIG_KEY_{number}", key), (f"GIT_CONFIG_VALUE_{number}", setting))
        }
        return {
            **{name: os.environ[name] for name in _PASSED if name in os.environ},
            **_ENVIRONMENT,
            **no_files,
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "GIT_DIR": str(self._repository),
            "GIT_CONFIG_COUNT": str(len(config)),
            **numbered,
            **self.access.environment,
            **more,
        }

    def _too_slow(self, command: str) -> GitError:
        return unreachable(
            self.place,
            f"`git {command}` with {self.place.url} has taken more than {self._patience.command:g} seconds. Another "
            "attempt follows. If that does not help, use a smaller repository",
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that still runs, with its helpers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
