"""A worker notices cells that take longer than spec.limits.cellSeconds."""

import faulthandler
from math import inf

import pytest

from swarm_worker.replay.cell_timer import Watch


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("weights", "passed", "late", "only_late"),
    [
        ([], 100, 0, False),
        ([1], 9, 0, False),
        ([1], 11, 1, True),
        ([1, 3], 11, 1, False),
        ([1, 3], 31, 2, True),
    ],
)
def test_a_cell_is_late_only_if_it_takes_longer_than_its_time(
    weights: list[int], passed: float, late: int, only_late: bool
) -> None:
    clock = Clock()
    watch = Watch(10, clock)
    cells = [watch.timed(weight) for weight in weights]
    for cell in cells:
        cell.__enter__()
    clock.now += passed
    try:
        assert (watch.late, watch.only_late) == (late, only_late)
    finally:
        for cell in cells:
            cell.__exit__(None, None, None)
    assert (watch.late, watch.only_late) == (0, False)


@pytest.mark.parametrize("seconds", [1, 2**31 - 1, inf])
@pytest.mark.parametrize("weight", [1, 2**31 - 1])
def test_any_number_of_seconds_is_accepted_as_the_time_of_a_cell(seconds: float, weight: int) -> None:
    with Watch(seconds).timed(weight):
        pass
    faulthandler.cancel_dump_traceback_later()
