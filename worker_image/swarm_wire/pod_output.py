"""How a pod sends records: on its standard output, closed by a commit record.

A container's output is unreliable. User code prints between records. Lines may be cut, repeated, forged or lost when
the kubelet rotates the log. A line may also come from another attempt. So each line of a record has this form:

    swarm/1 NONCE SEQUENCE PART/PARTS LENGTH DIGEST PAYLOAD

NONCE is the word that this pod was given: 8 to 64 characters, no blanks. SEQUENCE counts the pod's records from 0.
LENGTH and DIGEST (32 hex digits of sha256) are those of the whole frame. PAYLOAD is one part of the frame's base64. All
parts have 12,000 characters, except that the last part may be shorter. A line is shorter than 16 KiB, since container
runtimes split longer lines.
"""

import base64
import binascii
import bisect
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from swarm_wire.messages import Commit
from swarm_wire.names import SCHEMA_VERSION
from swarm_wire.records import MAX_FRAME, Record, frame_digest
from swarm_wire.spending import Spending
from swarm_wire.words import printable

LINE_PAYLOAD = 12_000
"""Number of base64 characters in each line of a record. The last line may have fewer. So a line stays below 16 KiB."""
MOST_PENDING = 1000
"""Largest number of records that a reader keeps while some of their lines are missing.

A writer has only one such record at a time.
"""
COMMIT_BYTES = 4096
"""Largest size of a termination message in bytes. Kubernetes cuts longer messages."""
_NONCE = re.compile(r"[!-~]{8,64}")
_LINE = re.compile(
    r"swarm/\d+ [!-~]{8,64} (\d{1,9}) (\d{1,6})/(\d{1,6}) (\d{1,9}) ([0-9a-f]{32}) ([A-Za-z0-9+/=]*)", re.ASCII
)


class Writer:
    """Prints records. Several threads may share one writer.

    Args:
        write: writes one whole line of bytes, with its newline.
        nonce: the word that this pod was given: 8 to 64 characters of printable ASCII without blanks.
    """

    def __init__(self, write: Callable[[bytes], object], nonce: str) -> None:
        if not _NONCE.fullmatch(nonce):
            raise ValueError(f"the nonce {nonce!r} is not a word of 8 to 64 characters")
        self._write, self._nonce = write, nonce
        self._closed = False
        # The lock is reentrant because a signal handler may commit during a `put`. The record of that `put` does not
        # count.
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
        """Returns the number of records put so far."""
        return self._count

    def commit(
        self,
        exit_code: int,
        reason: str | None = None,
        message: str | None = None,
        spent: Spending | None = None,
    ) -> Commit:
        """Returns the commit record of all records put so far.

        It closes the output: a later `put` raises ValueError.
        """
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


def commit_text(commit: Commit) -> str:
    """Returns the termination message: at most COMMIT_BYTES of ASCII. Only the commit's `message` is ever cut."""
    text, message = _ascii(commit), commit.message or ""
    if len(text) <= COMMIT_BYTES:
        return text
    # An escaped character takes between 1 and 12 bytes, so a search finds the longest prefix that fits.
    fits = bisect.bisect_right(range(len(message)), COMMIT_BYTES, key=lambda kept: len(_shortened(commit, kept)))
    return _shortened(commit, max(0, fits - 1))


def _shortened(commit: Commit, kept: int) -> str:
    return _ascii(commit.model_copy(update={"message": (commit.message or "")[:kept] + " ..."}))


def _ascii(commit: Commit) -> str:
    return json.dumps(json.loads(commit.to_json()), separators=(",", ":"))


def parse_commit(text: str | None, nonce: str) -> Commit | None:
    """Returns the commit record with this nonce in a termination message, or None.

    A container runtime may put its own text before the commit record, so the last commit record counts.
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

    `records` has the valid records that the reader keeps, by their sequence number. `damaged` is the number of unusable
    records of which at least one whole line was read.
    """

    records: dict[int, Record] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    damaged: int = 0

    @property
    def has_gaps(self) -> bool:
        """Whether a record is missing although a later record was read."""
        return max(self.digests, default=-1) + 1 != len(self.digests)

    def complete(self, commit: Commit | None) -> bool:
        """Whether these are all records of the commit, unaltered."""
        if commit is None or len(self.digests) != commit.records or self.has_gaps:
            return False
        chain = hashlib.sha256()
        for number in range(commit.records):
            chain.update(bytes.fromhex(self.digests[number]))
        return chain.hexdigest() == commit.digest and sum(self.lengths.values()) == commit.bytes


class Reader:
    """Reads records from a pod's output, line by line.

    No output of a pod makes the reader raise an exception: it skips lines without a record. Lines may come twice, and
    in any order. A cut line may come before the whole line. The first valid record of a sequence number counts.

    Args:
        opened: makes from a sequence number and a frame the record to keep. If it returns None, the reader only notes
            that the record is there. It raises ValueError if the frame is invalid.
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
        """Reads a line. Returns the record that this line completes, if there is one."""
        # A record may begin inside a line. A runtime may split a long line of standard error, such as a progress bar.
        # Then it may put the next line of standard output right behind a piece of that line.
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
        """Returns all records read so far."""
        begun = {number for number, *_ in self._pending} - set(self._read.digests)
        return replace(self._read, damaged=self._read.damaged + len(begun))


def _part_length(part: int, parts: int, length: int) -> int | None:
    """Returns how many base64 characters a part of a frame must have, or None if there is no such part."""
    text = 4 * -(-length // 3)
    if not 0 < length <= MAX_FRAME or parts != -(-text // LINE_PAYLOAD) or not 1 <= part <= parts:
        return None
    return min(LINE_PAYLOAD, text - (part - 1) * LINE_PAYLOAD)


def read(lines: Iterable[str], nonce: str, *, schema_version: int = SCHEMA_VERSION) -> Transcript:
    """Reads the whole output of a pod with a Reader."""
    reader = Reader(nonce, schema_version=schema_version)
    for line in lines:
        reader.feed(line)
    return reader.transcript()
