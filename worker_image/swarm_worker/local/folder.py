"""The journal's folder: the current run, and the remains of earlier runs.

lock                      a file that the driver locks; every journal has it
request.json              the run's request
published.json            the program that was published when the run began, if the spec asks for it
sources/NAME/KEY          the content of ConfigMaps
snapshot/*.shard          the program's files, if they come from git
data/SET/N/*.shard        the data that the spec names by URLs
unpacked/                 data from URLs; the program's files, if they are not imported from sources/
journal/*.shard           results and PLAN records, appended as they arrive
rounds/N/*.shard          tasks of round N
rounds/N/A/               assignment of attempt A
logs/                     the processes' standard error
artifact/                 program and report
refused/                  the same of a winner that spec.gate has refused
models/KEY/               what a trainer has made
earlier/                  earlier runs, whose paid results are reused; see `swarm_worker.local.earlier`
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
from swarm_wire.report import Report
from swarm_wire.spec.variables import bound, placed
from swarm_worker.errors import BadInput
from swarm_worker.local.documents import Manifest
from swarm_worker.local.earlier import EarlierRuns
from swarm_worker.local.reasons import LocalReason


def fingerprint(manifest: Manifest) -> str:
    """Returns a digest of the ConfigMaps, files and environment variables that a spec names: 12 hex digits.

    It does not depend on values of secrets.
    """
    hasher = hashlib.sha256()
    for name, content in sorted(manifest.config_maps.items()):
        for key, data in sorted(content.items()):
            hasher.update(f"{name}/{key}/{len(data)}/".encode() + data)
    for record in manifest.snapshot:
        hasher.update(f"snapshot/{record.header['revision']}/{record.header['sha256']}".encode())
    for file in manifest.data:
        hasher.update(f"data/{file.of}/{file.sha256}".encode())
    for variable in bound(placed(manifest.spec.env, manifest.spec.env_from, manifest.variables)):
        hasher.update(f"variable/{len(variable)}/{variable}".encode())
    return hasher.hexdigest()[:12]


class JournalFolder:
    """Reads and writes the journal's folder, in the layout of this module."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources, self.journal, self.logs = root / "sources", root / "journal", root / "logs"
        self.earlier, self.artifact = EarlierRuns(root / "earlier"), root / "artifact"
        self.refused, self.models = root / "refused", root / "models"
        self.unpacked, self.snapshot, self.data = root / "unpacked", root / "snapshot", root / "data"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the folder. Raises BadInput if another driver has locked it, or if it holds anything but a journal."""
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

    def open(self, manifest: Manifest, output: Path | None = None) -> RunRequest:
        """Opens the folder's run if it is of the same Compilation and files. If not, retires it and begins another.

        Args:
            output: the folder to which artifacts go, if not into this one.
        """
        path, mark = self.root / names.REQUEST_FILE, fingerprint(manifest)
        for folder in (self.journal, self.earlier.root):
            for shard in folder.rglob(f"*{names.SHARD_SUFFIX}"):
                _repair(shard)
        before = _request(path)
        if before and before.run_id.partition("-")[0] == mark and is_same_run(before.spec, manifest.spec):
            run_id, published_by = before.run_id, before.published_by
        else:
            self.retire()
            published_by = self._keep_published(manifest, output)
            run_id = f"{mark}-{secrets.token_hex(3)}"
        for folder in (self.journal, self.logs, self.artifact):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.sources, self.unpacked, self.snapshot, self.data):
            shutil.rmtree(folder, ignore_errors=True)
        if manifest.snapshot:
            _write_shards(self.snapshot, manifest.snapshot)
        for file in manifest.data:
            for number, record in enumerate(file.records()):  # all together may be larger than memory
                _write_shards(self.data / file.of / f"{number:04d}", [record])
        for name, content in manifest.config_maps.items():
            (self.sources / name).mkdir(parents=True, exist_ok=True)
            for key, data in content.items():
                (self.sources / name / key).write_bytes(data)
        why = "the local driver knows no other Compilations" if manifest.spec.predecessor else None
        request = RunRequest(
            run_id=run_id, name=manifest.name, spec=manifest.spec, not_inherited=why, published_by=published_by
        )
        _write(path, request.to_json())
        return request

    def retire(self) -> None:
        """Moves the run to the earlier runs, if there is one. The next run reuses results that still hold."""
        path = self.root / names.REQUEST_FILE
        if path.exists():
            run_id = json.loads(path.read_text(encoding="utf-8"))["runId"]
            # The journal moves first. If the driver is then killed, a later run does not mistake the other files for
            # its own.
            self.earlier.add(run_id, [self.journal, self.artifact, self.refused, self.logs, path])
        shutil.rmtree(self.root / "rounds", ignore_errors=True)
        path.unlink(missing_ok=True)

    def _keep_published(self, manifest: Manifest, output: Path | None) -> str:
        """Copies the published program to this run, which begins, if the spec asks for it and there is one.

        Returns:
            the id of the run that has made the program; empty if there is no program, or no report of its run.
        """
        kept, scratch = self.root / names.PUBLISHED_FILE, self.root / f"{names.PUBLISHED_FILE}.new"
        kept.unlink(missing_ok=True)
        places = [*([output] if output else []), *(run / self.artifact.name for run in self.earlier.runs)]
        found = [place / names.PROGRAM_FILE for place in places if (place / names.PROGRAM_FILE).is_file()]
        if not (manifest.spec.needs_published and found):
            return ""
        shutil.copyfile(found[0], scratch)
        scratch.replace(kept)
        return _maker(found[0].with_name(names.REPORT_FILE))

    def restore_artifact(self) -> None:
        """Copies the artifact of the newest earlier run to this run, whose winner spec.gate has refused."""
        for run in self.earlier.runs:
            if any((run / self.artifact.name).glob("*")):
                shutil.copytree(run / self.artifact.name, self.artifact, dirs_exist_ok=True)
                return

    def prune(self, keep: int) -> None:
        """Keeps the newest `keep` earlier runs unchanged. Of older runs, keeps only what a later run can reuse."""
        self.earlier.prune(keep, self.journal)

    def records(self) -> Iterator[Record]:
        return shards.read_folder(self.journal)

    def append(self, record: Record) -> None:
        """Appends a record to the journal. When this returns, the record is safe, even if this process is killed."""
        with (self.journal / f"{os.getpid():010d}{names.SHARD_SUFFIX}").open("ab") as shard:
            shard.write(b"".join(shards.pack([record])))

    def tasks_folder(self, round_: int) -> Path:
        return self.root / "rounds" / f"{round_:04d}"

    def put_tasks(self, round_: int, records: Iterable[Record]) -> None:
        folder = self.tasks_folder(round_)
        shutil.rmtree(folder, ignore_errors=True)  # a killed driver may have left an incomplete folder
        _write_shards(folder, records)

    def put_assignment(self, assignment: Assignment) -> Path:
        """Writes the assignment, and returns its folder."""
        folder = self.tasks_folder(assignment.round) / str(assignment.attempt)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / names.ASSIGNMENT_FILE, assignment.to_json())
        return folder


def _request(path: Path) -> RunRequest | None:
    """Returns the request; None if it is missing, or if another release has written it."""
    with contextlib.suppress(OSError, ValidationError):
        return RunRequest.model_validate_json(path.read_text(encoding="utf-8"))
    return None


def _not_a_journal(what: str) -> BadInput:
    return BadInput(LocalReason.NOT_A_JOURNAL, f"{what}. Name a folder that is new, empty or a journal: --journal DIR.")


def _write_shards(folder: Path, records: Iterable[Record]) -> None:
    folder.mkdir(parents=True)
    for number, shard in enumerate(shards.pack(records)):
        (folder / f"{number:04d}{names.SHARD_SUFFIX}").write_bytes(shard)


def _write(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def _maker(report: Path) -> str:
    """Returns the id of the run that has made a report; empty if somebody has edited it so that nobody can read it."""
    try:
        origin = Report.model_validate_json(report.read_bytes()).origin
    except (OSError, ValueError):
        return ""
    return origin.run_id if origin else ""


def _repair(shard: Path) -> None:
    """Cuts a shard off before its first incomplete or damaged frame. A killed driver may leave such a frame."""
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
