"""When cells of a task fail, the worker decides which cells it still starts."""

import pytest

from swarm_wire.messages import Cell, EffectKind, Outcome, Result, Task
from swarm_wire.records import Record, RecordKind
from swarm_worker.replay.effects.failures import Failures

CELLS = 60


def task(max_errors: int | None) -> Task:
    cells = [Cell(key=f"{number:032x}") for number in range(CELLS)]
    return Task(digest="a" * 32, kind=EffectKind.WAVE, payload="b" * 32, cells=cells, max_errors=max_errors)


def failed(number: int) -> Record:
    result = Result(key=f"{number:032x}", outcome=Outcome.ERROR, error="ValueError")
    return Record(RecordKind.RESULT, result.to_header())


@pytest.mark.parametrize(
    ("max_errors", "own", "errors", "is_doubtful", "is_over"),
    [
        (None, 30, 30, False, False),
        (10, 30, 4, False, False),
        (10, 30, 5, True, False),
        (10, 30, 10, True, True),
        (10, 60, 9, False, False),
        (10, 60, 10, True, True),
        (10, 3, 1, False, False),  # one error says too little about the other 57 cells
        (10, 3, 2, True, False),
        (1, 30, 1, False, True),
    ],
)
def test_a_task_is_doubtful_if_it_would_fail_at_the_observed_error_rate(
    max_errors: int | None, own: int, errors: int, is_doubtful: bool, is_over: bool
) -> None:
    failures, of = Failures({"a" * 32: own}), task(max_errors)
    for number in range(errors):
        failures.note(of, failed(number))
    assert (bool(failures.doubtful), failures.is_over) == (is_doubtful, is_over)
