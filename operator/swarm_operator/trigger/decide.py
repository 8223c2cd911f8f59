"""Decides whether a cause begins a run, and what the status says (pure).

All state is in the cluster, so a pass may stop anywhere. The name of a cause is an annotation of the Compilation, so a
cause whose run has begun is known even if the operator died before it wrote the status.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from swarm_operator.compilation.api import ConditionType
from swarm_operator.compilation.decide.conditions import Truth, conditions, timestamp
from swarm_operator.compilation.model.actions import Event
from swarm_operator.trigger import causes
from swarm_operator.trigger.api import Reason
from swarm_operator.trigger.causes import Cause
from swarm_operator.trigger.spec import TriggerSpec
from swarm_operator.trigger.status import MOST_RUNS, RUNS, CauseStatus, RunStatus, TriggerStatus
from swarm_operator.trigger.world import World

DAY = timedelta(hours=24)
WORKS: Mapping[ConditionType, Truth] = {ConditionType.READY: "True"}
STALLED: Mapping[ConditionType, Truth] = {ConditionType.READY: "False", ConditionType.STALLED: "True"}
LEAST_USD = 0.000001
"""A budget with less than this is spent."""


@dataclass(frozen=True)
class StartRun:
    """Write the Compilation with an annotation that requests a run.

    Attributes:
        limit_usd: the run's limits.costUSD; None without a budget.
        reuses: whether the run reuses what earlier runs have paid for.
    """

    cause: Cause
    limit_usd: float | None
    reuses: bool


@dataclass(frozen=True)
class Decision:
    """What a pass writes: first the Compilation, then the status, then the events."""

    action: StartRun | None = None
    status: TriggerStatus | None = None
    events: tuple[Event, ...] = ()
    wake_up: float | None = None


def refused(world: World, now: datetime, message: str) -> Decision:
    """Returns the decision that reports a Compilation which the API server refuses."""
    return Decision(status=_status(world, now, Reason.NOT_ALLOWED, f"{message} It is tried again."))


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
    spec, runs = world.spec, history(world, now)
    next_time, last = causes.upcoming(spec.schedules, now), world.status.last
    due = causes.due(spec.schedules, _handled(world, runs, now), now)
    outcome = _outcome(world, spec, runs, due, now) if due else None
    if due and outcome:
        last = CauseStatus(cause=str(due), time=timestamp(due.at), outcome=outcome.reason, message=outcome.message)
    paid = round(spent(runs, (due.at if due else now) - DAY), 6)
    reason = Reason.SUSPENDED if spec.suspend else Reason.WAITING
    says = (
        "spec.suspend is true: no cause begins a run." if spec.suspend else f"the next cause is at {_shown(next_time)}."
    )
    if last is not None:
        says += f" The last one, {last.cause}: {last.message}"
    status = _status(world, now, reason, says, runs).model_copy(
        update={
            "next_time": None if spec.suspend else timestamp(next_time),
            "last": last,
            "spent_usd": None if spec.daily_budget_usd is None else paid,
        }
    )
    events = (_event(due, outcome),) if due and outcome else ()
    return Decision(outcome.action if outcome else None, status, events, (next_time - now).total_seconds())


def history(world: World, now: datetime) -> list[RunStatus]:
    """Returns the latest runs, the newest first, with what the Compilation says about its current run."""
    before, current = world.status.runs, world.owned.run if world.owned else None
    if current is not None and (known := next((run for run in before if run.run_id == current.run_id), None)):
        costs = [cost for cost in (known.cost_usd, current.cost_usd) if cost is not None]
        kept = {"cause": current.cause or known.cause, "cost_usd": max(costs, default=None)}
        current = current.model_copy(update=kept)
    others = [_closed(run, now) for run in before if current is None or run.run_id != current.run_id]
    runs = others if current is None else [current, *others]
    recent = [run for run in runs[RUNS:] if _began(run) > now - DAY - timedelta(hours=1)]
    return [*runs[:RUNS], *recent][:MOST_RUNS]


def _closed(run: RunStatus, now: datetime) -> RunStatus:
    """Returns a run that is no longer the Compilation's. If it did not end by itself, it may have spent its limit."""
    if run.completion_time is not None:
        return run
    costs = [cost for cost in (run.cost_usd, run.limit_usd) if cost is not None]
    return run.model_copy(update={"completion_time": timestamp(now), "cost_usd": max(costs, default=None)})


def _handled(world: World, runs: list[RunStatus], now: datetime) -> datetime:
    """Returns until when all causes are handled."""
    if world.status.observed_generation not in (-1, world.generation):
        return now  # a changed schedule begins no run for a time that was before the change
    handled = [world.created_at, *(_cause_time(run) for run in runs if run.cause)]
    if world.status.last is not None:
        handled.append(_moment(world.status.last.time))
    # If the clock was ahead and was set back, handled causes lie in the future. They must not hide those before them.
    return max(moment for moment in handled if moment <= now or moment == world.created_at)


def spent(runs: list[RunStatus], since: datetime) -> float:
    """Returns what the runs have spent in USD that began after `since`."""
    return sum(run.cost_usd or 0.0 for run in runs if _began(run) > since)


def _began(run: RunStatus) -> datetime:
    """Returns the time of a run's cause; without a cause, its beginning."""
    return _cause_time(run) if run.cause else _moment(run.start_time)


def _cause_time(run: RunStatus) -> datetime:
    try:
        return _moment(run.cause.rpartition(" ")[2])
    except ValueError:  # somebody has edited the status
        return _moment(run.start_time)


def _outcome(world: World, spec: TriggerSpec, runs: list[RunStatus], due: Cause, now: datetime) -> _Outcome:
    owned, name = world.owned, str(due)
    if (owned and owned.cause == name) or any(run.cause == name for run in runs):
        return _Outcome(Reason.STARTED, "its run has begun.")
    if spec.suspend:
        return _Outcome(Reason.SUSPENDED, "no run began, since spec.suspend is true.")
    late = (now - due.at).total_seconds()
    if spec.starting_deadline_seconds is not None and late > spec.starting_deadline_seconds:
        return _Outcome(
            Reason.MISSED, f"no run began: the operator saw it {late:.0f} s late (startingDeadlineSeconds)."
        )
    if owned and not owned.is_over and spec.concurrency_policy == "Forbid":
        return _Outcome(Reason.STILL_RUNNING, "no run began: the one before was under way (concurrencyPolicy: Forbid).")
    began = _moment(runs[0].start_time) if runs else None
    if began is not None and (now - began).total_seconds() < spec.min_interval_seconds:
        return _Outcome(Reason.TOO_SOON, f"no run began: the run before began at {_shown(began)} (minIntervalSeconds).")
    paid = spent(runs, due.at - DAY)
    left = None if spec.daily_budget_usd is None else spec.daily_budget_usd - paid
    if left is not None and left < LEAST_USD:
        told = f"{paid:g} of {spec.daily_budget_usd:g} USD"
        return _Outcome(Reason.BUDGET_SPENT, f"no run began: 24 hours have spent {told} (dailyBudgetUSD).")
    own = spec.template.spec.limits.cost_usd
    limit = left if left is None or own is None else min(left, own)
    action = StartRun(due, limit, reuses=spec.reuse == "answers")
    return _Outcome(Reason.STARTED, "its run has begun.", action)


def _status(
    world: World, now: datetime, reason: Reason, message: str, runs: list[RunStatus] | None = None
) -> TriggerStatus:
    is_stalled = reason in (Reason.INVALID_SPEC, Reason.NAME_TAKEN, Reason.NOT_ALLOWED)
    truths: Mapping[ConditionType, Truth] = STALLED if is_stalled else WORKS
    return world.status.model_copy(
        update={
            "conditions": conditions(world.status, truths, reason, message, world.generation, now),
            "observed_generation": world.generation,
            "runs": history(world, now) if runs is None else runs,
            "next_time": None,
        }
    )


def _event(due: Cause, outcome: _Outcome) -> Event:
    kind = "Normal" if outcome.reason in (Reason.STARTED, Reason.SUSPENDED) else "Warning"
    return Event(kind, outcome.reason, f"{due}: {outcome.message}", str(due))  # type: ignore[arg-type]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
