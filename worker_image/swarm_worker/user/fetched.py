"""Finds the files of data that the run has fetched from URLs, and puts each together from its parts."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from swarm_wire import names
from swarm_wire.messages import PROGRAM_FILES, STORED, Snapshot, Stored
from swarm_wire.names import SHARD_SUFFIX, WorkerReason
from swarm_wire.report import FetchedFile
from swarm_wire.shards import files, headers, unpack
from swarm_wire.snapshots import complete
from swarm_worker.errors import BadInput
from swarm_worker.journal.body_store import Bodies
from swarm_worker.user.sources import unpacked_folder

LONGEST_NAME = 100
"""How many characters of a file's name are kept."""


class _Part(NamedTuple):
    """A part of a file, and the shard that has it."""

    head: Snapshot
    shard: Path


def file_name(url: str) -> str:
    """Returns the name of the file at a URL, with the end that says its format."""
    return PurePosixPath(urlsplit(url).path).name[-LONGEST_NAME:]


def fetched_files() -> dict[str, FetchedFile]:
    """Returns the origins of the files that the run has fetched, by their fields in spec.data."""
    heads = {of: parts[0].head for of, parts in _parts().items()}
    return {of: FetchedFile(url=head.url, sha256=head.sha256, revision=head.revision) for of, head in heads.items()}


def fetched_file(of: str, url: str, depot: Bodies | None) -> Path:
    """Returns the path of a file that the run has fetched.

    Args:
        of: the field of spec.data, such as train.
        depot: has the parts, if the spec has a journal.

    Raises BadInput if a part is missing or altered. Raises Drift if it is missing or altered in the depot.
    """
    parts = _parts().get(of)
    if parts is None:
        raise _lost(of, "was not fetched, or a part of it is gone")
    head = parts[0].head
    target = unpacked_folder() / "data" / head.sha256[:32] / file_name(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A plan and its twin need the file at the same time, and /tmp may have no room for two copies.
    with target.parent.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _assemble(parts, depot, target)
    return target


def _assemble(parts: list[_Part], depot: Bodies | None, target: Path) -> None:
    # Each attempt overwrites the rest of one that was killed. No file of data has this name, which lacks a format.
    scratch, hasher, head = target.with_name("unfinished"), hashlib.sha256(), parts[0].head
    with scratch.open("wb") as file:
        for body in _bodies(parts, depot):
            hasher.update(body)
            file.write(body)
    if hasher.hexdigest() != head.sha256:
        scratch.unlink()
        raise _lost(head.of, "was altered in the run's ConfigMaps")
    scratch.replace(target)


def _parts() -> dict[str, list[_Part]]:
    """Returns the parts of each file that is complete, in their order."""
    folder = Path(os.environ.get(names.ENV_DATA_DIR) or names.DATA_DIR)
    shards = sorted(path for path in files(folder) if path.name.endswith(SHARD_SUFFIX))
    heads = ((Snapshot.model_validate(record.header), path) for path in shards for record in headers(path.read_bytes()))
    found = complete((head, path) for head, path in heads if head.of != PROGRAM_FILES)
    return {of: [_Part(*part) for part in parts] for of, parts in found.items()}


def _bodies(parts: list[_Part], depot: Bodies | None) -> Iterator[bytes]:
    # A file may be larger than memory. So only one shard is in memory at a time.
    shard, bodies = Path(), dict[tuple[str, str, int], bytes | Stored]()
    for part in parts:
        if part.shard != shard:
            shard, bodies = part.shard, {}
            for record in unpack(shard.read_bytes()):
                head = Snapshot.model_validate(record.header)
                stored = record.header.get(STORED)
                bodies[head.of, head.sha256, head.part] = Stored.model_validate(stored) if stored else record.body
        body = bodies[part.head.of, part.head.sha256, part.head.part]
        if isinstance(body, Stored):
            if depot is None:
                raise _lost(part.head.of, "is in the storage of spec.journal, which is not set")
            body = depot.read(body, once=True)
        yield body


def _lost(of: str, what: str) -> BadInput:
    return BadInput(
        WorkerReason.DATA_INVALID,
        f"spec.data.{of}.url: the file {what}. Find out who changes the run's ConfigMaps, and begin a new run.",
    )
