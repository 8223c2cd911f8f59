"""A round makes only as many guesses as the run can afford."""

import pytest

from support.wire import digest
from swarm_worker.lookahead.guesses import WASTE, Guesses, allowance
from swarm_worker.lookahead.scouts import Sighting

ALLOWANCES: list[tuple[str, int, int, float]] = [
    ("nothing is paid for", 0, 0, 0),
    ("all was needed", 920, 0, 80),
    ("some was not, until now", 950, 30, 50),
    ("all that may be in vain is under way, or was", 1000, 80, 0),
    ("more than that", 1000, 200, -120 / 0.92),
]


@pytest.mark.parametrize(("case", "paid", "unneeded", "calls"), ALLOWANCES, ids=[row[0] for row in ALLOWANCES])
def test_wasted_guesses_lower_the_number_of_guesses_in_later_rounds(
    case: str, paid: int, unneeded: int, calls: float
) -> None:
    found = allowance(paid, unneeded)
    assert found == pytest.approx(calls)
    assert found <= 0 or unneeded + found == pytest.approx(WASTE * (paid + found))


PRICES = {"wave": 2.0, "bootstrap": 7.5}

CHOICES: list[tuple[str, float, list[tuple[str, int]], list[bool]]] = [
    ("as long as all could be in vain", 100, [("wave", 25), ("wave", 25), ("wave", 1)], [True, True, False]),
    ("a large one is left out, a small one after it is not", 10, [("wave", 100), ("wave", 5)], [False, True]),
    ("each kind at its price", 10, [("bootstrap", 1), ("bootstrap", 1), ("wave", 1)], [True, False, True]),
    ("what nobody knows the price of", 1000, [("other", 1)], [False]),
    ("nothing is allowed", -5, [("wave", 1)], [False]),
    ("an LM call of the optimizer", 10, [("call", 0), ("wave", 1)], [False, True]),
]


@pytest.mark.parametrize(("case", "allowed", "guesses", "taken"), CHOICES, ids=[row[0] for row in CHOICES])
def test_a_round_makes_guesses_only_while_their_calls_fit_into_the_allowed_waste(
    case: str, allowed: float, guesses: list[tuple[str, int]], taken: list[bool]
) -> None:
    choice = Guesses(allowed, PRICES)
    made = [choice.take(Sighting(kind, digest(number), False, cells)) for number, (kind, cells) in enumerate(guesses)]
    assert made == taken
