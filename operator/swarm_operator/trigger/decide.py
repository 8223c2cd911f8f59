"""Decides whether a cause begins a run, and what the status says (pure).

All state is in the cluster, so a pass may stop anywhere. The name of a cause is an annotation of the Compilation, so a
cause whose run has begun is known even if the operator died before it wrote the status.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from swarm_operator.compilation.api import ConditionType
from swarm_operator.compilation.decide.conditions import Truth, conditions, timestamp
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import Event
from swarm_operator.trigger import causes, watches
from swarm_operator.trigger.api import Reason
from swarm_operator.trigger.causes import Cause
from swarm_operator.trigger.spec import TriggerSpec
from swarm_operator.trigger.status import MOST_RUNS, RUNS, CauseStatus, RunStatus, TriggerStatus, WatchStatus
from swarm_operator.trigger.watches import CONFIG_MAPS, DRIFT, FAILURES, GIT, MODELS, StartLook, Watching
from swarm_operator.trigger.world import LookJob, World

DAY = timedelta(hours=24)
WORKS: Mapping[ConditionType, Truth] = {ConditionType.READY: "True"}
STALLED: Mapping[ConditionType, Truth] = {ConditionType.READY: "False", ConditionType.STALLED: "True"}
BEGUN = "its run has begun."
IN_TRIAL = "its run has begun in Compilation '{}'."
CAUSES = {
    GIT: "a change of files in git",
    CONFIG_MAPS: "a change of a ConfigMap",
    DRIFT: "a change of a model behind its name",
    MODELS: "a new model, or another one in the template,",
}
NEW_MODEL = "newModel"
"""The kind of a cause that is a new model in the provider's list."""
RETRY_SECONDS = 300
"""Seconds until the operator tries again to create a Compilation that was refused."""
LEAST_USD = 0.000001
"""A budget with less than this is spent."""


@dataclass(frozen=True)
class StartRun:
    """Write the Compilation with an annotation that requests a run, or create one for a new model.

    Attributes:
        model: the new model; empty for a run of the trigger's own Compilation.
        content: digests of the watched content for which the run begins, by kind.
        limit_usd: the run's limits.costUSD; None without a budget.
        reuses: whether the run reuses what earlier runs have paid for.
    """

    cause: Cause
    content: Mapping[str, str]
    limit_usd: float | None
    reuses: bool
    model: str = ""


@dataclass(frozen=True)
class Decision:
    """What a pass writes: first the Compilation and the Jobs of looks, then the status, then the events.

    Attributes:
        over: looks whose results are in the status. Their Jobs are deleted last.
        wake_up: seconds until the next pass; None if only an event starts it.
    """

    action: StartRun | None = None
    looks: tuple[StartLook, ...] = ()
    status: TriggerStatus | None = None
    events: tuple[Event, ...] = ()
    over: tuple[LookJob, ...] = ()
    wake_up: float | None = None


def refused(world: World, now: datetime, message: str, status: TriggerStatus | None = None) -> TriggerStatus:
    """Returns the status that reports a Compilation, or a Job, which the API server refuses.

    Args:
        status: what the pass would have written.
    """
    told = _status(world, now, Reason.NOT_ALLOWED, f"{message} The operator tries again.")
    return told if status is None else status.model_copy(update={"conditions": told.conditions})


@dataclass(frozen=True)
class _Outcome:
    """What comes of a cause. If `action` is None, no run begins."""

    reason: Reason
    message: str
    action: StartRun | None = None


def decide(world: World, now: datetime) -> Decision:
    if world.deleting:
        return Decision()
    if world.spec is None:
        return Decision(status=_status(world, now, Reason.INVALID_SPEC, f"{world.problems}. Correct the spec."))
    if world.owned is not None and not world.owned.is_ours:
        message = f"Compilation {world.key.name!r} exists, and does not belong to this trigger. Rename one of the two."
        return Decision(status=_status(world, now, Reason.NAME_TAKEN, message))
    spec, runs, watching = world.spec, history(world, now), watches.follow(world, world.spec, now)
    last, next_time = _begun(world), causes.upcoming(spec.schedules, now)
    times = causes.due(spec.schedules, _handled(world, runs, last, now), now)
    # One run is for all causes. A change comes first, because its run is never left out, but only delayed.
    due = next(watching.changes(now), times) or _new_model(world, watching, now)
    outcome = _outcome(world, spec, runs, watching, due, now) if due else None
    if due and outcome:
        last = _told(last, due, outcome)
    begun = outcome.action if outcome else None
    paid = round(spent(runs, (due.at if due else now) - DAY), 6)
    status = _status(world, now, *_shown_state(spec, watching, next_time, last), runs).model_copy(
        update={
            "next_time": None if spec.suspend or next_time is None else timestamp(next_time),
            "last": last,
            "spent_usd": None if spec.daily_budget_usd is None else paid,
            "watches": list(_watched(watching, begun)),
        }
    )
    return Decision(
        begun,
        watching.starts,
        status,
        (_event(last),) if last is not None and last != world.status.last else (),
        watching.over,
        min(_waits(world, (next_time, watching.next_look), now), default=None),
    )


def _waits(world: World, times: Iterable[datetime | None], now: datetime) -> Iterator[float]:
    """Yields the seconds after which a pass may have something to do."""
    yield from ((time - now).total_seconds() for time in times if time)
    if world.refused:
        yield RETRY_SECONDS


def _new_model(world: World, watching: Watching, now: datetime) -> Cause | None:
    """Returns a new model for which a run is due. Models whose Compilation was refused come last."""
    if found := sorted(watching.new_models, key=lambda model: model in world.refused):
        return Cause(now, NEW_MODEL, found[0])
    return None


def _watched(watching: Watching, begun: StartRun | None) -> tuple[WatchStatus, ...]:
    if begun is None:
        return watching.statuses
    return watching.tried(begun.model) if begun.model else watching.begun()


def _begun(world: World) -> CauseStatus | None:
    """Returns the newest cause that is known: that of the status, or of a run that began when the operator died."""
    last = world.status.last
    for each in (world.owned, *world.trials.values()):
        time = _time_of(each.cause) if each else None
        if each and time is not None and not (last and (last.cause == each.cause or _moment(last.time) > time)):
            message = BEGUN if each is world.owned else IN_TRIAL.format(each.name)
            last = CauseStatus(cause=each.cause, time=timestamp(time), outcome=Reason.STARTED, message=message)
    return last


def _told(before: CauseStatus | None, due: Cause, outcome: _Outcome) -> CauseStatus:
    """Returns what the status says about a cause. A change that is delayed again keeps its time."""
    same = before is not None and due.revision and before.cause.startswith(f"{due.kind} {due.revision} ")
    if before is not None and same and before.outcome == outcome.reason:
        return before
    return CauseStatus(cause=str(due), time=timestamp(due.at), outcome=outcome.reason, message=outcome.message)


def _shown_state(
    spec: TriggerSpec, watching: Watching, next_time: datetime | None, last: CauseStatus | None
) -> tuple[str, str, bool]:
    """Returns the reason and the message of the condition Ready, and whether the trigger is Stalled."""
    failing = watching.failing
    if spec.suspend:
        reason, says = (
            Reason.SUSPENDED,
            "spec.suspend is true: no cause begins a run, and no pod looks at git or at models.",
        )
    elif failing is not None and failing.failures >= FAILURES:
        return str(failing.reason), f"{failing.message} The operator looks again.", True
    else:
        waits = [
            *([f"the next time of the schedules is {_shown(next_time)}"] if next_time else []),
            *(f"{CAUSES[watch.kind]} begins a run" for watch in watching.statuses),
        ]
        reason, says = Reason.WAITING, f"{'; '.join(waits)}."
        if failing is not None:
            says += f" {failing.reason}: {failing.message}"
    if last is not None:
        says += f" The last cause, {last.cause}: {last.message}"
    return reason, says, False


def history(world: World, now: datetime) -> list[RunStatus]:
    """Returns the latest runs, the newest first, with what the Compilations say about their current runs."""
    known = {run.run_id: run for run in world.status.runs}
    compilations = [world.owned, *world.trials.values()]
    current = {each.run.run_id: each.run for each in compilations if each is not None and each.run is not None}
    others = [_closed(run, now) for run in world.status.runs if run.run_id not in current]
    runs = [*(_updated(known.get(run_id), run) for run_id, run in current.items()), *others]
    runs.sort(key=lambda run: _moment(run.start_time), reverse=True)
    recent = [run for run in runs[RUNS:] if _began(run) > now - DAY - timedelta(hours=1)]
    return [*runs[:RUNS], *recent][:MOST_RUNS]


def _updated(known: RunStatus | None, run: RunStatus) -> RunStatus:
    """Returns what a Compilation says about its current run, with what the status knows of it."""
    if known is None:
        return run
    costs = [cost for cost in (known.cost_usd, run.cost_usd) if cost is not None]
    return run.model_copy(update={"cause": run.cause or known.cause, "cost_usd": max(costs, default=None)})


def _closed(run: RunStatus, now: datetime) -> RunStatus:
    """Returns a run that is no longer the Compilation's. If it did not end by itself, it may have spent its limit."""
    if run.completion_time is not None:
        return run
    costs = [cost for cost in (run.cost_usd, run.limit_usd) if cost is not None]
    return run.model_copy(update={"completion_time": timestamp(now), "cost_usd": max(costs, default=None)})


def _handled(world: World, runs: list[RunStatus], last: CauseStatus | None, now: datetime) -> datetime:
    """Returns until when all causes are handled."""
    if world.status.observed_generation not in (-1, world.generation):
        return now  # a changed schedule begins no run for a time that was before the change
    handled = [world.created_at, *(_cause_time(run) for run in runs if run.cause)]
    if last is not None:
        handled.append(_moment(last.time))
    # If the clock was ahead and was set back, handled causes lie in the future. They must not hide those before them.
    return max(moment for moment in handled if moment <= now or moment == world.created_at)


def spent(runs: list[RunStatus], since: datetime) -> float:
    """Returns what the runs have spent in USD that began after `since`."""
    return sum(run.cost_usd or 0.0 for run in runs if _began(run) > since)


def _began(run: RunStatus) -> datetime:
    """Returns the time of a run's cause; without a cause, its beginning."""
    return _cause_time(run) if run.cause else _moment(run.start_time)


def _cause_time(run: RunStatus) -> datetime:
    return _time_of(run.cause) or _moment(run.start_time)


def _time_of(cause: str) -> datetime | None:
    try:
        found = _moment(cause.rpartition(" ")[2])
    except ValueError:  # somebody has edited it
        return None
    return found if found.tzinfo else None


def _outcome(
    world: World, spec: TriggerSpec, runs: list[RunStatus], watching: Watching, due: Cause, now: datetime
) -> _Outcome:
    owned, new = world.owned, due.revision if due.kind == NEW_MODEL else ""
    none = "the new model waits" if new else "the change waits" if due.revision else "no run began"
    if spec.suspend:
        return _Outcome(Reason.SUSPENDED, f"{none}, since spec.suspend is true.")
    late = (now - due.at).total_seconds()
    if spec.starting_deadline_seconds is not None and late > spec.starting_deadline_seconds:
        return _Outcome(Reason.MISSED, f"{none}: the operator saw it {late:.0f} s late (startingDeadlineSeconds).")
    if new and not all(each.is_over for each in (owned, *world.trials.values()) if each):
        return _Outcome(Reason.STILL_RUNNING, f"{none}: the run before had not ended.")
    if new and (owned is None or not owned.has_published):
        return _Outcome(Reason.NOTHING_PUBLISHED, f"{none} until a run has published a program to compare with.")
    if new in world.refused:
        return _Outcome(Reason.NOT_ALLOWED, f"{none}: {world.refused[new]} The operator tries again.")
    if owned and not owned.is_over and spec.concurrency_policy == "Forbid":
        return _Outcome(Reason.STILL_RUNNING, f"{none}: the run before had not ended (concurrencyPolicy: Forbid).")
    own = [run for run in runs if new or run.compilation is None]
    began = _moment(own[0].start_time) if own else None
    if began is not None and (now - began).total_seconds() < spec.min_interval_seconds:
        return _Outcome(Reason.TOO_SOON, f"{none}: the run before began at {_shown(began)} (minIntervalSeconds).")
    # A run that this one replaces may still spend its whole limit.
    paid = spent([_closed(run, now) for run in runs], due.at - DAY)
    left = None if spec.daily_budget_usd is None else spec.daily_budget_usd - paid
    if left is not None and left < LEAST_USD:
        told = f"{paid:g} of {spec.daily_budget_usd:g} USD"
        return _Outcome(
            Reason.BUDGET_SPENT, f"{none}: runs of the last 24 hours may have spent {told} (dailyBudgetUSD)."
        )
    most = [left, spec.template.spec.limits.cost_usd, spec.models.cost_usd if new and spec.models else None]
    limit = min((usd for usd in most if usd is not None), default=None)
    # One run is for all changes, so it asks the models anew if one of the changes is a drift.
    drifted = any(change.kind == DRIFT for change in watching.changes(now))
    reuses = spec.reuse == "answers" and not drifted
    action = StartRun(due, watching.content, limit, reuses, new)
    where = IN_TRIAL.format(object_names.trial(world.key.name, new)) if new else BEGUN
    return _Outcome(Reason.STARTED, where, action)


def _status(
    world: World,
    now: datetime,
    reason: str,
    message: str,
    is_stalled: bool = True,
    runs: list[RunStatus] | None = None,
) -> TriggerStatus:
    truths: Mapping[ConditionType, Truth] = STALLED if is_stalled else WORKS
    return world.status.model_copy(
        update={
            "conditions": conditions(world.status, truths, reason, message, world.generation, now),
            "observed_generation": world.generation,
            "runs": history(world, now) if runs is None else runs,
            "next_time": None,
        }
    )


def _event(last: CauseStatus) -> Event:
    kind: Literal["Normal", "Warning"] = "Normal" if last.outcome in (Reason.STARTED, Reason.SUSPENDED) else "Warning"
    return Event(kind, last.outcome, f"{last.cause}: {last.message}", last.cause)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
