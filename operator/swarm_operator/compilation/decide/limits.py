"""What is left of spec.limits, and whether one of them ends the run. Pure."""

from datetime import datetime, timedelta

from swarm_engine.limits import limit_reached
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.world import Pod
from swarm_wire.names import WorkerReason
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Allowance


def current(s: Situation) -> Limits:
    """The limits in the current spec: a change of limits does not begin a new run."""
    return s.world.compilation.spec.limits if s.world.compilation.spec else Limits()


def left(s: Situation) -> Allowance:
    """What the run may still spend. Correct only while none of its pods runs."""
    return Allowance.of(current(s)).less(s.world.journal.accounts.total)


def time_left(s: Situation) -> float | None:
    """Seconds until limits.wallClock ends the run; None if it is not set."""
    seconds, status = current(s).wall_clock, s.world.compilation.status
    if seconds is None:
        return None
    began = status.start_time if status.run_id == s.world.compilation.run_id else None
    start = datetime.fromisoformat(began) if began else s.now
    return (start + timedelta(seconds=seconds) - s.now).total_seconds()


def reached(s: Situation) -> str | None:
    """The limit that ends the run now, in words for people; None if none does."""
    time, pod = time_left(s), _alone(s)
    is_refused = pod is not None and refused(pod) and not s.live([pod])
    return limit_reached(
        current(s),
        s.world.journal.accounts.total,
        is_late=time is not None and time <= 0,
        lacks_cells=bool(s.missing),
        refused=pod.allowance if pod is not None and is_refused else None,
    )


def refused(pod: Pod) -> bool:
    """Whether the pod ended because its allowance did not cover another LM call."""
    return pod.commit is not None and pod.commit.reason == WorkerReason.ALLOWANCE_SPENT


def _alone(s: Situation) -> Pod | None:
    """The pod of the last attempt, if it was the only one: then its allowance was everything that was left."""
    kind, round_ = (ObjectKind.WORK, s.planned - 1) if s.missing else (ObjectKind.PLAN, s.planned)
    jobs = s.jobs_of(kind, round_)
    last = jobs[max(jobs)] if jobs else None
    if last is None or last.completions > 1 or last.is_partial:
        return None
    return next((pod for pod in s.pods if pod.job_uid == last.uid), None)
