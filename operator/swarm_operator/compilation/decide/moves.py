"""Defines Move, which is the answer of a rule, and functions with which several rules make a Move."""

from collections.abc import Iterable
from dataclasses import dataclass

from swarm_operator.compilation.api import AnyReason
from swarm_operator.compilation.decide.conditions import Finding, State
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.actions import Action, DropJob, ReleasePod
from swarm_operator.compilation.model.pods import Job, Pod


@dataclass(frozen=True)
class Move:
    """The answer of a rule. If its finding is None, the status stays as it is."""

    finding: Finding | None = None
    actions: tuple[Action, ...] = ()
    wake_up: float | None = None


def fail(reason: AnyReason, message: str) -> Move:
    # The next pass begins at once, since `tidy` deletes objects only after the status reports the failure.
    return Move(Finding(State.FAILED, reason, message), wake_up=0)


def give_up(s: Situation, reason: AnyReason, message: str, proof: Pod | None = None) -> Move:
    """Ends the run for a permanent reason. Before that, the journal takes the results that the run has paid for.

    Args:
        proof: the pod that shows the reason. This pod and its Job stay, and Kubernetes ends the Job's other pods.
    """
    if s.world.run is None or not any(pod.started for pod in s.live(s.pods)):
        return fail(reason, message)
    jobs = [job for job in s.jobs if proof is None or job.uid != proof.job_uid]
    return Move(Finding(State.RUNNING, reason, message), end(s, jobs), s.settings.gather_interval)


def under_way(s: Situation, finding: Finding) -> Move:
    """Returns the Move while pods are running: their output is left to later passes."""
    return Move(finding, release(s.world.harvest.settled), s.settings.gather_interval)


def end(s: Situation, jobs: Iterable[Job]) -> tuple[Action, ...]:
    """Deletes Jobs. Later passes write to the journal what the Jobs' pods have finished, and then release the pods."""
    return (*release(s.world.harvest.settled), *(DropJob(job.name, job.uid) for job in jobs))


def release(pods: Iterable[Pod]) -> tuple[Action, ...]:
    return tuple(ReleasePod(pod.name, pod.uid) for pod in pods if pod.held)
