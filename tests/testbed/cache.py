"""Keeps build results in folders outside of the work tree. A digest of its inputs names each folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.shell import say

Input = str | bytes | Path


def root() -> Path:
    """Return the folder of all build results: `$DSPY_SWARM_CACHE`, or `~/.cache/dspy-swarm`."""
    return Path(os.environ.get("DSPY_SWARM_CACHE") or Path.home() / ".cache" / "dspy-swarm").absolute()


def key(*inputs: Input) -> str:
    """Return a short digest of texts, files and folders. Locations and times of files do not count."""
    digest = hashlib.sha256()
    for item in inputs:
        for name, content in _parts(item):
            digest.update(b"%d %s %d " % (len(name), name.encode(), len(content)) + content)
    return digest.hexdigest()[:12]


def _parts(item: Input) -> Iterator[tuple[str, bytes]]:
    if isinstance(item, Path):
        files = [item] if item.is_file() else sorted(path for path in item.rglob("*") if path.is_file())
        for file in files:
            yield file.relative_to(item).as_posix() if file != item else file.name, file.read_bytes()
    else:
        yield "", item.encode() if isinstance(item, str) else item


def made(name: str, inputs: tuple[Input, ...], make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled. Call `make` only if there is no folder for these inputs.

    The folder gets its final name when it is complete, so an interrupted build is repeated.
    """
    folder = root() / f"{name}-{key(*inputs)}"
    if not folder.exists():
        with scratch() as staging:
            make(staging)
            staging.rename(folder)
    return folder


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder to build in, on the file system of the cache. Delete it afterwards unless it was renamed."""
    root().mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="tmp-", dir=root()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lock() -> Iterator[None]:
    """Let only one process at a time change the cache and the clusters. Other processes wait."""
    root().mkdir(parents=True, exist_ok=True)
    with (root() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another testbed command to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
