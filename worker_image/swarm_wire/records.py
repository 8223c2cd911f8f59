"""How a pod says it: records on its standard output, closed by a commit record.

A record is a kind, a small JSON header and an opaque body. Its frame is built so that it survives what happens to a
container's output: user code prints in between, lines are cut, rotated away or repeated, and a line may come from
another attempt or from somebody who wants to be believed. Each line is

    swarm/1 NONCE SEQUENCE PART/PARTS LENGTH DIGEST PAYLOAD

NONCE is the word that this pod was given (8 to 64 characters, no blanks); SEQUENCE counts its records from 0; LENGTH
and DIGEST (32 hex digits of sha256) are those of the whole frame; PAYLOAD is the frame's base64, cut into PARTS of
12,000 characters, the last one shorter. Lines are shorter than the 16 KiB at which container runtimes split them. The
frame is `header length (4 bytes, big endian) + header + body`, deflated.
"""

import base64
import binascii
import bisect
import hashlib
import json
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import Any

from swarm_wire.messages import Commit, Spending
from swarm_wire.names import SCHEMA_VERSION

LINE_PAYLOAD = 12_000
"""Base64 characters of each line but a record's last; with its head a line stays below 16 KiB."""
MAX_FRAME = 64 * 1024 * 1024
"""Largest deflated frame, and largest inflated one: nothing larger is written, and a reader gives up on more."""
HEADER_BYTES = 256 * 1024
LONG_HEADER_BYTES = 8 * 1024 * 1024
"""Longest header that is read unseen, and longest at all: that of a task has 80 bytes for each of its cells."""
DENSEST = 40
"""A header that is longer than HEADER_BYTES has one object or list in so many bytes at most, as a task's has. Denser
ones take up to thirty times their length of memory."""
MOST_PENDING = 1000
"""Records that may be begun and not ended: a writer puts one after the other."""
COMMIT_BYTES = 4096
"""Kubernetes keeps so much of a termination message."""

_NONCE = re.compile(r"[!-~]{8,64}")
_LINE = re.compile(
    r"swarm/\d+ [!-~]{8,64} (\d{1,9}) (\d{1,6})/(\d{1,6}) (\d{1,9}) ([0-9a-f]{32}) ([A-Za-z0-9+/=]*)", re.ASCII
)


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
    """Header: messages.CallMade. Body: the pickled answer, opaque to the operator."""
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


class Writer:
    """Prints records. Threads may share one.

    Args:
        write: writes one whole line of bytes, newline included.
        nonce: the word this pod was given: 8 to 64 characters of printable ASCII without blanks.
    """

    def __init__(self, write: Callable[[bytes], object], nonce: str) -> None:
        if not _NONCE.fullmatch(nonce):
            raise ValueError(f"the nonce {nonce!r} is not a word of 8 to 64 characters")
        self._write, self._nonce = write, nonce
        self._closed = False
        # Reentrant: a signal handler may commit in the middle of a put, whose record then is not counted.
        self._lock = threading.RLock()
        self._count, self._bytes, self._chain = 0, 0, hashlib.sha256()

    def put(self, record: Record) -> None:
        frame = record.frame()
        digest = frame_digest(frame)
        text = base64.b64encode(frame).decode()
        parts = [text[i : i + LINE_PAYLOAD] for i in range(0, len(text), LINE_PAYLOAD)]
        with self._lock:
            if self._closed:
                raise ValueError("the output is closed by its commit record")
            for number, part in enumerate(parts, 1):
                head = f"swarm/1 {self._nonce} {self._count} {number}/{len(parts)} {len(frame)} {digest}"
                self._write(f"{head} {part}\n".encode())
            self._count += 1
            self._bytes += len(frame)
            self._chain.update(bytes.fromhex(digest))

    @property
    def count(self) -> int:
        """Records put so far."""
        return self._count

    def commit(
        self,
        exit_code: int,
        reason: str | None = None,
        message: str | None = None,
        spent: Spending | None = None,
    ) -> Commit:
        """What was put so far, as the commit record. Nothing can be put after it."""
        with self._lock:
            self._closed = True
            return Commit(
                nonce=self._nonce,
                exit_code=exit_code,
                records=self._count,
                bytes=self._bytes,
                digest=self._chain.hexdigest(),
                reason=reason,
                message=printable(message)[:2000] if message else None,
                spent=spent,
            )


def printable(text: str) -> str:
    """The text without what no UTF-8 can say: halves of surrogate pairs, as in names of files and answers of models."""
    return text.encode("utf-8", "replace").decode()


def commit_text(commit: Commit) -> str:
    """The termination message: at most COMMIT_BYTES of ASCII; a long message is cut, never the rest."""
    text, message = _ascii(commit), commit.message or ""
    if len(text) <= COMMIT_BYTES:
        return text
    # The longest beginning that fits: escaped, a character has between 1 and 12 bytes.
    fits = bisect.bisect_right(range(len(message)), COMMIT_BYTES, key=lambda kept: len(_shortened(commit, kept)))
    return _shortened(commit, max(0, fits - 1))


def _shortened(commit: Commit, kept: int) -> str:
    return _ascii(commit.model_copy(update={"message": (commit.message or "")[:kept] + " ..."}))


def _ascii(commit: Commit) -> str:
    return json.dumps(json.loads(commit.to_json()), separators=(",", ":"))


def parse_commit(text: str | None, nonce: str) -> Commit | None:
    """The commit record in a termination message, or None where there is none with this nonce.

    A runtime may put text of its own before it, so the last line that is one counts.
    """
    for line in reversed((text or "").splitlines()):
        try:
            commit = Commit.model_validate_json(line)
        except ValueError:
            continue
        if commit.nonce == nonce:
            return commit
    return None


@dataclass
class Transcript:
    """What could be read of one pod's output.

    `records` holds the valid ones by sequence number, as far as the reader keeps them; `damaged` counts those of which
    whole lines were read, and which cannot be used.
    """

    records: dict[int, Record] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    damaged: int = 0

    @property
    def has_gaps(self) -> bool:
        """Whether some that were printed before others are missing."""
        return max(self.digests, default=-1) + 1 != len(self.digests)

    def complete(self, commit: Commit | None) -> bool:
        """Whether these are all records that the commit speaks of, unaltered."""
        if commit is None or len(self.digests) != commit.records or self.has_gaps:
            return False
        chain = hashlib.sha256()
        for number in range(commit.records):
            chain.update(bytes.fromhex(self.digests[number]))
        return chain.hexdigest() == commit.digest and sum(self.lengths.values()) == commit.bytes


class Reader:
    """Reads records from a pod's output, line by line.

    Never raises on what a pod printed: what is not a record is skipped. Lines may come twice and in any order, cut
    lines before whole ones. The first valid record of a sequence number counts.

    Args:
        opened: what is kept of the record with this number and frame. None: nothing but that it was there. Raises
            ValueError where the frame is none.
    """

    def __init__(
        self,
        nonce: str,
        *,
        schema_version: int = SCHEMA_VERSION,
        opened: Callable[[int, bytes], Record | None] = lambda _, frame: Record.from_frame(frame),
    ) -> None:
        self._prefix = f"swarm/{schema_version} {nonce} "
        self._opened = opened
        self._pending: dict[tuple[int, str, int], dict[int, str]] = {}
        self._read = Transcript()

    def feed(self, line: str) -> Record | None:
        """The record that this line completes, if it does."""
        # Not only at the line's beginning: a runtime that splits a long line of standard error (a progress bar) sets
        # the next line of standard output right behind it.
        start = line.rfind(self._prefix)
        if start < 0 or (match := _LINE.fullmatch(line.rstrip("\r\n"), start)) is None:
            return None
        sequence, part, total, length, digest, payload = match.groups()
        number, parts = int(sequence), int(total)
        if number in self._read.digests or len(payload) != _part_length(int(part), parts, int(length)):
            return None
        key = number, digest, int(length)
        if key not in self._pending and len(self._pending) >= MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        pieces = self._pending.setdefault(key, {})
        pieces.setdefault(int(part), payload)
        if len(pieces) < parts:
            return None
        del self._pending[key]
        try:
            frame = base64.b64decode("".join(pieces[n] for n in range(1, parts + 1)), validate=True)
            if len(frame) != int(length) or frame_digest(frame) != digest:
                raise ValueError("not what its digest says")
            record = self._opened(number, frame)
        except (ValueError, binascii.Error):
            self._read.damaged += 1
            return None
        if record is not None:
            self._read.records[number] = record
        self._read.digests[number], self._read.lengths[number] = digest, len(frame)
        return record

    def transcript(self) -> Transcript:
        """All that was read so far."""
        begun = {number for number, *_ in self._pending} - set(self._read.digests)
        return replace(self._read, damaged=self._read.damaged + len(begun))


def _part_length(part: int, parts: int, length: int) -> int | None:
    """How much base64 a part of a frame must have, or None where there is no such part."""
    text = 4 * -(-length // 3)
    if not 0 < length <= MAX_FRAME or parts != -(-text // LINE_PAYLOAD) or not 1 <= part <= parts:
        return None
    return min(LINE_PAYLOAD, text - (part - 1) * LINE_PAYLOAD)


def read(lines: Iterable[str], nonce: str, *, schema_version: int = SCHEMA_VERSION) -> Transcript:
    """What can be read of a pod's whole output; see Reader."""
    reader = Reader(nonce, schema_version=schema_version)
    for line in lines:
        reader.feed(line)
    return reader.transcript()
