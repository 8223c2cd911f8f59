"""Shards of a run, and the journal that these shards make."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from swarm_engine import journal as engine
from swarm_engine.journal import LONG_AGO, Entries
from swarm_engine.slicing import missing_cells
from swarm_operator.compilation.api import ObjectKind
from swarm_wire.messages import PlanOutcome, Task
from swarm_wire.report import Report
from swarm_wire.snapshots import complete


@dataclass(frozen=True)
class Artifact:
    """The artifact as the plan printed it."""

    program: str
    report_text: str
    sha256: str
    report: Report
    markdown: str = ""
    """The report as Markdown; empty if a worker of an older release printed the artifact."""


@dataclass(frozen=True, kw_only=True)
class Shard(Entries):
    """The records in one ConfigMap of the journal, without their bodies, which only pods read.

    Attributes:
        size: size of the shard in bytes, as the operator read it.
        created_at: when the API server created its ConfigMap.
    """

    name: str
    uid: str
    run_id: str
    kind: ObjectKind
    round: int
    attempt: int
    key: str
    size: int = 0
    created_at: datetime = LONG_AGO
    artifact: Artifact | None = None


class Journal(engine.Journal):
    """The verified shards of one run, read as one journal.

    Attributes:
        artifact: the last plan's artifact, if there is one: the optimizer's winner, or the best program so far.
        snapshots: the first part of all fetched files of which no part is missing, by what they are (`Snapshot.of`).
        is_bound: whether a record in the journal names the code and data to which the journal belongs.
    """

    def __init__(self, shards: Iterable[Shard] = ()) -> None:
        super().__init__()
        self.shards = tuple(sorted(shards, key=lambda shard: shard.key))
        self.artifact: Artifact | None = None
        for shard in self.of(ObjectKind.RESULTS):
            self.take(shard, shard.round, shard.attempt, shard.created_at)
            self.artifact = shard.artifact or self.artifact
        if self.last is None or self.last.outcome is PlanOutcome.BLOCKED:
            # Somebody has deleted the PLAN record, or the run goes on although a limit had ended it.
            self.artifact = None
        parts = ((part, None) for shard in self.of(ObjectKind.SNAPSHOT) for part in shard.snapshots)
        self.snapshots = {of: its[0][0] for of, its in complete(parts).items()}
        self.is_bound = bool(self.plans) or self.bound is not None

    def of(self, kind: ObjectKind, round_: int | None = None, attempt: int | None = None) -> list[Shard]:
        """Returns the shards of a kind, in a stable order."""
        return [
            shard
            for shard in self.shards
            if shard.kind is kind and round_ in (None, shard.round) and attempt in (None, shard.attempt)
        ]

    def task_shards(self, round_: int) -> list[Shard]:
        """Returns the shards of a round's tasks.

        They come from the plan whose PLAN record is in the journal, not from a plan that died.
        """
        planned = self.plans.get(round_)
        return self.of(ObjectKind.TASKS, round_, planned.attempt) if planned else []

    @property
    def leftover(self) -> list[Shard]:
        """Returns the shards of the last round's tasks, if a limit has ended the round early.

        The run uses them if it goes on with a higher limit.
        """
        if self.last is None or self.last.outcome is not PlanOutcome.PARTIAL:
            return []
        rounds = (round_ for round_, found in self.plans.items() if found.end.outcome is not PlanOutcome.PARTIAL)
        round_ = max(rounds, default=-1)
        return self.task_shards(round_) if self.missing(round_) else []

    def fetched_shards(self, kinds: frozenset[str]) -> list[Shard]:
        """Returns the shards with files that the run has fetched.

        Args:
            kinds: what the files are, as values of `Snapshot.of`.
        """
        return [shard for shard in self.of(ObjectKind.SNAPSHOT) if any(part.of in kinds for part in shard.snapshots)]

    def tasks(self, round_: int) -> list[Task] | None:
        """Returns the round's tasks; None if somebody has deleted some of them."""
        planned = self.plans.get(round_)
        if planned is None:
            return None
        found = {task.digest: task for shard in self.task_shards(round_) for task in shard.tasks}
        return [found[digest] for digest in planned.end.tasks] if set(found) >= set(planned.end.tasks) else None

    def missing(self, round_: int) -> list[tuple[Task, int]]:
        """Returns the cells of the round that still lack results."""
        return missing_cells(self.tasks(round_) or (), self.keys, self.failed)
