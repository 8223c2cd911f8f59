"""Which guesses are worth their risk."""

from typing import Any

import pytest

from support.wire import digest, plan_end, result
from swarm_worker.replay.guesses import BRAKE, WASTE, Guesses, allowance
from swarm_worker.replay.lookahead import Sighting
from swarm_worker.replay.store import Store

CELLS = 100
FULL = WASTE * CELLS


def guessing(round_: int, **cells: int) -> Any:
    """The end of a plan that guessed these: `_7=30` is number 7, of 30 cells."""
    guesses = {digest(int(name[1:])): count for name, count in cells.items()}
    return plan_end(round_, tasks=[digest(1000), *guesses], guesses=guesses)


ALLOWANCES: list[tuple[str, list[Any], list[int], float]] = [
    ("nothing was guessed", [], [], FULL),
    ("a guess was needed", [guessing(0, _1=90)], [1], FULL),
    ("some cells were not needed so far", [guessing(0, _1=15)], [], FULL),
    ("more cells were not", [guessing(0, _1=20)], [], BRAKE * FULL - 20),
    ("in several rounds", [guessing(0, _1=10), guessing(1, _2=8, _3=3)], [3], BRAKE * FULL - 18),
    ("most of the guesses were needed", [guessing(0, _1=90, _2=90, _3=5)], [1, 2], FULL),
    ("too many were not", [guessing(0, _1=90)], [], BRAKE * FULL - 90),
]


@pytest.mark.parametrize(("case", "plans", "needed", "cells"), ALLOWANCES, ids=[row[0] for row in ALLOWANCES])
def test_how_much_a_round_may_waste(case: str, plans: list[Any], needed: list[int], cells: float) -> None:
    store = Store.of([*map(result, range(300, 360)), *plans])
    assert allowance(store, {digest(number) for number in needed}, CELLS - 60) == pytest.approx(cells)


def take(allowed: float, *guesses: tuple[int, int]) -> list[bool]:
    """Which guesses are taken, of cells and how many of 10 scouts agree."""
    choice = Guesses(allowed)
    return [
        choice.take(Sighting("wave", digest(number), False, cells), agreeing, 10)
        for number, (cells, agreeing) in enumerate(guesses)
    ]


CHOICES: list[tuple[str, float, list[tuple[int, int]], list[bool]]] = [
    ("as long as the risk is allowed", 10, [(35, 9), (35, 9), (35, 9)], [True, False, False]),
    ("the surer, the more", 10, [(35, 10), (35, 10), (35, 10)], [True, True, True]),
    ("one that all agree on is not certain", 1, [(35, 10)], [False]),
    ("a large one is left out, a small one after it is not", 10, [(100, 8), (20, 8)], [False, True]),
    ("nothing is allowed", -5, [(1, 10)], [False]),
    ("an LM call of the optimizer", 10, [(0, 10), (1, 10)], [False, True]),
]


@pytest.mark.parametrize(("case", "allowed", "guesses", "taken"), CHOICES, ids=[row[0] for row in CHOICES])
def test_which_guesses_are_made(case: str, allowed: float, guesses: list[tuple[int, int]], taken: list[bool]) -> None:
    assert take(allowed, *guesses) == taken
