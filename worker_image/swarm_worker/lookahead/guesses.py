"""Decides which guesses a run can afford.

A right guess saves a round; a wrong one is wasted. Its probability is unknown, because scouts share one forecast and
err together. So each guess counts as wrong until the plan needs it, and a run makes only guesses that it can afford
even if they are wrong.
"""

from collections.abc import Mapping
from math import inf

from swarm_worker.lookahead.scouts import Sighting

WASTE = 0.08
"""The largest share of a run's LM calls that may be wasted on guesses."""


def allowance(paid: int, unneeded: int) -> float:
    """LM calls that a round's guesses may take. They keep wasted calls below WASTE of all calls, guesses included.

    Args:
        paid: calls of the run so far.
        unneeded: the part of them that the plan has not needed so far.
    """
    return (WASTE * paid - unneeded) / (1 - WASTE)


class Guesses:
    """Chooses a round's guesses, in the order in which the optimizer would need them.

    Args:
        allowed: LM calls that they may take.
        prices: LM calls of a cell, by the kind of its effect; a kind without a price cannot be afforded.
    """

    def __init__(self, allowed: float, prices: Mapping[str, float]) -> None:
        self._allowed, self._prices = allowed, prices

    def take(self, sighting: Sighting) -> bool:
        """Whether to make a guess. Never for the optimizer's own LM calls: the plan makes only certain ones."""
        cost = sighting.cells * self._prices.get(sighting.kind, inf)
        if not sighting.cells or cost > self._allowed:
            return False
        self._allowed -= cost
        return True
