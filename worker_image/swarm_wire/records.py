"""What pods say: records, and the frames that they travel and are kept in.

A record is a kind, a small JSON header and an opaque body. Its frame is `header length (4 bytes, big endian) + header +
body`, deflated.
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
"""Largest deflated frame, and largest inflated one: nothing larger is written, and a reader gives up on more."""
HEADER_BYTES = 256 * 1024
LONG_HEADER_BYTES = 8 * 1024 * 1024
"""Longest header that is read unseen, and longest at all: that of a task has 80 bytes for each of its cells."""
DENSEST = 40
"""A header that is longer than HEADER_BYTES has one object or list in so many bytes at most, as a task's has. Denser
ones take up to thirty times their length of memory."""


class RecordTooLarge(ValueError):
    """A record that no reader would take."""


class RecordKind(StrEnum):
    BLOB = "blob"
    """Body: bytes that tasks refer to by the key in the header {"key"}."""
    TASK = "task"
    """Header: messages.Task. No body."""
    RESULT = "result"
    """Header: messages.Result. Body: the pickled outcome, opaque to the operator."""
    CALL = "call"
    """Header: messages.CallMade. Body: the answer, as JSON, opaque to the operator."""
    BOUND = "bound"
    """Header: messages.Bound. No body. Of a plan, before its end says the same."""
    BOOKED = "booked"
    """Header: messages.Booked. No body."""
    PLAN = "plan"
    """Header: messages.PlanEnd. Body: the effect stream as JSON. The last record of a plan."""
    ARTIFACT = "artifact"
    """Header: messages.ArtifactHeader. Body: JSON with the texts of PROGRAM_FILE and REPORT_FILE."""


@dataclass(frozen=True)
class Record:
    """One thing said. `header` holds JSON values."""

    kind: RecordKind
    header: dict[str, Any]
    body: bytes = b""

    def frame(self) -> bytes:
        """Raises RecordTooLarge."""
        head = json.dumps({**self.header, "record": self.kind}, separators=(",", ":"), sort_keys=True).encode()
        if 4 + len(head) + len(self.body) > MAX_FRAME:
            raise RecordTooLarge(
                f"a {self.kind} record of {len(self.body):,} bytes is larger than the {MAX_FRAME:,} that can travel"
            )
        return zlib.compress(len(head).to_bytes(4, "big") + head + self.body, 6)

    @classmethod
    def from_frame(cls, frame: bytes, most: int | None = None) -> "Record":
        """Raises ValueError on anything that `frame` did not make, or that has more than so many bytes inflated."""
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
    """What reading may come to in all, in bytes: each record takes its share."""

    headers: int
    inflated: float = inf


@dataclass(frozen=True)
class Sealed:
    """A record as it travels. Its body is not looked into, and takes no more room than it does on its way.

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
        """Raises ValueError where `Record.frame` did not make the frame, to its last byte, or it passes the bounds."""
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
        """As `from_frame`, of a frame that was read to its end before: its body is not inflated. Raises ValueError."""
        head, _ = _head(frame, bounds)
        return cls(_parsed(head)[0], head, frame)

    def opened(self, most: int) -> Record:
        """With its body. Raises ValueError where the frame has more than so many bytes inflated."""
        return Record.from_frame(self.sealed, most)


Framed = Record | Sealed
"""What a shard can be made of."""
_PIECE = 64 * 1024


def _head(frame: bytes, bounds: Bounds) -> tuple[bytes, Iterator[bytes]]:
    """The header, and what else there is to inflate. Raises ValueError, as does the iterator."""
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
    """A frame's content in pieces. Raises ValueError, at the latest behind the last one."""
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
    """Kind and header. Raises ValueError."""
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
