"""Operator and local driver decide alike: each passes the same run, whose processes end in the same ways."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from support.operator_specs import spec
from support.worlds import (
    ARTIFACT,
    CLAIMED,
    KEY,
    NOW,
    RUN_ID,
    assignment,
    compilation,
    compiled,
    job,
    planned,
    pod,
    results,
    run,
    shard,
    task,
    world,
)
from swarm_engine.attempts import slice_keys
from swarm_operator.compilation.api import ConditionType, ObjectKind
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import KeepAssignment, KeepRecords, StartJob
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import AssignmentMap
from swarm_operator.settings import Settings
from swarm_wire import names
from swarm_wire.messages import (
    ArtifactHeader,
    Assignment,
    Commit,
    Ending,
    Outcome,
    PlanEnd,
    PlanOutcome,
    Result,
    RunRequest,
)
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.pod_output import Transcript
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Allowance, Booked, Spending, Usage
from swarm_worker.local.driver import Driver, RunFailed, Watcher
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.processes import Ended, Processes

Step = tuple[Any, ...]
"""A step of a run is one of these tuples:
"plan", round, attempt, whether it may run cells, calls that it may make;
"best so far", round, calls (of the plan after a limit was reached);
"work", round, attempt, calls that each process may make, items of each process;
the reason of the run's end.
"""


@dataclass(frozen=True)
class End:
    """Says how a process ends.

    Attributes:
        code: the exit code, or the negative number of a signal.
        items: the number of its cells that have a result at its end.
        calls: the LM calls that it paid for.
    """

    code: int
    reason: str | None = None
    items: int = 0
    calls: int = 0
    outcome: Outcome = Outcome.OK

    @property
    def commit(self) -> Commit | None:
        if self.code < 0:
            return None
        return Commit(
            nonce="n", exit_code=self.code, reason=self.reason, message="so", spent=Spending(calls=self.calls)
        )


ALL = 1000
DONE = End(0, items=ALL, calls=2)
WRONG = End(0, items=ALL, outcome=Outcome.ERROR)
KILLED = End(-9)
KILLED_AFTER_ONE = End(-9, items=1)
HANGS = End(ExitCode.FAILED, WorkerReason.CELL_TIMEOUT)
FAILED = End(ExitCode.FAILED, WorkerReason.WORKER_FAILED)
STOPPED = End(ExitCode.INTERRUPTED)
REFUSED = End(ExitCode.INTERRUPTED, WorkerReason.ALLOWANCE_SPENT, calls=1)
NO_DATA = End(ExitCode.BAD_INPUT, WorkerReason.DATA_INVALID)

Script = Mapping[str, End]
"""Maps `plan ROUND.ATTEMPT` or `work ROUND.ATTEMPT.INDEX` to the end of this process. All other processes end without
an error."""


def item(key: str) -> int:
    return int(key[16:], 16)


class OnCluster:
    """Lets the operator pass a run whose pods end at once, as the script says."""

    def __init__(self, given: dict[str, Any], script: Script, cells: int, max_errors: int | None) -> None:
        self._given, self._spec, self._script = given, CompilationSpec.model_validate(given), script
        self._task = task(0, cells, max_errors=max_errors)
        self._shards: list[Shard] = []
        self._assignments: list[AssignmentMap] = []
        self._jobs: list[Job] = []
        self._pods: list[Pod] = []
        self.steps: list[Step] = []

    def steps_of_a_run(self) -> list[Step]:
        given = compilation(self._given)
        request = run().request.model_copy(update={"spec": self._spec})
        ours = replace(run(), request=request)
        for _ in range(60):
            seen = world(
                *self._shards,
                compilation=given,
                run=ours,
                assignments=self._assignments,
                jobs=tuple(self._jobs),
                pods=tuple(self._pods),
                artifact=CLAIMED,
            )
            decision = decide(seen, NOW, Settings(retry_delay=0))
            ready = decision.status.condition(ConditionType.READY) if decision.status else None
            if ready is not None and (ready.status == "False" or ready.reason == "Publishing"):
                return [*self.steps, ("Done" if ready.reason == "Publishing" else ready.reason,)]
            for action in decision.actions:
                match action:
                    case KeepAssignment(written, strikes):
                        found = assignment(written.round, written.attempt, strikes=dict(strikes))
                        self._assignments.append(replace(found, assignment=written))
                    case StartJob():
                        self._start(action)
                    case KeepRecords(records=records):
                        failed = tuple(item(record.header["key"]) for record in records)
                        self._shards.append(results(0, *failed, failed=failed))
        raise AssertionError("no end")

    def _start(self, order: StartJob) -> None:
        name = f"{order.role} {order.round}.{order.attempt}"
        if order.role is ObjectKind.PLAN:
            may_run = names.ENV_SMALL_WAVE not in order.environment
            step = ("best so far", order.round) if order.partial else ("plan", order.round, order.attempt, may_run)
            self.steps.append((*step, order.allowance.calls))
            ends = [self._script.get(name, DONE)]
            if ends[0].code == 0 and order.partial:
                ending = Ending(why=order.partial, limits=self._spec.limits)
                closing = PlanEnd(outcome=PlanOutcome.PARTIAL, round=order.round, binding="b", ending=ending)
                self._shards.append(shard(ObjectKind.RESULTS, order.round, order.attempt, plans=(closing,)))
            elif ends[0].code == 0:
                self._shards += planned(0, self._task) if order.round == 0 else [compiled(order.round)]
        else:
            [given] = [found.assignment for found in self._assignments if found.assignment.attempt == order.attempt]
            keys = slice_keys([self._task], given.slices)
            shown = [list(map(item, slice_)) for slice_ in keys]
            self.steps.append(("work", order.round, order.attempt, order.allowance.calls, shown))
            ends = [self._script.get(f"{name}.{index}", DONE) for index in range(len(keys))]
            for end, slice_ in zip(ends, keys, strict=True):
                finished = tuple(map(item, slice_[: end.items]))
                failed = finished if end.outcome is Outcome.ERROR else ()
                if finished:
                    found = results(0, *finished, failed=failed)
                    self._shards.append(replace(found, results=dict.fromkeys(found.results, Usage(calls=1))))
        made = job(order.role, order.round, order.attempt, len(ends), allowance=order.allowance, finished=True)
        self._jobs.append(made)
        for index, end in enumerate(ends):
            code = 128 - end.code if end.code < 0 else end.code
            ended = pod(made, index, exit_code=code, commit=end.commit, allowance=order.allowance)
            self._pods.append(ended)
            booked = Booked(account=ended.account, spent=Spending(calls=end.calls), final=True)
            self._shards.append(shard(ObjectKind.RESULTS, order.round, order.attempt, 500 + index, booked=(booked,)))


class OnLaptop:
    """Lets the local driver pass a run whose processes end as the script says."""

    def __init__(self, given: dict[str, Any], script: Script, cells: int, max_errors: int | None) -> None:
        self._spec, self._script = CompilationSpec.model_validate(given), script
        self._task = task(0, cells, max_errors=max_errors)
        self.steps: list[Step] = []

    def steps_of_a_run(self, root: Path) -> list[Step]:
        folder = JournalFolder(root)
        for path in (folder.journal, folder.logs):
            path.mkdir(parents=True)
        request = RunRequest(run_id=RUN_ID, name=KEY.name, spec=self._spec)
        driver = Driver(folder, request, _Scripted(self), Watcher(), workers=self._spec.swarm.pods)
        try:
            driver.run()
        except RunFailed as error:
            return [*self.steps, (error.reason,)]
        return [*self.steps, ("Done",)]

    def run(self, command: str, label: str, extra: Mapping[str, str], on_record: Callable[[Record], None]) -> Ended:
        _, round_, attempt, *index = label.split("-")
        name = f"{command} {int(round_)}.{int(attempt)}"
        calls = Allowance.model_validate_json(extra.get(names.ENV_ALLOWANCE, "{}")).calls
        if command == "plan":
            is_partial, may_run = names.ENV_PARTIAL in extra, names.ENV_SMALL_WAVE not in extra
            step = ("best so far", int(round_)) if is_partial else ("plan", int(round_), int(attempt), may_run)
            self.steps.append((*step, calls))
            end = DONE if is_partial else self._script.get(name, DONE)
            printed = [] if end.code or is_partial else self._plan(int(round_))
        else:
            given = Assignment.model_validate_json(
                (Path(extra[names.ENV_WORK_DIR]) / names.ASSIGNMENT_FILE).read_text()
            )
            keys = slice_keys([self._task], given.slices)
            if int(index[0]) == 0:
                shown = [list(map(item, slice_)) for slice_ in keys]
                self.steps.append(("work", int(round_), int(attempt), calls, shown))
            end = self._script.get(f"{name}.{int(index[0])}", DONE)
            printed = [
                Record(RecordKind.RESULT, Result(key=key, outcome=end.outcome, usage=Usage(calls=1)).to_header())
                for key in keys[int(index[0])][: end.items]
            ]
        for record in printed:
            on_record(record)
        return Ended(end.code, end.commit, Transcript(dict(enumerate(printed))), complete=end.code >= 0)

    def _plan(self, round_: int) -> Sequence[Record]:
        if round_ == 0:
            [_, closing] = planned(0, self._task)
            task_ = Record(RecordKind.TASK, self._task.to_header())
            return [task_, Record(RecordKind.PLAN, closing.plans[0].to_header(), b"[]")]
        end = PlanEnd(outcome=PlanOutcome.DONE, round=round_, binding="b")
        artifact = ArtifactHeader(sha256=ARTIFACT.sha256, report=ARTIFACT.report)
        return [Record(RecordKind.ARTIFACT, artifact.to_header()), Record(RecordKind.PLAN, end.to_header(), b"[]")]


class _Scripted(Processes):
    is_stopped = False

    def __init__(self, laptop: OnLaptop) -> None:
        self.run = laptop.run  # type: ignore[method-assign]

    def interrupt(self) -> None: ...


def every(attempts: int, end: End, processes: int = 8) -> Script:
    """Returns a script in which each process of the first attempts of round 0 ends in this way."""
    return {f"work 0.{attempt}.{index}": end for attempt in range(1, attempts + 1) for index in range(processes)}


TWO_PODS = {"swarm": {"pods": 2, "threadsPerPod": 2}}


@pytest.mark.parametrize(
    ("changes", "script", "cells", "end"),
    [
        ({}, {}, 4, "Done"),
        ({}, {"work 0.1.0": KILLED_AFTER_ONE}, 4, "Done"),
        ({}, {"work 0.1.0": KILLED, "work 0.2.0": KILLED, "work 0.3.0": KILLED}, 6, "Done"),
        ({}, {"work 0.1.0": HANGS, "work 0.2.0": HANGS, "work 0.3.0": HANGS}, 6, "Done"),
        ({}, every(3, KILLED), 4, "AttemptsExhausted"),
        ({"swarm": {**TWO_PODS["swarm"], "maxAttempts": 1}}, {"work 0.1.1": FAILED}, 4, "AttemptsExhausted"),
        ({}, every(2, STOPPED), 4, "Done"),
        ({}, every(13, STOPPED), 4, "AttemptsExhausted"),
        ({}, {"work 0.1.0": WRONG}, 4, "Done"),
        ({}, {"work 0.1.1": NO_DATA}, 4, "DataInvalid"),
        ({}, {"plan 0.1": KILLED, "plan 0.2": STOPPED}, 4, "Done"),
        ({}, {f"plan 0.{attempt}": FAILED for attempt in (1, 2, 3)}, 4, None),
        ({"swarm": {**TWO_PODS["swarm"], "maxAttempts": 5}}, {f"plan 1.{n}": FAILED for n in (1, 2, 3, 4)}, 4, "Done"),
        ({}, {"plan 0.1": NO_DATA}, 4, "DataInvalid"),
        ({"limits": {"lmCalls": 20}}, {}, 8, "Done"),
        ({"limits": {"lmCalls": 4}}, {"work 0.1.0": REFUSED, "work 0.1.1": REFUSED}, 8, "LimitReached"),
        ({"limits": {"lmCalls": 3}}, {"plan 0.1": REFUSED}, 4, "LimitReached"),
    ],
    ids=[
        "a good run",
        "a worker dies after a result",
        "a cell ends every process that runs it",
        "a cell never ends",
        "every worker dies",
        "one attempt is allowed",
        "workers are stopped twice",
        "workers are stopped for ever",
        "cells are errors",
        "a worker finds no data",
        "a plan dies, then is stopped",
        "every plan fails",
        "more attempts are allowed",
        "a plan finds no data",
        "within a limit",
        "a limit that two workers come to",
        "a limit that a plan comes to",
    ],
)
def test_operator_and_local_driver_decide_alike(
    tmp_path: Path, changes: dict[str, Any], script: Script, cells: int, end: str | None
) -> None:
    given = spec(**{**TWO_PODS, **changes}, image="worker:1")
    on_cluster = OnCluster(given, script, cells, None).steps_of_a_run()
    on_laptop = OnLaptop(given, script, cells, None).steps_of_a_run(tmp_path / "j")
    assert on_laptop[:-1] == on_cluster[:-1]
    assert end is None or (on_laptop[-1], on_cluster[-1]) == ((end,), (end,))


def test_after_a_failed_task_no_more_cells_of_its_round_run(tmp_path: Path) -> None:
    given = spec(**TWO_PODS, image="worker:1")
    script = {"work 0.1.0": WRONG, "work 0.1.1": KILLED}
    on_cluster = OnCluster(given, script, 4, max_errors=2).steps_of_a_run()
    assert OnLaptop(given, script, 4, max_errors=2).steps_of_a_run(tmp_path / "j") == on_cluster
    assert [step[:3] for step in on_cluster] == [("plan", 0, 1), ("work", 0, 1), ("plan", 1, 1), ("Done",)]
