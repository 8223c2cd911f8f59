"""Accounting of attempts: which cells had how many, and when the next may begin. Pure."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.world import AssignmentMap, Pod
from swarm_wire.slicing import isolated, slice_keys

LONGEST_RETRY_DELAY: Final = 300.0


def backoff(s: Situation, strikes: int, pods: Iterable[Pod]) -> float:
    """Seconds until the next attempt may begin, after failures that the pods brought on themselves."""
    ends = [pod.finished_at for pod in pods if pod.failed_on_its_own and pod.finished_at is not None]
    if not strikes or not ends:
        return 0.0
    delay = min(s.settings.retry_delay * 2.0 ** (strikes - 1), LONGEST_RETRY_DELAY)
    return min(max(0.0, (max(ends) + timedelta(seconds=delay) - s.now).total_seconds()), delay)


def untouched(s: Situation, given: AssignmentMap) -> bool:
    """Whether no cell of an assignment has a result: then its Job was never created, or did nothing."""
    return not any(
        key in s.world.journal.keys for keys in slice_keys(s.tasks or (), given.assignment.slices) for key in keys
    )


def struck(s: Situation, given: AssignmentMap) -> dict[str, int]:
    """Strikes of cells after an attempt: one more for each whose pod ended on its own without a result for it."""
    guilty = {
        pod.index
        for pod in s.pods_of(ObjectKind.WORK, given.assignment.round)
        if pod.attempt == given.assignment.attempt and pod.failed_on_its_own
    }
    strikes = dict(given.strikes)
    for index, keys in enumerate(slice_keys(s.tasks or (), given.assignment.slices)):
        if index in guilty:
            for key in keys:
                strikes[key] = strikes.get(key, 0) + 1
    return {key: count for key, count in strikes.items() if key not in s.world.journal.keys}


def poisoned(s: Situation, given: AssignmentMap, strikes: Mapping[str, int]) -> dict[str, str]:
    """Cells that ended their pods in each of their attempts, in the last one with no other cell beside them -> how."""
    ends = {
        pod.index: f"{pod.commit.reason}: {pod.commit.message}" if pod.commit else pod.failure
        for pod in s.pods_of(ObjectKind.WORK, given.assignment.round)
        if pod.attempt == given.assignment.attempt and pod.ended_by_cell
    }
    cells = s.world.journal.plans[given.assignment.round].end.cells
    found = isolated(slice_keys(s.tasks or (), given.assignment.slices), ends, cells, len(s.missing))
    return {key: how for key, how in found.items() if strikes.get(key, 0) >= s.max_attempts}
