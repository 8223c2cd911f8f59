"""The journal's folder.

request.json              the run's request
sources/NAME/KEY          ConfigMaps
journal/*.shard           results and plan ends, appended as they come
earlier/*                 links to the journals of other states of the same compile: what they paid for is used
rounds/N/*.shard          tasks of round N
rounds/N/A/               assignment of attempt A
logs/                     what processes wrote to standard error
artifact/                 program and report
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_wire import names, shards
from swarm_wire.messages import Assignment, RunRequest
from swarm_wire.records import Record
from swarm_wire.variables import bound, placed
from swarm_worker.errors import BadInput
from swarm_worker.local.manifests import Manifest
from swarm_worker.local.reasons import LocalReason


def fingerprint(manifest: Manifest) -> str:
    """12 hex digits that change with every file that the spec mounts, with the environment variables that it names (not
    with a secret's value), and with all of it but what begins no new run in a cluster either: a run that a limit has
    ended goes on with a higher one.
    """
    spec = manifest.spec.as_written()
    for name in ("limits", "suspend", "ttlSecondsAfterFinished"):
        spec.pop(name, None)
    for model in spec["models"].values():
        model.pop("limits", None)
    hasher = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    for name, content in sorted(manifest.config_maps.items()):
        for key, data in sorted(content.items()):
            hasher.update(f"{name}/{key}/{len(data)}/".encode() + data)
    for variable in bound(placed(manifest.spec.env, manifest.spec.env_from, manifest.variables)):
        hasher.update(f"variable/{len(variable)}/{variable}".encode())
    return hasher.hexdigest()[:12]


class JournalFolder:
    """Reads and writes the layout above."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources, self.journal, self.logs = root / "sources", root / "journal", root / "logs"
        self.earlier, self.artifact = root / "earlier", root / "artifact"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One driver at a time."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(LocalReason.JOURNAL_IN_USE, f"another run uses the journal {self.root}") from None
            yield

    def open(self, request: RunRequest, manifest: Manifest) -> None:
        """Lays out the run, or checks that this journal is of the same run."""
        path = self.root / names.REQUEST_FILE
        if path.exists():
            before = RunRequest.model_validate_json(path.read_text(encoding="utf-8"))
            if before.run_id != request.run_id:
                raise BadInput(
                    LocalReason.JOURNAL_OF_ANOTHER_RUN,
                    f"the journal {self.root} was made with another spec, program or data. Give another --journal, "
                    "or none: then there is one for each state.",
                )
        for folder in (self.journal, self.logs, self.artifact):
            folder.mkdir(parents=True, exist_ok=True)
        for name, content in manifest.config_maps.items():
            (self.sources / name).mkdir(parents=True, exist_ok=True)
            for key, data in content.items():
                (self.sources / name / key).write_bytes(data)
        for shard in self.journal.glob(f"*{names.SHARD_SUFFIX}"):
            _repair(shard)
        _write(path, request.to_json())

    def link(self, others: Iterable["JournalFolder"]) -> None:
        """What was paid for there need not be paid for here."""
        shutil.rmtree(self.earlier, ignore_errors=True)
        self.earlier.mkdir()
        for other in others:
            if other.root != self.root and other.journal.is_dir():
                age = other.journal.stat().st_mtime_ns
                (self.earlier / f"{age:020d}-{other.root.name}").symlink_to(other.journal.resolve())

    def records(self) -> Iterator[Record]:
        return shards.read_folder(self.journal)

    def append(self, record: Record) -> None:
        """Durable against the death of this process when it returns."""
        with (self.journal / f"{os.getpid():010d}{names.SHARD_SUFFIX}").open("ab") as shard:
            shard.write(b"".join(shards.pack([record])))

    def tasks_folder(self, round_: int) -> Path:
        return self.root / "rounds" / f"{round_:04d}"

    def put_tasks(self, round_: int, records: Iterable[Record]) -> None:
        folder = self.tasks_folder(round_)
        shutil.rmtree(folder, ignore_errors=True)  # of a driver that was killed, perhaps while it wrote
        folder.mkdir(parents=True)
        for number, shard in enumerate(shards.pack(records)):
            (folder / f"{number:04d}{names.SHARD_SUFFIX}").write_bytes(shard)

    def put_assignment(self, assignment: Assignment) -> Path:
        """The folder that it is in."""
        folder = self.tasks_folder(assignment.round) / str(assignment.attempt)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / names.ASSIGNMENT_FILE, assignment.to_json())
        return folder


def _write(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def _repair(shard: Path) -> None:
    """Cuts off what a driver that was killed had written only in part."""
    data, good = shard.read_bytes(), 0
    while good < len(data):
        end = good + 4 + int.from_bytes(data[good : good + 4], "big")
        try:
            if end > len(data):
                break
            list(shards.unpack(data[good:end]))
        except shards.CorruptShard:
            break
        good = end
    if good < len(data):
        with shard.open("r+b") as file:
            file.truncate(good)
