"""The rounds: plan, scatter, gather, journal; until the plan brings the artifact.

State is in the journal's folder only. The driver may be killed at any moment: run again with the same folder, it goes
on from the results that are there.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from swarm_wire import names
from swarm_wire.messages import (
    Assignment,
    CallMade,
    PlanEnd,
    PlanOutcome,
    Result,
    RunRequest,
    Scores,
    SliceRef,
    Task,
    Usage,
)
from swarm_wire.records import Record, RecordKind
from swarm_wire.slicing import missing_cells, slice_cells
from swarm_worker.errors import SwarmError
from swarm_worker.exchange import Desk
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.processes import Ended, Processes
from swarm_worker.local.reasons import LocalReason

PLAN_ATTEMPTS = 3


class Watcher(Protocol):
    """Is told what happens. Called from several threads, one at a time."""

    def planning(self, round_: int) -> None: ...
    def scattering(self, round_: int, attempt: int, cells: int, processes: int) -> None: ...
    def gathered(self, result: Result) -> None: ...
    def called(self, call: CallMade) -> None: ...
    def planned(self, scores: Scores) -> None: ...


class RunFailed(SwarmError):
    """The run ended without an artifact."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Stopped(SwarmError):
    """The run was asked to end; what is finished is kept."""


@dataclass
class Known:
    """What the journal holds.

    Attributes:
        keys: of cells that have a result.
        calls: LM calls that were told of by themselves, by their identity.
        usage: what those took, each counted once.
        plans: how many came to their end.
    """

    keys: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    usage: Usage = field(default_factory=Usage)
    plans: int = 0

    def add(self, record: Record) -> Result | CallMade | PlanEnd | None:
        """What the record says, if it belongs into the journal; None where it does not, or is known."""
        found: Result | CallMade
        if record.kind is RecordKind.PLAN:
            self.plans += 1
            return PlanEnd.model_validate(record.header)
        if record.kind is RecordKind.RESULT:
            found, known = Result.model_validate(record.header), self.keys
        elif record.kind is RecordKind.CALL:
            found, known = CallMade.model_validate(record.header), self.calls
        else:
            return None
        identity = found.identity if isinstance(found, CallMade) else found.key
        if identity in known:
            return None
        known.add(identity)
        self.usage += found.usage
        return found


class Driver:
    """One run in one folder.

    Args:
        workers: worker processes side by side.
    """

    def __init__(
        self, folder: JournalFolder, request: RunRequest, processes: Processes, watcher: Watcher, *, workers: int
    ) -> None:
        self._folder, self._request, self._processes, self._watcher = folder, request, processes, watcher
        self._workers, self._lock = workers, threading.Lock()
        self.known = Known()
        for record in folder.records():
            self.known.add(record)
        self.resumed = len(self.known.keys)
        self._desk = Desk()

    def run(self) -> Record:
        """The ARTIFACT record. Raises RunFailed."""
        with self._desk:
            return self._rounds()

    def _rounds(self) -> Record:
        while True:
            round_ = self.known.plans
            self._watcher.planning(round_)
            printed = self._plan(round_)
            end = next(PlanEnd.model_validate(record.header) for record in printed if record.kind is RecordKind.PLAN)
            self._watcher.planned(end.scores)
            if end.outcome is PlanOutcome.DONE:
                return next(record for record in printed if record.kind is RecordKind.ARTIFACT)
            tasks = [Task.model_validate(record.header) for record in printed if record.kind is RecordKind.TASK]
            self._folder.put_tasks(round_, (r for r in printed if r.kind in (RecordKind.TASK, RecordKind.BLOB)))
            self._scatter(round_, tasks)
            # The end of a plan is journaled when its round is complete: until then the same round is planned again.
            for record in printed:
                if record.kind is RecordKind.PLAN:
                    self._journal(record)

    def _plan(self, round_: int) -> list[Record]:
        """The records of a plan that came to its end."""
        for attempt in range(1, PLAN_ATTEMPTS + 1):
            ended = self._processes.run("plan", f"plan-{round_:04d}-{attempt}", {}, self._journal_results)
            self._raise_if_stopped()
            if ended.is_done:
                return list(ended.transcript.records.values())
            if ended.is_terminal:
                break
        raise RunFailed(ended.reason, ended.message)

    def _scatter(self, round_: int, tasks: list[Task]) -> None:
        swarm = self._request.spec.swarm
        for attempt in range(1, swarm.max_attempts + 1):
            cells = missing_cells(tasks, self.known.keys)
            if not cells:
                return
            slices = slice_cells(
                cells,
                pods=self._workers,
                threads=swarm.threads_per_pod,
                max_cells=swarm.slice_size,
                attempt=attempt,
                attempts=swarm.max_attempts,
            )
            self._watcher.scattering(round_, attempt, len(cells), min(self._workers, len(slices)))
            endings = self._run_slices(round_, attempt, slices)
            self._raise_if_stopped()
            for ended in endings:
                if ended.is_terminal:
                    raise RunFailed(ended.reason, ended.message)
        if left := missing_cells(tasks, self.known.keys):
            raise RunFailed(
                LocalReason.ATTEMPTS_EXHAUSTED,
                f"{len(left)} cells have no result after {swarm.max_attempts} attempts; the last process that failed "
                f"said: {ended.reason}: {ended.message}. Its output is in {self._folder.logs}. "
                "Run again to go on from here.",
            )

    def _run_slices(self, round_: int, attempt: int, slices: list[list[SliceRef]]) -> list[Ended]:
        """How the processes of one attempt ended: failures last."""
        assignment = Assignment(run_id=self._request.run_id, round=round_, attempt=attempt, slices=slices)
        work = self._folder.put_assignment(assignment)

        ended: list[Ended] = []

        def run(index: int) -> None:
            if any(other.is_terminal for other in ended):
                return
            extra = {
                names.ENV_TASKS_DIR: str(self._folder.tasks_folder(round_)),
                names.ENV_WORK_DIR: str(work),
                names.ENV_INDEX: str(index),
                **self._desk.environment,
            }
            label = f"work-{round_:04d}-{attempt}-{index:04d}"
            ended.append(self._processes.run("work", label, extra, self._journal_results))

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(run, range(len(slices))))
        return sorted(ended, key=lambda ended: not ended.is_done)

    def _raise_if_stopped(self) -> None:
        if self._processes.is_stopped:
            raise Stopped

    def _journal_results(self, record: Record) -> None:
        if record.kind in (RecordKind.RESULT, RecordKind.CALL):
            self._journal(record)

    def _journal(self, record: Record) -> None:
        with self._lock:
            new = self.known.add(record)
            # The first result of a key counts, so there is only one: shards are read in the order of their names.
            if new is not None:
                self._folder.append(record)
            if isinstance(new, Result):
                self._watcher.gathered(new)
            elif isinstance(new, CallMade):
                self._watcher.called(new)
