"""The rounds: plan, scatter, gather, journal; until the plan brings the artifact.

State is in the journal's folder only. The driver may be killed at any moment: run again with the same folder, it goes
on from the results that are there.
"""

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from swarm_engine.accounts import Accounts, least, repeated
from swarm_engine.attempts import isolated, process_ended, slice_keys
from swarm_engine.limits import affordable, spent_limit, too_little
from swarm_engine.slicing import has_failed, missing_cells, slice_cells
from swarm_wire import names
from swarm_wire.messages import (
    Allowance,
    ArtifactHeader,
    Assignment,
    Booked,
    Bound,
    CallMade,
    Ending,
    Outcome,
    PlanEnd,
    PlanOutcome,
    Result,
    RunRequest,
    Scores,
    SliceRef,
    Task,
    Usage,
)
from swarm_wire.names import WorkerReason
from swarm_wire.rates import rate_limits
from swarm_wire.records import Record, RecordKind
from swarm_wire.words import sentence
from swarm_worker.errors import SwarmError
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.limiter import LocalLimiter
from swarm_worker.local.processes import Ended, Processes
from swarm_worker.local.reasons import LocalReason
from swarm_worker.replay.call_sharing import Desk

PLAN_ATTEMPTS = 3


class Watcher(Protocol):
    """Is told what happens. Called from several threads, one at a time."""

    def planning(self, round_: int, attempt: int = 1, why: str = "") -> None: ...
    def scattering(self, round_: int, attempt: int, cells: int, processes: int, why: str = "") -> None:
        """
        Args:
            why: what ended the attempt before this one.
        """

    def gathered(self, result: Result) -> None: ...
    def called(self, call: CallMade) -> None: ...
    def planned(self, scores: Scores) -> None: ...


class RunFailed(SwarmError):
    """The run ended without an artifact."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OfAnotherState(RunFailed):
    """What the journal holds was made with other files, data or packages than those of now: it takes a new run."""


class LimitReached(SwarmError):
    """A limit has ended the run; the message says which."""

    reason = LocalReason.LIMIT_REACHED


class Stopped(SwarmError):
    """The run was asked to end; what is finished is kept."""


@dataclass
class Known:
    """What the journal holds.

    Attributes:
        keys: of cells that have a result.
        failed: those among them whose result is an error.
        calls: LM calls that were told of by themselves, by their identity.
        usage: what those took, each counted once.
        accounts: what processes spent, where there are limits.
        plans: how many came to their end.
        bound: what the first of them said that the journal belongs to.
    """

    keys: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    usage: Usage = field(default_factory=Usage)
    accounts: Accounts = field(default_factory=Accounts)
    plans: int = 0
    bound: Bound | None = None

    def add(self, record: Record) -> Result | CallMade | PlanEnd | Booked | Bound | None:
        """What the record says, if it belongs into the journal; None where it does not, or is known."""
        found: Result | CallMade
        if record.kind is RecordKind.PLAN:
            self.plans += 1
            return PlanEnd.model_validate(record.header)
        if record.kind is RecordKind.BOOKED:
            booked = Booked.model_validate(record.header)
            self.accounts.book(booked)
            return booked
        if record.kind is RecordKind.BOUND:
            new, self.bound = self.bound is None, self.bound or Bound.model_validate(record.header)
            return self.bound if new else None
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
        if isinstance(found, Result) and found.outcome is Outcome.ERROR:
            self.failed.add(identity)
        self.usage += found.usage
        return found


class Driver:
    """One run in one folder.

    Args:
        workers: worker processes side by side.

    Attributes:
        known: what the journal holds.
        resumed: results that it held at the beginning.
        paid_before: LM calls that the run had paid for by then.
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
        self.paid_before = self.known.usage.calls
        self._goes_on = self.known != Known()
        self._desk = Desk()
        self._limiter = LocalLimiter(rate_limits(request.spec, request.namespace, request.name))
        self._tasks: list[Task] = []
        self._is_late = False

    def run(self) -> Record:
        """The ARTIFACT record. Raises RunFailed, or OfAnotherState."""
        with self._desk, self._limiter, self._clock():
            try:
                return self._rounds()
            except LimitReached as limit:
                return self._partial(str(limit))

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Within, processes are asked to end when the run's time is over."""
        seconds = self._request.spec.limits.wall_clock
        if seconds is None:
            yield
            return

        def end() -> None:
            self._is_late = True
            self._processes.interrupt()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _partial(self, why: str) -> Record:
        """The ARTIFACT record with the best program so far. Raises RunFailed where there is none, or none is wanted."""
        limits = self._request.spec.limits
        extra = {
            names.ENV_PARTIAL: Ending(why=why, limits=limits).to_json(),
            names.ENV_ALLOWANCE: Allowance(calls=0).to_json(),
        }
        ended = self._process("plan", "plan-partial", extra)
        if ended.is_terminal:
            raise RunFailed(ended.reason, ended.message)
        printed = [record for record in ended.transcript.records.values() if record.kind is RecordKind.ARTIFACT]
        kept = "Finished results are kept: with a higher limit, the same command goes on from them."
        if not printed or not ended.is_done:
            raise RunFailed(LocalReason.LIMIT_REACHED, f"{sentence(why)} No candidate was complete by then. {kept}")
        if not limits.publish_partial:
            score = ArtifactHeader.model_validate(printed[0].header).report.scores.best
            raise RunFailed(
                LocalReason.LIMIT_REACHED,
                f"{sentence(why)} The best program so far has {score:g}; limits.publishPartial: true would "
                f"write it. {kept}",
            )
        return printed[0]

    @property
    def _missing(self) -> list[tuple[Task, int]]:
        """Cells that the round still needs."""
        return missing_cells(self._tasks, self.known.keys, self.known.failed)

    @property
    def _left(self) -> Allowance:
        """What the run may spend yet."""
        return Allowance.of(self._request.spec.limits).less(self.known.accounts.total)

    def _raise_if_over(self) -> None:
        """Raises Stopped, or LimitReached where the run's time is over."""
        if self._processes.is_stopped:
            raise Stopped
        if self._is_late:
            raise LimitReached(f"the run has ended by limits.wallClock: {self._request.spec.limits.wall_clock}")

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
            # The plan's end comes last: it says that all of its tasks are there, for a driver that goes on from here.
            self._folder.put_tasks(round_, (r for r in printed if r.kind in (RecordKind.TASK, RecordKind.BLOB)))
            for record in printed:
                if record.kind is RecordKind.PLAN:
                    self._journal(record)
            self._scatter(round_, tasks)
            self._tasks = []

    def _plan(self, round_: int) -> list[Record]:
        """The records of a plan that came to its end."""
        for attempt in range(1, PLAN_ATTEMPTS + 1):
            # A cell that ends its process ends the plan, too: then workers run it, who can tell which one it is.
            small = {names.ENV_SMALL_WAVE: "0"} if attempt > 1 else {}
            before = {names.ENV_TASKS_DIR: str(self._folder.tasks_folder(round_ - 1))} if round_ else {}
            ended = self._process("plan", f"plan-{round_:04d}-{attempt}", {**self._allowance(1), **small, **before})
            if ended.reason == WorkerReason.SOURCE_CHANGED and self._goes_on:
                raise OfAnotherState(ended.reason, ended.message)
            if ended.is_done:
                self._goes_on = False
                return list(ended.transcript.records.values())
            self._raise_if_over()
            if ended.reason == WorkerReason.ALLOWANCE_SPENT:
                raise LimitReached(too_little(self._request.spec.limits, self.known.accounts.total))
            if ended.is_terminal:
                break
            if attempt < PLAN_ATTEMPTS:
                self._watcher.planning(round_, attempt + 1, f"{ended.reason}: {ended.message}")
        raise RunFailed(ended.reason, ended.message)

    def _scatter(self, round_: int, tasks: list[Task]) -> None:
        swarm = self._request.spec.swarm
        limits, pods, failures, last = self._request.spec.limits, self._workers, 0, ""
        endings: list[Ended] = []
        slices: list[list[SliceRef]] = []
        self._tasks = tasks
        for attempt in count(1):
            cells: Sequence[tuple[Task, int]] = self._missing
            self._raise_if_over()
            if not cells:
                return
            if failures == swarm.max_attempts and self._isolate(endings, slices, tasks, len(cells)):
                continue
            if failures == swarm.max_attempts:
                raise RunFailed(
                    LocalReason.ATTEMPTS_EXHAUSTED,
                    f"{len(cells)} cells have no result after {failures} attempts; the last process that failed said: "
                    f"{sentence(last)} Its output is in {self._folder.logs}. Run again to go on from here.",
                )
            if (limit := spent_limit(limits, self._left)) is not None:
                raise LimitReached(f"the run has ended by {limit}")
            cells = affordable(cells, self._left, self.known.accounts.total, len(self.known.keys))
            slices = slice_cells(
                cells,
                pods=pods,
                threads=swarm.threads_per_pod,
                max_cells=swarm.slice_size if pods == self._workers else len(cells),
                attempt=failures + 1,
                attempts=swarm.max_attempts,
            )
            self._watcher.scattering(round_, attempt, len(cells), min(self._workers, len(slices)), last)
            endings = self._run_slices(round_, attempt, slices)
            self._raise_if_over()
            for ended in endings:
                if ended.is_terminal:
                    raise RunFailed(ended.reason, ended.message)
            failed = [ended for ended in endings if not ended.is_done]
            refused = any(ended.reason == WorkerReason.ALLOWANCE_SPENT for ended in endings)
            if refused and len(slices) == 1:
                raise LimitReached(too_little(limits, self.known.accounts.total))
            if refused:
                # The last of an allowance is too little for a call; together it may be enough for some.
                pods = max(1, len(slices) // 4)
            elif failed:
                failures += 1
                last = f"{failed[-1].reason}: {failed[-1].message}"

    def _isolate(
        self, endings: Sequence[Ended], slices: Sequence[Sequence[SliceRef]], tasks: Sequence[Task], missing: int
    ) -> bool:
        """Makes errors of cells that ended their processes; whether there are any."""
        ends = {index: f"{end.reason}: {end.message}" for index, end in enumerate(endings) if end.is_by_cell}
        cells = len({cell.key for task in tasks for cell in task.cells})
        found = isolated(slice_keys(tasks, slices), ends, cells, missing)
        new = [key for key in found if key not in self.known.keys]
        for key in new:
            self._journal(process_ended(key, found[key]))
        return bool(new)

    def _run_slices(self, round_: int, attempt: int, slices: list[list[SliceRef]]) -> list[Ended]:
        """How the processes of one attempt ended, slice by slice."""
        assignment = Assignment(run_id=self._request.run_id, round=round_, attempt=attempt, slices=slices)
        work = self._folder.put_assignment(assignment)

        ended: dict[int, Ended] = {}
        allowance = self._allowance(len(slices))

        def run(index: int) -> None:
            if not self._missing or any(other.is_terminal for other in list(ended.values())):
                return
            extra = {
                names.ENV_TASKS_DIR: str(self._folder.tasks_folder(round_)),
                names.ENV_WORK_DIR: str(work),
                names.ENV_INDEX: str(index),
                **self._desk.environment,
                **allowance,
            }
            ended[index] = self._process("work", f"work-{round_:04d}-{attempt}-{index:04d}", extra)
            if ended[index].is_terminal:
                self._processes.interrupt()  # what others would go on with is not needed

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(run, range(len(slices))))
        return [ended[index] for index in sorted(ended)]

    def _allowance(self, parts: int) -> dict[str, str]:
        """What one of so many processes may spend, for its environment."""
        left = self._left
        return {names.ENV_ALLOWANCE: left.shared(parts).to_json()} if left.is_limited else {}

    def _process(self, command: str, label: str, extra: Mapping[str, str]) -> Ended:
        """Runs one process; what it finishes and spends is journaled as it comes."""
        account = f"{label}-{secrets.token_hex(4)}"  # after a driver that was killed there are namesakes

        def journal(record: Record) -> None:
            if record.kind in (RecordKind.RESULT, RecordKind.CALL, RecordKind.BOUND):
                self._journal(record)
            elif record.kind is RecordKind.BOOKED:
                self._book(Booked.model_validate({**record.header, "account": account, "final": False}))

        ended = self._processes.run(command, label, {**extra, **self._limiter.environment}, journal)
        found = Known()
        for record in ended.transcript.records.values():
            found.add(record)
        lost = repeated(ended.commit, [found.usage], self._request.spec.swarm.threads_per_pod)
        if ended.commit is not None and ended.commit.spent is not None:
            self._book(Booked(account=account, spent=ended.commit.spent, repeated=lost, final=True))
        elif lost:
            cost = found.accounts.total | least(found.usage, 0 if names.ENV_ALLOWANCE in extra else lost)
            self._book(Booked(account=account, spent=cost, repeated=lost, final=True))
        return ended

    def _book(self, booked: Booked) -> None:
        self._journal(Record(RecordKind.BOOKED, booked.to_header()))

    def _journal(self, record: Record) -> None:
        with self._lock:
            new = self.known.add(record)
            # The first result of a key counts, so there is only one: shards are read in the order of their names.
            if new is not None:
                self._folder.append(record)
            if isinstance(new, Result):
                self._watcher.gathered(new)
                if new.outcome is Outcome.ERROR and any(has_failed(task, self.known.failed) for task in self._tasks):
                    self._processes.interrupt()  # what other workers would go on with may not be needed
            elif isinstance(new, CallMade):
                self._watcher.called(new)
