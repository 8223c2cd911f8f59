"""Turns the Finding of a rule into the status that users read: conditions, and an event for each change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from swarm_operator.compilation.api import ConditionType, Reason
from swarm_operator.compilation.model.actions import Event
from swarm_operator.compilation.model.world import Compilation, World
from swarm_operator.compilation.status import (
    AllowedStatus,
    ArtifactStatus,
    CandidateStatus,
    Condition,
    DriftStatus,
    FailuresStatus,
    KindStatus,
    ProgressStatus,
    ScoresStatus,
    SourceStatus,
    SpendingStatus,
    Status,
    UsageStatus,
    WaitingStatus,
)
from swarm_wire.messages import PROGRAM_FILES, PlanOutcome
from swarm_wire.report import Failures, Scores, Verdict
from swarm_wire.spending import MICRO

Truth = Literal["True", "False", "Unknown"]

CANDIDATES: Final = 5
MESSAGE_LIMIT: Final = 2000


class State(StrEnum):
    """The state of a run, which decides its conditions."""

    RUNNING = "running"
    """The run is under way, waits or retries."""
    PUBLISHED = "published"
    FAILED = "failed"
    """The run has ended without an artifact. It stays so until a person changes the spec, which begins a new run."""
    KEPT = "kept"
    """The run has ended, and its winner was not good enough. The artifact of an earlier run stays published."""
    STUCK = "stuck"
    """Something outside the run keeps it from going on, and has done so for long. The run goes on when that changes."""
    SUSPENDED = "suspended"
    """A person has suspended the run, and it waits until a person resumes it."""


CONDITIONS: Final[Mapping[State, Mapping[ConditionType, Truth]]] = {
    State.RUNNING: {
        ConditionType.READY: "Unknown",
        ConditionType.RECONCILING: "True",
        ConditionType.SUCCEEDED: "Unknown",
    },
    State.PUBLISHED: {
        ConditionType.READY: "True",
        ConditionType.SUCCEEDED: "True",
    },
    State.FAILED: {
        ConditionType.READY: "False",
        ConditionType.STALLED: "True",
        ConditionType.SUCCEEDED: "False",
    },
    State.KEPT: {
        ConditionType.READY: "True",
        ConditionType.SUCCEEDED: "False",
    },
    State.STUCK: {
        ConditionType.READY: "False",
        ConditionType.STALLED: "True",
        ConditionType.SUCCEEDED: "Unknown",
    },
    State.SUSPENDED: {
        ConditionType.READY: "False",
        ConditionType.SUCCEEDED: "Unknown",
    },
}
"""The conditions of each state. A condition that a row lacks is absent from the status."""

OVER: Final = (State.PUBLISHED, State.KEPT, State.FAILED)
"""The states of a run that is over."""


@dataclass(frozen=True)
class Finding:
    """What the status says about the run.

    Attributes:
        reason: a Reason or a WorkerReason.
        waiting_since: when something outside the run began to keep it from going on; None if nothing does.
        published: the current artifact, if this run has made it.
    """

    state: State
    reason: str
    message: str
    waiting_since: datetime | None = None
    published: ArtifactStatus | None = None


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def settled(status: Status, run_id: str) -> State | None:
    """Returns how the run has ended, by its conditions; None if it is not over."""
    if status.run_id != run_id:
        return None
    truths = {type_: found.status for type_ in ConditionType if (found := status.condition(type_)) is not None}
    return next((state for state in OVER if truths == CONDITIONS[state]), None)


CALM: Final = {
    Reason.FETCHING,
    Reason.PLANNING,
    Reason.SCATTERING,
    Reason.QUEUED,
    Reason.SUPERSEDED,
    Reason.SUSPENDED,
    Reason.PUBLISHING,
    Reason.PUBLISHED,
    Reason.PUBLISHED_PARTIAL,
}
"""Reasons whose events have the type Normal. Events of other reasons have the type Warning."""


def ended_by_limit(status: Status) -> bool:
    ready = status.condition(ConditionType.READY)
    return ready is not None and ready.reason in (Reason.LIMIT_REACHED, Reason.PUBLISHED_PARTIAL)


def is_over(compilation: Compilation) -> bool:
    """Whether the run has ended for good. A run that a limit has ended may go on, so it has not ended for good."""
    status = compilation.status
    return settled(status, compilation.run_id) is not None and not ended_by_limit(status)


def make(world: World, finding: Finding, now: datetime) -> Status:
    """Returns the whole status that this pass writes."""
    compilation, before = world.compilation, world.compilation.status
    same_run = before.run_id == compilation.run_id
    over = finding.state in OVER
    ended = before.completion_time if same_run else None
    if ended and over and not world.journal.shards:
        # The figures in the status came from the run's journal, which is deleted. So the status keeps these figures.
        conditions = _conditions(before, finding, compilation.generation, now)
        return before.model_copy(update={"conditions": conditions, "observed_generation": compilation.generation})
    report = world.journal.artifact.report if world.journal.artifact else None
    waiting = None
    if finding.waiting_since is not None and not over:
        waiting = WaitingStatus(reason=finding.reason, since=timestamp(finding.waiting_since))
    elif same_run and not over and not _has_started(world):
        waiting = before.waiting  # another pod takes a while to find out that it waits for the same
    return Status(
        conditions=_conditions(before, finding, compilation.generation, now),
        observed_generation=compilation.generation,
        run_id=compilation.run_id,
        round=_round(world) if compilation.spec else None,
        progress=_progress(world),
        scores=ScoresStatus(**(report.scores if report else _known_scores(world)).model_dump()),
        usage=_usage(world),
        failures=FailuresStatus.of(report.failures if report else _known_failures(world)),
        candidates=[
            CandidateStatus(name=candidate.name, score=round(candidate.score, 2), bound=candidate.bound or None)
            for candidate in (report.candidates if report else [])[:CANDIDATES]
        ],
        drift=DriftStatus.of(report.drift) if report else None,
        artifact=finding.published or before.artifact,
        source=_source(world) or (before.source if same_run else None),
        waiting=waiting,
        start_time=before.start_time if same_run and before.start_time else timestamp(now),
        completion_time=(ended or timestamp(now)) if over else None,
        last_handled_requested_at=compilation.requested_at,
    )


def _has_started(world: World) -> bool:
    run_id = world.compilation.run_id
    return any(pod.has_begun and not pod.ended for pod in world.pods if pod.run_id == run_id)


def events(before: Status, after: Status) -> tuple[Event, ...]:
    """Returns an event if run, round, reason or readiness has changed.

    A repeated event has the same name, so it is written once.
    """
    old, new = before.condition(ConditionType.READY), after.condition(ConditionType.READY)
    if new is None:
        return ()
    was = (before.run_id, before.round, old.reason, old.status) if old else ()
    changed = was != (after.run_id, after.round, new.reason, new.status)
    calm: Literal["Normal", "Warning"] = "Normal" if new.reason in CALM else "Warning"
    ready = (Event(calm, new.reason, new.message, after.run_id or ""),) if changed else ()
    return (*ready, *_drifted(before, after))


def _drifted(before: Status, after: Status) -> tuple[Event, ...]:
    """Returns an event if the published program has just turned out to score worse than before."""
    found = after.drift
    if found is None or found.verdict != Verdict.WORSE or found == before.drift:
        return ()
    message = (
        f"the published program scores worse than before on the same {found.examples} examples: "
        f"{found.difference:+.1f} points ({found.low:+.1f} to {found.high:+.1f}). The model has probably changed "
        "behind its name."
    )
    return (Event("Warning", Reason.DRIFTED, message, after.run_id or ""),)


def _conditions(before: Status, finding: Finding, generation: int, now: datetime) -> list[Condition]:
    truths = dict(CONDITIONS[finding.state])
    if finding.state is State.SUSPENDED and before.artifact:
        truths[ConditionType.READY] = "True"
    return conditions(before, truths, finding.reason, finding.message, generation, now)


def conditions(
    before: KindStatus,
    truths: Mapping[ConditionType, Truth],
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> list[Condition]:
    """Returns conditions that all have this reason and message. One that was the same before keeps its time."""
    made = []
    for type_, truth in truths.items():
        old = before.condition(type_)
        made.append(
            Condition(
                type=type_,
                status=truth,
                observed_generation=generation,
                last_transition_time=old.last_transition_time if old and old.status == truth else timestamp(now),
                reason=reason,
                message=message[:MESSAGE_LIMIT],
            )
        )
    return made


def _usage(world: World) -> UsageStatus:
    journal, spec = world.journal, world.compilation.spec
    allowed = AllowedStatus.of(spec.limits) if spec else None
    # Somebody may have deleted accounts from the journal. The earlier status still has their sums.
    total = journal.accounts.total | world.compilation.told
    return UsageStatus(
        **journal.usage.model_dump(exclude={"micro_usd"}),
        cost_usd=None if journal.usage.micro_usd is None else _usd(journal.usage.micro_usd),
        wasted_calls=journal.artifact.report.wasted.calls if journal.artifact else None,
        reused_calls=journal.artifact.report.reused.calls if journal.artifact else None,
        repeated_calls=journal.accounts.repeated or None,
        spent=SpendingStatus(
            lm_calls=total.calls,
            total_tokens=total.tokens,
            cost_usd=None if allowed is None or allowed.cost_usd is None else _usd(total.micro_usd),
        )
        if allowed
        else None,
        allowed=allowed,
    )


def _usd(micro_usd: int) -> float:
    return round(micro_usd / MICRO, 6)


def _round(world: World) -> int:
    """Returns the number of the round that pods work on, or that is planned next."""
    plans = world.journal.plans
    if not plans:
        return 0
    last = max(plans)
    return last + (plans[last].end.outcome is PlanOutcome.BLOCKED and not world.journal.missing(last))


def _progress(world: World) -> ProgressStatus:
    """Counts the cells that have results. Only the last round may lack cells, since a round ends when it lacks none."""
    plans = world.journal.plans
    total = sum(planned.end.cells for planned in plans.values())
    done = max(0, total - len(world.journal.missing(max(plans, default=-1))))
    return ProgressStatus(cells_done=done, cells_total=total, text=f"{done}/{total}")


def _source(world: World) -> SourceStatus | None:
    snapshot = world.journal.snapshots.get(PROGRAM_FILES)
    return None if snapshot is None else SourceStatus(url=snapshot.url, commit=snapshot.revision)


def _known_failures(world: World) -> Failures | None:
    plans = world.journal.plans
    return plans[max(plans)].end.failures if plans else None


def _known_scores(world: World) -> Scores:
    plans = world.journal.plans
    return plans[max(plans)].end.scores if plans else Scores()
