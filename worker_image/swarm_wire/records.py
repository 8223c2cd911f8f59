"""Records, which pods print, and the frames in which records are sent and stored.

A record has a kind, a small JSON header and an opaque body. A frame is the deflated form of one record: the length of
the header (4 bytes, big endian), the header and the body.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any

MAX_FRAME = 64 * 1024 * 1024
"""Largest size of a frame in bytes, deflated or inflated. Writers write no larger frames, and readers reject them."""
HEADER_BYTES = 256 * 1024
LONG_HEADER_BYTES = 8 * 1024 * 1024
"""Largest length of a header in bytes. A header of more than HEADER_BYTES is checked by DENSEST, too.

A task's header has 80 bytes per cell.
"""
DENSEST = 40
"""A header longer than HEADER_BYTES must have at least this many bytes for each object or list in it.

A reader needs up to thirty times the header's length of memory to parse a denser header. No task's header is so dense.
"""


class RecordTooLarge(ValueError):
    """A record is so large that every reader would reject it."""


class RecordKind(StrEnum):
    BLOB = "blob"
    """The header is {"key"}, by which tasks refer to the record.

    The body is pickled data that one or more tasks need.
    """
    TASK = "task"
    """The header is a messages.Task. The record has no body."""
    RESULT = "result"
    """The header is a messages.Result. The body is the pickled outcome, which the operator never decodes."""
    PENDING = "pending"
    """The header is a messages.Pending. The record has no body."""
    CALL = "call"
    """The header is a messages.CallMade. The body is the answer as JSON, which the operator never decodes."""
    SNAPSHOT = "snapshot"
    """The header is a messages.Snapshot. The body is a part of the fetched files."""
    PUSHED = "pushed"
    """The header is a messages.Pushed. There is no body."""
    BOUND = "bound"
    """The header is a messages.Bound. There is no body.

    A plan prints this record early, and its PLAN record repeats the header.
    """
    BOOKED = "booked"
    """The header is a spending.Booked. The record has no body."""
    PLAN = "plan"
    """The last record of a plan. The header is a messages.PlanEnd.

    The body is the list of the plan's effects as JSON.
    """
    ARTIFACT = "artifact"
    """The header is a messages.ArtifactHeader. The body is JSON: the texts of three files, by name."""


@dataclass(frozen=True)
class Record:
    """A kind, a header of JSON values, and a body."""

    kind: RecordKind
    header: dict[str, Any]
    body: bytes = b""

    def frame(self) -> bytes:
        """Returns the record as a frame. Raises RecordTooLarge."""
        head = json.dumps({**self.header, "record": self.kind}, separators=(",", ":"), sort_keys=True).encode()
        if 4 + len(head) + len(self.body) > MAX_FRAME:
            raise RecordTooLarge(
                f"a {self.kind} record of {len(self.body):,} bytes is larger than the {MAX_FRAME:,} that can travel"
            )
        return zlib.compress(len(head).to_bytes(4, "big") + head + self.body, 6)

    @classmethod
    def from_frame(cls, frame: bytes, most: int | None = None) -> "Record":
        """Opens a frame of at most `most` inflated bytes. Raises ValueError if `frame` cannot have made these bytes."""
        if len(frame) > MAX_FRAME:
            raise ValueError("frame too large")
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(frame, most or MAX_FRAME)
        except zlib.error as error:
            raise ValueError(f"frame cannot be inflated: {error}") from None
        if not inflater.eof or inflater.unused_data:
            raise ValueError("frame too large, cut short, or followed by something")
        size = int.from_bytes(data[:4], "big")
        if len(data) < 4 + size:
            raise ValueError("frame shorter than its header")
        kind, header = _parsed(data[4 : 4 + size])
        return cls(kind, header, data[4 + size :])


@dataclass
class Bounds:
    """How many more bytes may be read. Each record that is read reduces these numbers."""

    headers: int
    inflated: float = inf


@dataclass(frozen=True)
class Sealed:
    """A record that stays in its frame. Its body is neither read nor kept in memory inflated.

    Attributes:
        head: the header as JSON, with the kind.
        sealed: the frame.
    """

    kind: RecordKind
    head: bytes
    sealed: bytes

    @property
    def header(self) -> dict[str, Any]:
        return _parsed(self.head)[1]

    def frame(self) -> bytes:
        return self.sealed

    @classmethod
    def from_frame(cls, frame: bytes, bounds: Bounds) -> "Sealed":
        """Checks a frame to its last byte. Raises ValueError if it is invalid or exceeds the bounds."""
        head, pieces = _head(frame, bounds)
        size = 0
        for piece in pieces:
            size += len(piece)
            bounds.inflated -= len(piece)
            if size > MAX_FRAME or bounds.inflated < 0:
                raise ValueError("frame too large")
        return cls(_parsed(head)[0], head, frame)

    @classmethod
    def of_kept(cls, frame: bytes, bounds: Bounds) -> "Sealed":
        """Reads a frame that was checked before, without its body. Raises ValueError if the frame is invalid."""
        head, _ = _head(frame, bounds)
        return cls(_parsed(head)[0], head, frame)

    def opened(self, most: int) -> Record:
        """Returns the record with its body. Raises ValueError if the inflated frame has more than `most` bytes."""
        return Record.from_frame(self.sealed, most)


Framed = Record | Sealed
"""The records from which a shard can be made."""
_PIECE = 64 * 1024


def _head(frame: bytes, bounds: Bounds) -> tuple[bytes, Iterator[bytes]]:
    """Returns the header, and an iterator that inflates the rest of the frame. Both raise ValueError."""
    pieces = _inflated(frame)
    found, size = bytearray(), 4
    for piece in pieces:
        found += piece
        bounds.inflated -= len(piece)
        size = 4 + int.from_bytes(found[:4], "big")
        if size > 4 + LONG_HEADER_BYTES or bounds.inflated < 0:
            raise ValueError("header too large")
        if 4 <= size <= len(found):
            break
    if not 4 <= size <= len(found):
        raise ValueError("frame shorter than its header")
    bounds.headers -= size
    if bounds.headers < 0:
        raise ValueError("too many headers")
    return bytes(found[4:size]), pieces


def _inflated(frame: bytes) -> Iterator[bytes]:
    """Yields a frame's content in pieces. Raises ValueError after the last piece at the latest."""
    inflater = zlib.decompressobj()
    try:
        for start in range(0, len(frame), _PIECE):
            if inflater.eof:
                raise ValueError("frame followed by something")
            deflated, piece = frame[start : start + _PIECE], b" " * _PIECE
            while len(piece) == _PIECE:
                piece = inflater.decompress(deflated, _PIECE)
                deflated = inflater.unconsumed_tail
                yield piece
    except zlib.error as error:
        raise ValueError(f"frame cannot be inflated: {error}") from None
    if not inflater.eof or inflater.unused_data:
        raise ValueError("frame cut short, or followed by something")


def _parsed(head: bytes) -> tuple[RecordKind, dict[str, Any]]:
    """Returns the kind and the header of a record. Raises ValueError if they are invalid."""
    if len(head) > HEADER_BYTES and (head.count(b"{") + head.count(b"[")) * DENSEST > len(head):
        raise ValueError("header too dense")
    try:
        header = json.loads(head.decode())
        if not isinstance(header, dict):
            raise ValueError("not an object")
        return RecordKind(header.pop("record")), header
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"frame without a valid header: {error}") from None


def frame_digest(frame: bytes) -> str:
    return hashlib.sha256(frame).hexdigest()[:32]
