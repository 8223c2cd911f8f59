"""At every single write of a run: the operator is killed before or after it, its answer is lost, it is sent twice."""

from collections.abc import Callable

import pytest

from faults import harm
from faults.kinds import every_kind
from faults.proxy import Fault
from faults.stage import Stage, Undisturbed

MOST_WRITES = 40
"""Of an undisturbed run. How many there are varies by a few: status writes of one second are one."""
SOME = (3, 12)
"""Runs that are done with every change."""


FAULTS: dict[str, Callable[[Stage], Fault]] = {
    "operator killed before a write": lambda stage: harm.before(stage.operator.kill),
    "operator killed after a write": lambda stage: harm.after(stage.operator.kill),
    "answer to a write lost": lambda stage: harm.unanswered,
    "write sent twice": lambda stage: harm.twice,
}
ROUNDS = 2
"""How often a run has each of them."""
RUNS = MOST_WRITES // ROUNDS


@pytest.mark.parametrize("first", [pytest.param(n, marks=[pytest.mark.some] * (n in SOME)) for n in range(RUNS)])
@every_kind(FAULTS)
def test_whatever_happens_to_a_write(stage: Stage, first: int) -> None:
    """A run has its faults evenly apart; all runs together have each kind at each write."""
    faults = list(FAULTS.values()) * ROUNDS
    for position, fault in enumerate(faults):
        number = (first + position * MOST_WRITES // len(faults)) % MOST_WRITES + 1
        stage.proxy.add(lambda call, number=number: call.number == number, fault(stage))  # type: ignore[misc]
    stage.begin()
    stage.holds()
    # The last writes are not needed always.
    assert sum(len(rule.hit) for rule in stage.proxy.rules) >= len(faults) - ROUNDS


@pytest.mark.some
def test_the_sweep_covers_every_write(reference: Undisturbed) -> None:
    assert 25 <= len(reference.writes) <= MOST_WRITES, [str(call) for call in reference.writes]


@pytest.mark.fault("operator killed after every write")
def test_one_write_in_each_life(stage: Stage) -> None:
    rule = stage.proxy.add(lambda call: call.writes, harm.after(stage.operator.kill), times=None)
    stage.begin()
    stage.over(seconds=900)
    rule.times = 0
    stage.holds()


@pytest.mark.fault("answer to every write lost")
def test_no_write_is_ever_answered(stage: Stage) -> None:
    rule = stage.proxy.add(lambda call: call.writes, harm.unanswered, times=None)
    stage.begin()
    stage.over()
    rule.times = 0
    stage.holds()
