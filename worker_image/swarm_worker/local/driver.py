"""Runs the rounds of a local run, until a plan prints the artifact.

In each round, the driver runs a plan, deals its cells out to workers, and journals the results. All state is in the
journal's folder. The driver may be killed at any moment. When it is started again with the same folder, it goes on from
the results there.
"""

import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from swarm_engine.accounts import least, repeated
from swarm_engine.attempts import Attempt, slice_keys
from swarm_engine.journal import Entries, Journal
from swarm_engine.limits import limit_reached
from swarm_engine.slicing import has_failed, missing_cells
from swarm_engine.steps import CellsFailed, Exhausted, Round, Wait, Work, next_plan, next_work
from swarm_wire import names
from swarm_wire.messages import (
    ArtifactHeader,
    Assignment,
    CallMade,
    Ending,
    PlanEnd,
    PlanOutcome,
    Result,
    RunRequest,
    Task,
)
from swarm_wire.names import WorkerReason
from swarm_wire.rates import rate_limits
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import Scores
from swarm_wire.spending import NO_CALLS, Allowance, Booked, Usage
from swarm_wire.words import sentence
from swarm_worker.errors import SwarmError
from swarm_worker.local.documents import Manifest
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.limiter import LocalLimiter
from swarm_worker.local.processes import Ended, Processes
from swarm_worker.local.reasons import LocalReason
from swarm_worker.replay.call_sharing import Desk


class Watcher:
    """Receives the events of a run. Subclasses override what they need. Several threads call it, one at a time."""

    def opened(self, processes: Processes) -> None:
        """The driver has locked the journal's folder. `processes.stop` ends the run."""

    def start(self, manifest: Manifest, journal: Path, resumed: int, usage: Usage) -> None:
        """The run begins, or goes on with the results in the journal.

        Args:
            resumed: number of results in the journal. Their cost is `usage`.
        """

    def begin_anew(self, reason: str) -> None:
        """The journal belongs to another state of files, data or packages, so a new run begins."""

    def planning(self, round_: int, attempt: int = 1, why: str = "") -> None: ...
    def scattering(self, round_: int, attempt: int, cells: int, processes: int, why: str = "") -> None:
        """An attempt at the missing cells of a round begins.

        Args:
            why: the reason that ended the previous attempt.
        """

    def waiting(self, messages: Sequence[str], until: datetime) -> None:
        """All missing cells wait for services elsewhere, and no process runs until then."""

    def gathered(self, result: Result) -> None: ...
    def called(self, call: CallMade) -> None: ...
    def planned(self, scores: Scores) -> None: ...


class RunFailed(SwarmError):
    """The run ended without an artifact."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OfAnotherState(RunFailed):
    """The journal was made with other files, data or packages, so a new run is needed."""


class LimitReached(SwarmError):
    """A limit has ended the run. The message says which limit."""

    reason = LocalReason.LIMIT_REACHED


class Stopped(SwarmError):
    """The user stopped the run. Finished results are kept."""


class Driver:
    """One run in one folder.

    Args:
        workers: number of concurrent worker processes.

    Attributes:
        journal: the folder's journal.
        resumed: how many results the journal had at the beginning.
        paid_before: how many LM calls the run had paid for at the beginning.
    """

    def __init__(
        self, folder: JournalFolder, request: RunRequest, processes: Processes, watcher: Watcher, *, workers: int
    ) -> None:
        self._folder, self._request, self._processes, self._watcher = folder, request, processes, watcher
        self._swarm = request.spec.swarm.model_copy(update={"pods": workers})
        self._lock = threading.Lock()
        self.journal = Journal()
        self._goes_on = False
        for record in folder.records():
            self.journal.take(Entries.of([record]))
            self._goes_on = True
        self.resumed = len(self.journal.keys)
        self.paid_before = self.journal.usage.calls
        self._desk = Desk()
        self._limiter = LocalLimiter(rate_limits(request.spec, request.namespace, request.name))
        self._tasks: list[Task] = []
        self._is_late = False
        self._refused: Allowance | None = None

    def run(self) -> Record:
        """Runs to the end, and returns the ARTIFACT record. Raises RunFailed, or OfAnotherState."""
        with self._desk, self._limiter, self._clock():
            try:
                return self._rounds()
            except LimitReached as limit:
                return self._partial(str(limit))

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Within the block, processes are interrupted when the run's time is over."""
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
        """Returns the record of a partial artifact. Raises RunFailed if there is none, or if the spec wants none."""
        limits = self._request.spec.limits
        ending = {names.ENV_PARTIAL: Ending(why=why, limits=limits).to_json()}
        printed = [r for r in self._plan(len(self.journal.plans), NO_CALLS, ending) if r.kind is RecordKind.ARTIFACT]
        kept = "Finished results are kept: with a higher limit, the same command goes on from them."
        if not printed:
            raise RunFailed(LocalReason.LIMIT_REACHED, f"{sentence(why)} No candidate was complete by then. {kept}")
        report = ArtifactHeader.model_validate(printed[0].header).report
        if self._request.spec.distill is not None:
            why = f"{sentence(why)} With distill, no best program by then is published: it is one for models.teacher."
            raise RunFailed(LocalReason.LIMIT_REACHED, f"{why} {kept}")
        if report.refused or not limits.publish_partial:
            way = "spec.gate publishes none" if report.refused else "limits.publishPartial: true would write it"
            raise RunFailed(
                LocalReason.LIMIT_REACHED,
                f"{sentence(why)} The best program so far has {report.scores.best:g}; {way}. {kept}",
            )
        return printed[0]

    @property
    def _left(self) -> Allowance:
        """Returns the rest of the run's limits."""
        return Allowance.of(self._request.spec.limits).less(self.journal.accounts.total)

    def _raise_if_limited(self, *, lacks_cells: bool = False) -> None:
        """Raises LimitReached if a limit ends the run."""
        limits, spent = self._request.spec.limits, self.journal.accounts.total
        why = limit_reached(limits, spent, is_late=self._is_late, lacks_cells=lacks_cells, refused=self._refused)
        if why is not None:
            raise LimitReached(why)

    def _rounds(self) -> Record:
        while True:
            round_ = len(self.journal.plans)
            printed = self._plan(round_, self._left, {})
            end = next(PlanEnd.model_validate(record.header) for record in printed if record.kind is RecordKind.PLAN)
            self._watcher.planned(end.scores)
            if end.outcome is PlanOutcome.DONE:
                return next(record for record in printed if record.kind is RecordKind.ARTIFACT)
            tasks = [Task.model_validate(record.header) for record in printed if record.kind is RecordKind.TASK]
            # The PLAN record is written last. It proves to a restarted driver that all tasks are there.
            self._folder.put_tasks(round_, (r for r in printed if r.kind in (RecordKind.TASK, RecordKind.BLOB)))
            for record in printed:
                if record.kind is RecordKind.PLAN:
                    self._journal(record)
            self._scatter(round_, tasks)
            self._tasks = []

    def _plan(self, round_: int, left: Allowance, ending: Mapping[str, str]) -> list[Record]:
        """Runs a plan, and runs it again if it fails. Returns the records of the plan that ended well.

        Args:
            ending: environment variables of a plan that prints a partial artifact; empty for any other plan.
        """
        before = {names.ENV_TASKS_DIR: str(self._folder.tasks_folder(round_ - 1))} if round_ else {}
        ends, why = list[Ended](), ""
        while True:
            step = next_plan(self._swarm, [end.for_engine for end in ends], len(ends))
            if isinstance(step, Exhausted):
                raise RunFailed(ends[-1].reason, ends[-1].message)
            self._watcher.planning(round_, step.attempt, why)
            small = {} if step.runs_cells else {names.ENV_SMALL_WAVE: "0"}
            label = f"plan-{round_:04d}-{step.attempt}{'-partial' if ending else ''}"
            ended = self._process("plan", label, {**_allowance(left), **small, **before, **ending})
            ends.append(ended)
            if ended.reason == WorkerReason.SOURCE_CHANGED and self._goes_on and not ending:
                raise OfAnotherState(ended.reason, ended.message)
            if ended.is_done:
                self._goes_on = False
                return list(ended.transcript.records.values())
            if ended.is_terminal:
                raise RunFailed(ended.reason, ended.message)
            why = f"{ended.reason}: {ended.message}"
            if self._processes.is_stopped:
                raise Stopped
            if not ending:
                self._refused = left if ended.is_refused else None
                self._raise_if_limited()
                left = self._left

    def _scatter(self, round_: int, tasks: list[Task]) -> None:
        attempts, last = list[Attempt](), ""
        self._tasks = tasks
        while True:
            # The Round is made anew for each attempt, because the journal has new results.
            now = datetime.now(UTC)
            open_ = Round(self._request.run_id, round_, tasks, self.journal, self._swarm, self._left, now, attempts)
            if self._processes.is_stopped:
                raise Stopped
            self._raise_if_limited(lacks_cells=bool(open_.missing))
            if not open_.missing:
                return
            match next_work(open_):
                case Wait(until, messages):
                    self._watcher.waiting(messages, until)
                    self._wait(until)
                case CellsFailed(errors):
                    for error in errors:
                        self._journal(error)
                case Exhausted(number):
                    raise RunFailed(
                        LocalReason.ATTEMPTS_EXHAUSTED,
                        f"{len(open_.missing)} cells have no result after {number} attempts; the last process that "
                        f"failed said: {sentence(last)} Its output is in {self._folder.logs}. Run again to go on from "
                        "here.",
                    )
                case Work(assignment, strikes, allowance):
                    cells, slices = sum(len(keys) for keys in slice_keys(tasks, assignment.slices)), assignment.slices
                    processes = min(self._swarm.pods, len(slices))
                    self._watcher.scattering(round_, assignment.attempt, cells, processes, last)
                    ends = self._run_slices(assignment, allowance)
                    attempts.append(
                        Attempt(assignment, dict(strikes), {index: end.for_engine for index, end in ends.items()})
                    )
                    for ended in ends.values():
                        if ended.is_terminal:
                            raise RunFailed(ended.reason, ended.message)
                    alone = len(slices) == 1 and attempts[-1].was_refused
                    self._refused = allowance if alone else None
                    failed = [ended for ended in ends.values() if not (ended.is_done or ended.is_refused)]
                    last = f"{failed[-1].reason}: {failed[-1].message}" if failed else ""
                    if failed and assignment.trains:
                        last += f". See the trainer's output in train-{round_:04d}-{assignment.attempt}-0000.log"

    def _wait(self, until: datetime) -> None:
        """Waits while no process runs, unless somebody stops the run or its time is over."""
        while datetime.now(UTC) < until and not (self._processes.is_stopped or self._is_late):
            time.sleep(min(1.0, max(0.0, (until - datetime.now(UTC)).total_seconds())))

    def _run_slices(self, assignment: Assignment, allowance: Allowance) -> dict[int, Ended]:
        """Runs the processes of one attempt. Returns how each ended, by the index of its slice."""
        work = self._folder.put_assignment(assignment)
        round_, attempt = assignment.round, assignment.attempt
        ended: dict[int, Ended] = {}

        def run(index: int) -> None:
            missing = missing_cells(self._tasks, self.journal.keys, self.journal.failed)
            if not missing or any(other.is_terminal for other in list(ended.values())):
                return
            extra = {
                names.ENV_TASKS_DIR: str(self._folder.tasks_folder(round_)),
                names.ENV_WORK_DIR: str(work),
                names.ENV_INDEX: str(index),
                **self._desk.environment,
                **_allowance(allowance),
            }
            command = "train" if assignment.trains else "work"
            ended[index] = self._process(command, f"{command}-{round_:04d}-{attempt}-{index:04d}", extra)
            if ended[index].is_terminal:
                self._processes.interrupt()  # the run ends, so it does not need the other slices

        with ThreadPoolExecutor(self._swarm.pods) as pool:
            list(pool.map(run, range(len(assignment.slices))))
        return dict(sorted(ended.items()))

    def _process(self, command: str, label: str, extra: Mapping[str, str]) -> Ended:
        """Runs one process, and journals its results and its spending as they arrive."""
        account = f"{label}-{secrets.token_hex(4)}"  # unique, since a killed driver may have used the label

        def journal(record: Record) -> None:
            if record.kind in (RecordKind.RESULT, RecordKind.PENDING, RecordKind.CALL, RecordKind.BOUND):
                self._journal(record)
            elif record.kind is RecordKind.BOOKED:
                self._book(Booked.model_validate({**record.header, "account": account, "final": False}))

        ended = self._processes.run(command, label, {**extra, **self._limiter.environment}, journal)
        found = Journal()
        found.take(Entries.of(ended.transcript.records.values()))
        lost = repeated(ended.commit, [found.usage], self._swarm.threads_per_pod)
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
            new = Entries.of([record])
            # Only the first result of a key is written. So the order in which shards are read does not matter.
            if not self.journal.lacks(new):
                return
            self.journal.take(new, at=datetime.now(UTC))
            self._folder.append(record)
            if record.kind is RecordKind.RESULT:
                self._watcher.gathered(Result.model_validate(record.header))
                if new.failed and any(has_failed(task, self.journal.failed) for task in self._tasks):
                    self._processes.interrupt()  # a failed task may make other cells unnecessary
            elif record.kind is RecordKind.CALL:
                self._watcher.called(CallMade.model_validate(record.header))


def _allowance(allowance: Allowance) -> dict[str, str]:
    """Returns the environment variable that tells a process its allowance; none if there is no limit."""
    return {names.ENV_ALLOWANCE: allowance.to_json()} if allowance.is_limited else {}
