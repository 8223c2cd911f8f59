"""The journal's folder: the run of today's state, and what is left of the runs before it.

lock                      held by the driver; every journal has it
request.json              the run's request
sources/NAME/KEY          ConfigMaps
unpacked/                 the program's files, where they are not imported from there
journal/*.shard           results and plan ends, appended as they come
rounds/N/*.shard          tasks of round N
rounds/N/A/               assignment of attempt A
logs/                     what processes wrote to standard error
artifact/                 program and report
earlier/                  runs before this one, see `swarm_worker.local.earlier`: what they paid for is used
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from swarm_engine.identity import is_same_run
from swarm_wire import names, shards
from swarm_wire.messages import Assignment, RunRequest
from swarm_wire.records import Record
from swarm_wire.spec.variables import bound, placed
from swarm_worker.errors import BadInput
from swarm_worker.local.documents import Manifest
from swarm_worker.local.earlier import EarlierRuns
from swarm_worker.local.reasons import LocalReason


def fingerprint(manifest: Manifest) -> str:
    """12 hex digits that change with every file that the spec mounts and with the environment variables that it names,
    not with a secret's value.
    """
    hasher = hashlib.sha256()
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
        self.earlier, self.artifact = EarlierRuns(root / "earlier"), root / "artifact"
        self.unpacked = root / "unpacked"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One driver at a time. Raises BadInput where there is another, and where the folder holds anything else."""
        path = self.root / "lock"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not path.exists() and any(self.root.iterdir()):
                raise _not_a_journal(f"{self.root} holds files that are no journal's, and a journal would replace them")
            file = path.open("w")
        except OSError as error:
            raise _not_a_journal(f"{self.root} cannot hold a journal: {error.strerror}") from None
        with file as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(
                    LocalReason.JOURNAL_IN_USE,
                    f"another run uses the journal {self.root}. Wait for its end, or give another one: --journal DIR.",
                ) from None
            yield

    def open(self, manifest: Manifest) -> RunRequest:
        """Lays out the run of this state, or goes on with it. A run of another state is put aside: see `retire`."""
        path, mark = self.root / names.REQUEST_FILE, fingerprint(manifest)
        for folder in (self.journal, self.earlier.root):
            for shard in folder.rglob(f"*{names.SHARD_SUFFIX}"):
                _repair(shard)
        before = _request(path)
        if before and before.run_id.partition("-")[0] == mark and is_same_run(before.spec, manifest.spec):
            run_id = before.run_id
        else:
            self.retire()
            run_id = f"{mark}-{secrets.token_hex(3)}"
        for folder in (self.journal, self.logs, self.artifact):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.sources, self.unpacked):
            shutil.rmtree(folder, ignore_errors=True)
        for name, content in manifest.config_maps.items():
            (self.sources / name).mkdir(parents=True, exist_ok=True)
            for key, data in content.items():
                (self.sources / name / key).write_bytes(data)
        request = RunRequest(run_id=run_id, name=manifest.name, spec=manifest.spec)
        _write(path, request.to_json())
        return request

    def retire(self) -> None:
        """Puts the run aside, if there is one: the next one takes from it what still holds."""
        path = self.root / names.REQUEST_FILE
        if path.exists():
            run_id = json.loads(path.read_text(encoding="utf-8"))["runId"]
            # The journal goes first: without it, nothing here would be taken for the next run's.
            self.earlier.add(run_id, [self.journal, self.artifact, self.logs, path])
        shutil.rmtree(self.root / "rounds", ignore_errors=True)
        path.unlink(missing_ok=True)

    def prune(self, keep: int) -> None:
        """Forgets runs before this one, but the newest so many, and what was paid for."""
        self.earlier.prune(keep, self.journal)

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


def _request(path: Path) -> RunRequest | None:
    """None where there is none, or one of another release."""
    with contextlib.suppress(OSError, ValidationError):
        return RunRequest.model_validate_json(path.read_text(encoding="utf-8"))
    return None


def _not_a_journal(what: str) -> BadInput:
    return BadInput(LocalReason.NOT_A_JOURNAL, f"{what}. Name a folder that is new, empty or a journal: --journal DIR.")


def _write(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def _repair(shard: Path) -> None:
    """Cuts off what a driver that was killed had written only in part, and what was damaged since."""
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
