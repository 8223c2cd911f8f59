"""Attempts at a plan or a round, and when the next attempt may begin (pure)."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from swarm_engine.attempts import Attempt, Ended
from swarm_engine.steps import Round
from swarm_operator.compilation.decide import limits
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.roles import DEALT
from swarm_operator.compilation.model.world import AssignmentMap, Run
from swarm_wire.names import ExitCode

LONGEST_RETRY_DELAY: Final = 300.0


def backoff(s: Situation, strikes: int, pods: Iterable[Pod], usual: float | None = None) -> float:
    """Returns the seconds until the next attempt may begin, if pods failed on their own.

    Args:
        usual: seconds after the last failure; None: they grow with the number of failures.
    """
    ends = [pod.finished_at for pod in pods if pod.failed_on_its_own and pod.finished_at is not None]
    if not strikes or not ends:
        return 0.0
    delay = usual or min(s.settings.retry_delay * 2.0 ** (strikes - 1), LONGEST_RETRY_DELAY)
    return min(max(0.0, (max(ends) + timedelta(seconds=delay) - s.now).total_seconds()), delay)


def ended(pod: Pod) -> Ended:
    """Returns how an ended pod ended, in the form that the rules of `swarm_engine` take."""
    how = f"{pod.commit.reason}: {pod.commit.message}" if pod.commit else pod.failure
    done = pod.commit is not None and pod.commit.exit_code == ExitCode.DONE
    return Ended(pod.failed_on_its_own, how if pod.ended_by_cell else "", limits.refused(pod), done)


def open_round(s: Situation, run: Run) -> Round:
    """Returns the last planned round, with every attempt at its cells."""
    number = s.planned - 1
    given = (found for (of, _), found in sorted(s.world.assignments.items()) if of == number)
    pods = s.pods_of(number, *DEALT)
    return Round(
        run_id=run.id,
        number=number,
        tasks=s.tasks or (),
        journal=s.world.journal,
        swarm=run.spec.swarm,
        left=limits.left(s),
        now=s.now,
        attempts=[_attempt(found, pods) for found in given],
    )


def _attempt(given: AssignmentMap, pods: Iterable[Pod]) -> Attempt:
    own = (pod for pod in pods if pod.attempt == given.assignment.attempt)
    # If an index of the Job has had two pods, the end of the pod that failed on its own counts.
    ends = {pod.index: ended(pod) for pod in sorted(own, key=lambda pod: pod.failed_on_its_own)}
    return Attempt(given.assignment, given.strikes, ends)
