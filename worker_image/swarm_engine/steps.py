"""Says what a run does next when none of its processes is running, in a cluster and on a laptop alike.

plan of round 0 -> tasks -> work, attempt 1, 2, ... -> plan of round 1 -> ... -> artifact
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from swarm_engine.attempts import EXTRA_ATTEMPTS, Attempt, Ended, isolated, process_ended
from swarm_engine.journal import Journal, Waiting
from swarm_engine.limits import affordable
from swarm_engine.slicing import missing_cells, slice_cells
from swarm_wire.messages import Assignment, EffectKind, Task
from swarm_wire.records import Record
from swarm_wire.spec.swarm import Swarm
from swarm_wire.spending import Allowance


@dataclass(frozen=True)
class Round:
    """A round whose plan is complete.

    Attributes:
        left: what the run may still spend.
        now: the time of this decision.
        attempts: the attempts at the round's cells, in order. The last attempt has ended.
    """

    run_id: str
    number: int
    tasks: Sequence[Task]
    journal: Journal
    swarm: Swarm
    left: Allowance
    now: datetime
    attempts: Sequence[Attempt] = ()

    @cached_property
    def missing(self) -> list[tuple[Task, int]]:
        """Returns the cells of the round that still lack results."""
        return missing_cells(self.tasks, self.journal.keys, self.journal.failed)

    @cached_property
    def pending(self) -> dict[str, Waiting]:
        """Returns the missing cells whose result comes later, by key."""
        missing = {task.cells[position].key for task, position in self.missing}
        return {key: waits for key, waits in self.journal.pending.items() if key in missing}

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @cached_property
    def strikes(self) -> dict[str, int]:
        """Returns the strikes of the missing cells."""
        return self.last.strikes_after(self.tasks, self.journal.keys, self.pending) if self.last else {}

    @property
    def worst(self) -> int:
        """Returns the largest number of strikes that a cell has."""
        return max(self.strikes.values(), default=0)

    def is_untouched(self, attempt: Attempt) -> bool:
        """Whether no cell of an attempt has a result or waits, since its processes never started, or did nothing."""
        waits = any(key in self.journal.pending for keys in attempt.keys(self.tasks) for key in keys)
        return not (waits or self.has_result(attempt))

    def has_result(self, attempt: Attempt) -> bool:
        """Whether a cell of an attempt has a result."""
        return any(key in self.journal.keys for keys in attempt.keys(self.tasks) for key in keys)


@dataclass(frozen=True)
class Plan:
    """The next step is a plan, which replays the optimizer from the journal.

    Attributes:
        runs_cells: whether the plan may run small waves itself.
    """

    attempt: int
    runs_cells: bool


@dataclass(frozen=True)
class Work:
    """The next step is to run an assignment, with one process for each slice.

    Attributes:
        strikes: key of a cell -> number of earlier attempts that ended on their own without a result for this cell.
        allowance: what each process may spend.
    """

    assignment: Assignment
    strikes: tuple[tuple[str, int], ...]
    allowance: Allowance


@dataclass(frozen=True)
class Wait:
    """The next step is to wait. All missing cells wait for services outside of the cluster.

    Attributes:
        until: when a process has to look again.
        messages: what they wait for, as clauses.
    """

    until: datetime
    messages: tuple[str, ...]


@dataclass(frozen=True)
class CellsFailed:
    """The next step is to write these errors to the journal, one for each cell that ended every process that ran it."""

    results: tuple[Record, ...]


@dataclass(frozen=True)
class Exhausted:
    """The next step is to give up, because this many attempts have failed."""

    attempts: int


def next_plan(swarm: Swarm, ends: Sequence[Ended], started: int) -> Plan | Exhausted:
    """Returns the next attempt at a round's plan.

    Args:
        ends: how earlier attempts ended.
        started: number of earlier attempts. Some of these attempts may have no entry in `ends`.
    """
    strikes = sum(end.on_its_own for end in ends)
    if strikes >= swarm.max_attempts or started >= swarm.max_attempts + EXTRA_ATTEMPTS:
        return Exhausted(started)
    # A cell that ends its process also ends a plan that runs it. Workers then run the cells, to find out which cell it
    # is.
    return Plan(started + 1, runs_cells=not strikes)


def next_work(round_: Round) -> Work | Wait | CellsFailed | Exhausted:
    """Returns the next attempt at the missing cells of a round that has such cells."""
    last, swarm = round_.last, round_.swarm
    number = last.assignment.attempt if last else 0
    if last and (errors := _poisoned(round_, last)):
        return CellsFailed(errors)
    fruitless = sum(not round_.has_result(attempt) for attempt in round_.attempts)
    fruitless -= sum(waits.record.number for waits in round_.pending.values())
    if round_.worst >= swarm.max_attempts or fruitless >= swarm.max_attempts + EXTRA_ATTEMPTS:
        return Exhausted(number)
    waiting = {key: waits for key, waits in round_.pending.items() if round_.now < waits.due}
    ready = [(task, position) for task, position in round_.missing if task.cells[position].key not in waiting]
    if not ready:
        messages = sorted({waits.record.message for waits in waiting.values()})
        return Wait(min(waits.due for waits in waiting.values()), tuple(messages))
    # A training has a pod of its own, with the trainer's image.
    trained = [(task, position) for task, position in ready if task.kind is EffectKind.TRAIN]
    ready = trained or ready
    cells = affordable(ready, round_.left, round_.journal.accounts.total, len(round_.journal.keys))
    # The allowance may be too small for each of many processes, but large enough for some calls of fewer processes.
    fewer = max(1, len(last.assignment.slices) // 4) if last and last.was_refused else 0
    if trained and fewer:
        cells = cells[:1]
    slices = slice_cells(
        cells,
        pods=fewer or swarm.pods,
        threads=1 if trained else swarm.threads_per_pod,
        max_cells=1 if trained else len(cells) if fewer else swarm.slice_size,
        attempt=round_.worst + 1,
        attempts=swarm.max_attempts,
    )
    return Work(
        Assignment(run_id=round_.run_id, round=round_.number, attempt=number + 1, slices=slices, trains=bool(trained)),
        tuple(sorted(round_.strikes.items())),
        round_.left.shared(len(slices)),
    )


def _poisoned(round_: Round, last: Attempt) -> tuple[Record, ...]:
    """Returns errors of cells that ended their process in each attempt, and were alone in it in the last attempt."""
    cells = len({cell.key for task in round_.tasks for cell in task.cells})
    ends = {index: end.by_cell for index, end in last.ends.items() if end.by_cell}
    found = isolated(last.keys(round_.tasks), ends, cells, len(round_.missing))
    return tuple(
        process_ended(key, how)
        for key, how in sorted(found.items())
        if round_.strikes.get(key, 0) >= round_.swarm.max_attempts
    )
