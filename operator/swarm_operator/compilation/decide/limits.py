"""What a run may still spend of spec.limits, and whether one of these limits ends the run (pure)."""

from datetime import datetime, timedelta

from swarm_engine.limits import limit_reached
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.roles import DEALT
from swarm_wire.names import WorkerReason
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Allowance


def current(s: Situation) -> Limits:
    """Returns the limits of the current spec, since a change of limits does not begin a new run."""
    return s.world.compilation.spec.limits if s.world.compilation.spec else Limits()


def left(s: Situation) -> Allowance:
    """Returns what the run may still spend. The answer is correct only while none of the run's pods is running."""
    return Allowance.of(current(s)).less(s.world.journal.accounts.total)


def time_left(s: Situation) -> float | None:
    """Returns the seconds until limits.wallClock ends the run; None if that limit is not set."""
    seconds, status = current(s).wall_clock, s.world.compilation.status
    if seconds is None:
        return None
    began = status.start_time if status.run_id == s.world.compilation.run_id else None
    start = datetime.fromisoformat(began) if began else s.now
    return (start + timedelta(seconds=seconds) - s.now).total_seconds()


def reached(s: Situation) -> str | None:
    """Returns a text for people about the limit that ends the run now; None if no limit ends it."""
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
    """Whether the pod ended because its allowance was too small for another LM call."""
    return pod.commit is not None and pod.commit.reason == WorkerReason.ALLOWANCE_SPENT


def _alone(s: Situation) -> Pod | None:
    """Returns the pod of the last attempt, if that attempt had only one pod.

    Its allowance was all that the run had left.
    """
    jobs = s.jobs_of(s.planned - 1, *DEALT) if s.missing else s.jobs_of(s.planned, ObjectKind.PLAN)
    last = jobs[max(jobs)] if jobs else None
    if last is None or last.completions > 1 or last.is_partial:
        return None
    return next((pod for pod in s.pods if pod.job_uid == last.uid), None)
