"""Decides which guesses a run can afford.

A right guess saves a round, and a wrong guess wastes LM calls. The probability that a guess is right is unknown,
because scouts share one forecast and err together. So each guess counts as wrong until the plan needs it. A run makes
only guesses that it can afford even if they are wrong.
"""

from collections.abc import Mapping
from math import inf

from swarm_worker.lookahead.scouts import Sighting

WASTE = 0.08
"""The largest share of a run's LM calls that may be wasted on guesses."""


def allowance(paid: int, unneeded: int) -> float:
    """Returns how many LM calls a round's guesses may take.

    Even if all guesses are wrong, at most the share WASTE of the run's LM calls is wasted.

    Args:
        paid: how many calls the run has made so far.
        unneeded: how many of these calls the plan has not needed so far.
    """
    return (WASTE * paid - unneeded) / (1 - WASTE)


class Guesses:
    """Chooses a round's guesses, in the order in which the optimizer would need them.

    Args:
        allowed: how many LM calls the guesses may take.
        prices: LM calls that a cell takes, by the kind of its effect. A kind without a price is never guessed.
    """

    def __init__(self, allowed: float, prices: Mapping[str, float]) -> None:
        self._allowed, self._prices = allowed, prices

    def take(self, sighting: Sighting) -> bool:
        """Whether to make a guess. LM calls are never guessed: the plan makes only those that it certainly needs."""
        cost = sighting.cells * self._prices.get(sighting.kind, inf)
        if not sighting.cells or cost > self._allowed:
            return False
        self._allowed -= cost
        return True
