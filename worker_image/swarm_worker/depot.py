"""Where the bodies of a journal are kept, if not in the cluster's etcd: on a volume, or wherever fsspec reaches.

Headers go the usual way, through the output of pods into ConfigMaps, and say what is finished. A body goes to the depot
first, together with others, and its record is printed when it is safe there. The record's header then says where it is.
"""

import contextlib
import functools
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TypeVar

from swarm_wire import names
from swarm_wire.messages import STORED, Stored
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind, frame_digest
from swarm_worker import masking
from swarm_worker.errors import BadInput, Drift, StorageFailed, SwarmError

T = TypeVar("T")

KEPT: Final = frozenset({RecordKind.RESULT, RecordKind.CALL, RecordKind.BLOB})
"""Kinds of records whose bodies only pods read, and which there are many of."""
PAUSE_SECONDS: Final = 1.0
"""How long bodies are collected for one object: the most that is lost more than without a depot."""
OBJECT_BYTES: Final = 4 * 1024 * 1024
"""So much at a time, or one body that is larger."""
PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds before another try: what a volume or a bucket fails at for a moment ends no pod."""
CACHED: Final = 32
"""Objects held in memory, because neighbours in a journal are neighbours there."""


class Bodies(Protocol):
    """Reads bodies that are kept somewhere else."""

    def read(self, stored: Stored) -> bytes: ...

    def give_up(self, error: SwarmError) -> NoReturn:
        """Without a body there is no going on, and neither a program nor an optimizer may catch that."""


class Depot:
    """
    Args:
        url: a folder, as fsspec writes it.
        options: of its file system: credentials, endpoints.

    Attributes:
        end: ends the process.
    """

    end: Callable[[SwarmError], NoReturn] | None = None

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        # Most pods have no depot, and need not wait for it.
        from fsspec.core import url_to_fs

        self._url, self._options = url, dict(options or {})
        self._secrets = tuple(("journal.options", text) for text in _texts(self._options))
        with self._explained("opened"):
            self._opened, self._root = url_to_fs(url, **self._options)
        self._process = os.getpid()
        self._is_local = "file" in self._opened.protocol
        self._cached = functools.lru_cache(CACHED)(self._read)

    @property
    def _files(self) -> Any:
        """The file system. A scout is a fork, and connections do not survive one."""
        if os.getpid() != self._process:
            from fsspec.core import url_to_fs

            self._opened, _ = url_to_fs(self._url, skip_instance_cache=True, **self._options)
            self._process = os.getpid()
        return self._opened

    def write(self, name: str, data: bytes) -> None:
        """An object that is whole, or not there. Raises StorageFailed."""
        path = f"{self._root}/{name}"
        if self._is_local:
            self._tried("written", lambda: _write_file(Path(path), data))
        else:
            self._tried("written", lambda: self._files.pipe_file(path, data))

    def read(self, stored: Stored) -> bytes:
        """A body. Raises Drift where it is not what was put there."""
        try:
            body = self._cached(stored.name)[stored.offset : stored.offset + stored.length]
        except StorageFailed as error:
            self.give_up(error)
        if len(body) != stored.length or frame_digest(body) != stored.digest:
            raise self._damaged(stored.name)
        return body

    def give_up(self, error: SwarmError) -> NoReturn:
        if self.end is not None:
            self.end(error)
        raise error

    def keep_only(self, runs: Sequence[str]) -> None:
        """Makes the folder, and deletes what other runs left there, as far as that is allowed."""
        with contextlib.suppress(StorageFailed), self._explained("tidied up"):
            if self._is_local:
                Path(self._root).mkdir(parents=True, exist_ok=True)
            for path in self._files.ls(self._root, detail=False) if self._files.isdir(self._root) else ():
                if path.rstrip("/").rpartition("/")[2] not in runs:
                    self._files.rm(path, recursive=True)

    def redact(self, text: str) -> str:
        """Without what the options hold."""
        return masking.redact(text, self._secrets)

    def _read(self, name: str) -> bytes:
        """A whole object. Raises Drift where it is not there."""

        def read() -> bytes:
            try:
                data: bytes = self._files.cat_file(f"{self._root}/{name}")
            except FileNotFoundError:
                if self._is_local:
                    Path(self._root).stat()  # raises where not even that is there: nothing may be mounted
                raise self._damaged(name) from None
            return data

        return self._tried("read", read)

    def _damaged(self, name: str) -> Drift:
        return Drift(
            WorkerReason.STORAGE_DAMAGED,
            f"{name} in {self._url} was deleted or altered, and the journal says that results are there. Find out who "
            "changes it.",
        )

    def _tried(self, what: str, act: Callable[[], T]) -> T:
        """What it returns, once it does. Raises Drift at once, and StorageFailed after some tries."""
        for pause in PAUSES:
            try:
                return act()
            except Drift:
                raise
            except Exception:
                time.sleep(pause)
        with self._explained(what):
            return act()

    @contextlib.contextmanager
    def _explained(self, what: str) -> Any:
        try:
            yield
        except Drift:
            raise
        except Exception as error:
            told = self.redact(f"{type(error).__name__}: {error}")
            raise StorageFailed(f"{self._url} cannot be {what}: {told}") from error


def _write_file(path: Path, data: bytes) -> None:
    """Whole or not at all, and to stay."""
    scratch = Path(f"{path}.new")
    scratch.parent.mkdir(parents=True, exist_ok=True)
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems know no such thing
            os.fsync(folder)
    finally:
        os.close(folder)


def _texts(value: object) -> Iterator[str]:
    """All texts in options."""
    match value:
        case str():
            yield value
        case dict():
            yield from (text for each in value.values() for text in _texts(each))
        case list():
            yield from (text for each in value for text in _texts(each))


class Sender:
    """Prints records in their order, each when its body is in the depot.

    Args:
        prefix: of the names of its objects.
        put: prints a record.
    """

    def __init__(self, depot: Depot, prefix: str, put: Callable[[Record], None]) -> None:
        self._depot, self._put = depot, put
        self._prefix, self._count = f"{prefix}-{secrets.token_hex(4)}", 0
        # Reentrant: a signal handler may send what is left in the middle of anything.
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._waiting: list[Record] = []
        self._error: StorageFailed | None = None
        self._timer: threading.Timer | None = None

    def put(self, record: Record) -> None:
        """Raises StorageFailed, also for a record before this one."""
        if self._error is not None:
            raise self._error
        if record.kind is RecordKind.BOOKED:  # is told before it is spent, and waits for nothing
            return self._put(record)
        with self._lock:
            self._waiting.append(record)
            is_much = sum(len(waiting.body) for waiting in self._waiting) >= OBJECT_BYTES
            if not is_much and self._timer is None:
                self._timer = threading.Timer(PAUSE_SECONDS, self._flush_later)
                self._timer.daemon = True
                self._timer.start()
        if is_much:
            self.flush()

    def flush(self) -> None:
        """All that was put is printed; also what could not be written before. Raises StorageFailed."""
        with self._writing:
            with self._lock:
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                records = [*self._waiting]
            if not records:
                return
            self._count += 1
            name = f"{self._prefix}-{self._count:06d}"
            data = b"".join(record.body for record in records if record.kind in KEPT)
            try:
                if data:
                    self._depot.write(name, data)
            except StorageFailed as error:
                self._error = error
                raise
            offset = 0
            for record in records:
                if record.kind in KEPT and record.body:
                    stored = Stored(name=name, offset=offset, length=len(record.body), digest=frame_digest(record.body))
                    offset += len(record.body)
                    record = Record(record.kind, {**record.header, STORED: stored.to_header()})
                self._put(record)
            # Not before: whoever interrupts this sends them again, and of equal records the first counts.
            with self._lock:
                del self._waiting[: len(records)]

    def _flush_later(self) -> None:
        with contextlib.suppress(StorageFailed):
            self.flush()


def take(environment: MutableMapping[str, str]) -> Depot | None:
    """The depot in the environment, if there is one; taken out of it, so that user code does not inherit secrets.

    Raises BadInput where its options are no JSON object.
    """
    url, text = environment.pop(names.ENV_DEPOT, ""), environment.pop(names.ENV_DEPOT_OPTIONS, "")
    if not url:
        return None
    try:
        options = json.loads(text) if text else {}
        if not isinstance(options, dict):
            raise ValueError("not an object")
    except ValueError:
        raise BadInput(
            WorkerReason.INVALID_SPEC,
            "the Secret that journal.options names holds no JSON object. Write the options of the fsspec file system "
            'there, for example {"key": "...", "secret": "..."}.',
        ) from None
    return Depot(url, options)
