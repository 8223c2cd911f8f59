"""Stores the bodies of records in a depot outside of the cluster's etcd: on a volume, or at a URL that fsspec knows.

The headers still go into ConfigMaps. A pod first writes several bodies to the depot, as one object. Then it prints the
records, without the bodies. Their headers say where in the depot the bodies are.
"""

import contextlib
import functools
import os
import secrets
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TypeVar

from swarm_wire import names
from swarm_wire.messages import STORED, Stored
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind, frame_digest
from swarm_worker.content import masking
from swarm_worker.content.retries import tried
from swarm_worker.content.storage_options import parsed_options, secrets_in
from swarm_worker.errors import Drift, StorageFailed, SwarmError

T = TypeVar("T")

KEPT: Final = frozenset({RecordKind.RESULT, RecordKind.CALL, RecordKind.BLOB, RecordKind.SNAPSHOT})
"""Kinds of records whose bodies go into a depot. Only pods read these bodies, and together they may be large."""
AT_ONCE: Final = frozenset({RecordKind.BOOKED, RecordKind.PENDING})
"""Kinds of records that must be printed before money is spent, or before something is created."""
PAUSE_SECONDS: Final = 1.0
"""How long bodies are collected for one object. A killed pod loses at most the records of this time."""
OBJECT_BYTES: Final = 4 * 1024 * 1024
"""When the collected bodies have this size, they are written at once."""
PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds before each retry, so that a brief failure of a volume or bucket ends no pod."""
CACHED: Final = 32
"""How many objects are held in memory. Bodies that are close in a journal are often in one object."""


class Bodies(Protocol):
    """Reads bodies that are stored in a depot."""

    def read(self, stored: Stored, *, once: bool = False) -> bytes: ...

    def give_up(self, error: SwarmError) -> NoReturn:
        """Ends the process because a body is missing. No program or optimizer can catch this end."""


class Depot:
    """Reads and writes bodies of records in a folder of the depot.

    Args:
        url: an fsspec URL of a folder.
        options: options of the file system: credentials, endpoints.

    Attributes:
        end: ends the process with an error. None: the error is raised.
    """

    end: Callable[[SwarmError], NoReturn] | None = None

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        # Imported only here, because most pods have no depot.
        from fsspec.core import url_to_fs

        self._url, self._options = url, dict(options or {})
        self._secrets = secrets_in(self._options, "journal.options")
        with self._explained("opened"):
            self._opened, self._root = url_to_fs(url, **self._options)
        self._process = os.getpid()
        self._is_local = "file" in self._opened.protocol
        self._cached = functools.lru_cache(CACHED)(self._read)

    @property
    def _files(self) -> Any:
        """Returns the file system. A fork opens it again, because it cannot use its parent's connections."""
        if os.getpid() != self._process:
            from fsspec.core import url_to_fs

            self._opened, _ = url_to_fs(self._url, skip_instance_cache=True, **self._options)
            self._process = os.getpid()
        return self._opened

    def write(self, name: str, data: bytes) -> None:
        """Writes an object, completely or not at all. Raises StorageFailed."""
        path = f"{self._root}/{name}"
        if self._is_local:
            self._tried("written", lambda: _write_file(Path(path), data))
        else:
            self._tried("written", lambda: self._files.pipe_file(path, data))

    def read(self, stored: Stored, *, once: bool = False) -> bytes:
        """Returns a stored body. Raises Drift if the body is missing or was altered.

        Args:
            once: whether nobody reads from the same object again, so that it need not stay in memory.
        """
        try:
            body = (self._read if once else self._cached)(stored.name)[stored.offset : stored.offset + stored.length]
        except StorageFailed as error:
            self.give_up(error)
        if len(body) != stored.length or frame_digest(body) != stored.digest:
            raise self._damaged(stored.name)
        return body

    def give_up(self, error: SwarmError) -> NoReturn:
        if self.end is not None:
            self.end(error)
        raise error

    def keep_only(self, folders: Sequence[str]) -> None:
        """Makes the depot's folder, and deletes all its folders but these, if the file system allows it."""
        with contextlib.suppress(StorageFailed), self._explained("tidied up"):
            if self._is_local:
                Path(self._root).mkdir(parents=True, exist_ok=True)
            for path in self._files.ls(self._root, detail=False) if self._files.isdir(self._root) else ():
                if path.rstrip("/").rpartition("/")[2] not in folders:
                    self._files.rm(path, recursive=True)

    def redact(self, text: str) -> str:
        """Masks the values of the options in a text, because they may be secrets."""
        return masking.redact(text, self._secrets)

    def _read(self, name: str) -> bytes:
        """Returns a whole object. Raises Drift if it is missing."""

        def read() -> bytes:
            try:
                data: bytes = self._files.cat_file(f"{self._root}/{name}")
            except FileNotFoundError:
                if self._is_local:
                    Path(self._root).stat()  # this raises if the whole folder is missing: the volume may not be mounted
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
        """Calls the function and returns its result. Raises Drift at once, and StorageFailed after some retries."""
        with self._explained(what):
            return tried(act, PAUSES)

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
    """Writes a file completely or not at all, and syncs it to disk."""
    scratch = Path(f"{path}.new")
    scratch.parent.mkdir(parents=True, exist_ok=True)
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(folder)
    finally:
        os.close(folder)


def files_folder(run_id: str) -> str:
    """Returns the depot's folder with the files that a run has fetched. The next run deletes it."""
    return f"{run_id}-files"


class Sender:
    """Prints records in order, each after its body has been written to the depot.

    Args:
        prefix: first part of the objects' names.
        put: prints a record.
    """

    def __init__(self, depot: Depot, prefix: str, put: Callable[[Record], None]) -> None:
        self._depot, self._put = depot, put
        self._prefix, self._count = f"{prefix}-{secrets.token_hex(4)}", 0
        # Both locks are reentrant, because a signal handler may flush while its thread holds one.
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._waiting: list[Record] = []
        self._error: StorageFailed | None = None
        self._timer: threading.Timer | None = None

    def put(self, record: Record) -> None:
        """Queues a record. Raises StorageFailed if this record or an earlier one cannot be written."""
        if self._error is not None:
            raise self._error
        if record.kind in AT_ONCE:
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
        """Prints all queued records, also those that could not be written before. Raises StorageFailed."""
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
            # A signal handler that interrupts this prints the records again, and the first of equal records counts. So
            # the records are removed last.
            with self._lock:
                del self._waiting[: len(records)]

    def _flush_later(self) -> None:
        with contextlib.suppress(StorageFailed):
            self.flush()


def take(environment: MutableMapping[str, str]) -> Depot | None:
    """Returns the depot that the environment names; None if it names none.

    Removes the depot's variables, so that user code sees no secrets. Raises BadInput if the options are not a JSON
    object.
    """
    url, text = environment.pop(names.ENV_DEPOT, ""), environment.pop(names.ENV_DEPOT_OPTIONS, "")
    return Depot(url, parsed_options(text, "journal.options")) if url else None
