"""Earlier runs in a journal's folder.

NUMBER-RUN/               a whole run: journal, artifact, logs, request. The oldest has the lowest number
000000-answers-PACKAGES/  answers to LM calls of still older runs, by the installed packages that can read them

A plan or worker reads each of these folders as one journal (`swarm_worker.journal.store`).
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from swarm_wire import names, shards
from swarm_wire.messages import STORED, Bound, CallMade, Result
from swarm_wire.records import Record, RecordKind

PAID: Final = frozenset({RecordKind.RESULT, RecordKind.CALL})
ANSWERS: Final = "000000-answers-"


class EarlierRuns:
    """Reads and writes earlier runs, in the layout of this module. The caller must have locked the journal's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def runs(self) -> list[Path]:
        """Returns the folders of the whole runs, the newest first."""
        found = (path for path in self.root.glob("*-*") if not path.name.startswith(ANSWERS))
        return sorted(found, reverse=True)

    def add(self, run_id: str, parts: Sequence[Path]) -> None:
        """Moves a run's files and folders here. A run with neither paid results nor an artifact is deleted.

        Args:
            parts: the run's journal, its artifact, and all others. They are moved in this order.

        Raises OSError.
        """
        journal, artifact, *_ = parts
        if _has_paid(journal) or any(artifact.glob("*")):
            number = int(self.runs[0].name.partition("-")[0]) + 1 if self.runs else 1
            folder = self.root / f"{number:06d}-{run_id}"
            folder.mkdir(parents=True)
            for part in parts:
                if part.exists():
                    part.rename(folder / part.name)
        for part in parts:
            if part.is_dir():
                shutil.rmtree(part)

    def prune(self, keep: int, journal: Path) -> None:
        """Keeps only the answers to LM calls of all but the newest `keep` runs.

        A later run loses no result that it could use.

        Args:
            journal: the current run's journal. An older run stays whole if it has the same files, data and packages as
                the current run or a newer one that is kept. Then its results still count.
        """
        old = self.runs[keep:]
        states = {state for run in (journal, *self.runs[:keep]) if (state := _bound(run)) is not None}
        for run in old:
            bound, records = _bound(run), [*shards.read_folder(run, growing=True)]
            if bound in states or any(STORED in record.header for record in records):
                continue
            answers = [answer for record in records if (answer := _answer(record)) is not None]
            if bound is not None and answers:
                said = Bound(binding="", packages=bound.packages)
                self._put(run.name, said, answers)
            shutil.rmtree(run)

    def _put(self, name: str, bound: Bound, answers: Iterable[Record]) -> None:
        folder = self.root / f"{ANSWERS}{bound.packages}"
        folder.mkdir(exist_ok=True)
        scratch = folder / f"{name}.new"
        scratch.write_bytes(b"".join(shards.pack([Record(RecordKind.BOUND, bound.to_header()), *answers])))
        scratch.replace(folder / f"{name}{names.SHARD_SUFFIX}")


def _has_paid(journal: Path) -> bool:
    return any(record.kind in PAID for record in shards.read_folder(journal, growing=True))


def _bound(journal: Path) -> Bound | None:
    """Returns the binding of a journal; None if all plans ended before they knew the binding."""
    for record in shards.read_folder(journal, growing=True):
        if record.kind in (RecordKind.BOUND, RecordKind.PLAN) and record.header.get("binding"):
            return Bound.model_validate({key: record.header.get(key, "") for key in ("binding", "packages")})
    return None


def _answer(record: Record) -> Record | None:
    """Returns the answer to an LM call that a record carries, as a CALL record; None if it carries none."""
    if record.kind is RecordKind.CALL:
        return record
    if record.kind is not RecordKind.RESULT:
        return None
    result = Result.model_validate(record.header)
    if not result.calls:
        return None
    return Record(RecordKind.CALL, CallMade(key=result.calls[0]).to_header(), record.body[result.calls_at or 0 :])
