"""Shards of a run's journal, and the journal that they make."""

from collections.abc import Iterable
from dataclasses import dataclass

from swarm_engine import journal as engine
from swarm_engine.journal import Entries
from swarm_engine.slicing import missing_cells
from swarm_operator.compilation.api import ObjectKind
from swarm_wire.messages import PlanOutcome, Task
from swarm_wire.report import Report


@dataclass(frozen=True)
class Artifact:
    """The winner, as the plan printed it."""

    program: str
    report_text: str
    sha256: str
    report: Report


@dataclass(frozen=True, kw_only=True)
class Shard(Entries):
    """The records in one ConfigMap of the journal, without the bodies, which only pods read.

    Attributes:
        size: its size in bytes, as read.
    """

    name: str
    uid: str
    run_id: str
    kind: ObjectKind
    round: int
    attempt: int
    key: str
    size: int = 0
    artifact: Artifact | None = None


class Journal(engine.Journal):
    """The verified shards of one run, read as one.

    Attributes:
        artifact: the last plan's artifact, if it has one: the optimizer's winner, or the best program so far.
        is_bound: whether it has a record of the code and data that it belongs to.
    """

    def __init__(self, shards: Iterable[Shard] = ()) -> None:
        super().__init__()
        self.shards = tuple(sorted(shards, key=lambda shard: shard.key))
        self.artifact: Artifact | None = None
        for shard in self.of(ObjectKind.RESULTS):
            self.take(shard, shard.round, shard.attempt)
            self.artifact = shard.artifact or self.artifact
        if self.last is None or self.last.outcome is PlanOutcome.BLOCKED:
            # The plan's end is missing, or the run goes on after a limit had ended it.
            self.artifact = None
        self.is_bound = bool(self.plans) or self.bound is not None

    def of(self, kind: ObjectKind, round_: int | None = None, attempt: int | None = None) -> list[Shard]:
        """Shards of a kind, in a stable order."""
        return [
            shard
            for shard in self.shards
            if shard.kind is kind and round_ in (None, shard.round) and attempt in (None, shard.attempt)
        ]

    def task_shards(self, round_: int) -> list[Shard]:
        """Shards of tasks of the plan whose end is in the journal. A plan that died may have left others."""
        planned = self.plans.get(round_)
        return self.of(ObjectKind.TASKS, round_, planned.attempt) if planned else []

    @property
    def leftover(self) -> list[Shard]:
        """Shards of the last round's tasks, if a limit ended it early. With a higher limit, the run uses them."""
        if self.last is None or self.last.outcome is not PlanOutcome.PARTIAL:
            return []
        rounds = (round_ for round_, found in self.plans.items() if found.end.outcome is not PlanOutcome.PARTIAL)
        round_ = max(rounds, default=-1)
        return self.task_shards(round_) if self.missing(round_) else []

    def tasks(self, round_: int) -> list[Task] | None:
        """The round's tasks; None if some of them are gone."""
        planned = self.plans.get(round_)
        if planned is None:
            return None
        found = {task.digest: task for shard in self.task_shards(round_) for task in shard.tasks}
        return [found[digest] for digest in planned.end.tasks] if set(found) >= set(planned.end.tasks) else None

    def missing(self, round_: int) -> list[tuple[Task, int]]:
        """The cells that the round still needs."""
        return missing_cells(self.tasks(round_) or (), self.keys, self.failed)
