"""Runs other programs and reports their failures, so that the decisions of other modules need no processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_START = time.monotonic()


class CommandError(RuntimeError):
    """A program ended with an error. The message ends with the last output of the program."""


def run(
    *command: str | Path,
    stdin: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program until it ends, and return its standard output.

    `stdin` is a text, or the path of a file to read. `env` replaces variables of this process's environment. Its `PATH`
    also says where to find the program.
    """
    argv = [str(word) for word in command]
    source = stdin.open("rb") if isinstance(stdin, Path) else None
    try:
        ended = subprocess.run(
            argv,
            stdin=source or (None if isinstance(stdin, str) else subprocess.DEVNULL),
            input=stdin.encode() if isinstance(stdin, str) else None,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as missing:
        raise CommandError(f"{argv[0]}: no such program") from missing
    finally:
        if source:
            source.close()
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).decode(errors="replace").strip()
        raise CommandError(f"{' '.join(argv[:6])} ended with {ended.returncode}:\n{said[-3000:]}")
    return ended.stdout.decode(errors="replace").strip()


def succeeds(*command: str | Path, env: Mapping[str, str] | None = None) -> bool:
    """Run a program, and return whether it ends without an error."""
    try:
        run(*command, env=env)
    except CommandError:
        return False
    return True


def say(message: str) -> None:
    """Tell the user on standard error what begins now. Standard output is only for results."""
    print(f"[{time.monotonic() - _START:5.0f}s] {message}", file=sys.stderr, flush=True)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port of this address on which nothing listens now."""
    with socket.socket() as found:
        found.bind((address, 0))
        return int(found.getsockname()[1])
