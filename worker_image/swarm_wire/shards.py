"""How records are stored: in shards, the files of a journal.

A shard is a sequence of frames, each after its length (4 bytes, big endian). In a cluster, a shard is one key of an
immutable ConfigMap, and an annotation has its sha256. On a laptop, a shard is a file.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from swarm_wire.names import SHARD_SUFFIX
from swarm_wire.records import Bounds, Framed, Record, Sealed

OpenedT = TypeVar("OpenedT")

SHARD_BYTES = 640 * 1024
"""Bytes that a shard should not exceed. Its base64 then stays below 900 KiB, and a ConfigMap may have 1 MiB."""

SHARD_HEADERS = 8 * 1024 * 1024
"""Largest size of all headers of a shard after inflation, in bytes.

A record with a larger header gets its own shard.
"""


class CorruptShard(Exception):
    """The bytes of a shard are not a sequence of records."""


def pack(records: Iterable[Framed], limit: int = SHARD_BYTES) -> list[bytes]:
    """Packs records into shards of at most `limit` bytes. A larger record gets a shard of its own."""
    shards: list[bytearray] = []
    heads = 0
    for record in records:
        frame, head = record.frame(), len(record.head) if isinstance(record, Sealed) else 0
        if not shards or (shards[-1] and (len(shards[-1]) + len(frame) + 4 > limit or heads + head > SHARD_HEADERS)):
            shards.append(bytearray())
            heads = 0
        heads += head
        shards[-1] += len(frame).to_bytes(4, "big") + frame
    return [bytes(shard) for shard in shards]


def unpack(shard: bytes, *, growing: bool = False) -> Iterator[Record]:
    """Yields the records of a shard in order. Raises CorruptShard at the first byte that cannot belong to a record.

    Args:
        growing: whether another process may still append to the shard. Then an incomplete last record is left out.
    """
    return _opened(shard, Record.from_frame, growing)


def headers(shard: bytes) -> Iterator[Sealed]:
    """Yields a shard's records without their bodies. Raises CorruptShard like `unpack`, and for too large headers."""
    bounds = Bounds(headers=2 * SHARD_HEADERS)
    return _opened(shard, lambda frame: Sealed.of_kept(frame, bounds))


def _opened(shard: bytes, opened: Callable[[bytes], OpenedT], growing: bool = False) -> Iterator[OpenedT]:
    position = 0
    while position < len(shard):
        size = int.from_bytes(shard[position : position + 4], "big")
        frame = shard[position + 4 : position + 4 + size]
        if len(frame) != size or position + 4 > len(shard):
            if growing:
                return
            raise CorruptShard(f"cut short at byte {position}")
        try:
            yield opened(frame)
        except ValueError as error:
            raise CorruptShard(f"at byte {position}: {error}") from None
        position += 4 + size


def read_folder(folder: Path, *, growing: bool = False) -> Iterator[Record]:
    """Yields the records of all shards in a folder and its subfolders, in the order of their paths; see `unpack`."""
    for path in sorted(files(folder)):
        if path.name.endswith(SHARD_SUFFIX):
            yield from unpack(path.read_bytes(), growing=growing)


def files(folder: Path) -> Iterator[Path]:
    """Yields the files in a folder and its subfolders. It yields nothing if the folder does not exist.

    A ConfigMap volume has each file in a hidden folder, and a link to this file (subfolders are links, too). This
    function yields only the links.
    """
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith("..")]
        yield from (Path(parent, name) for name in names if not name.startswith(".."))
