"""Which guesses a run can afford.

A guess that comes true saves a round, one that does not is paid for in vain. Nobody knows how likely it is: scouts
share one forecast, and err together. So each guess is taken to be wrong until the plan has needed it, and a run never
makes one that it could not afford then.
"""

from collections.abc import Mapping
from math import inf

from swarm_worker.lookahead.scouts import Sighting

WASTE = 0.08
"""Most of a run's LM calls that may be for guesses that nobody needs."""


def allowance(paid: int, unneeded: int) -> float:
    """LM calls that a round's guesses may take, so that no more than WASTE, theirs included, are ever in vain.

    Args:
        paid: calls of the run so far.
        unneeded: those among them that the plan has not needed until now.
    """
    return (WASTE * paid - unneeded) / (1 - WASTE)


class Guesses:
    """Chooses a round's guesses, in the order in which they would be needed.

    Args:
        allowed: LM calls that they may take.
        prices: LM calls of a cell, by the kind of its effect; what has no price cannot be afforded.
    """

    def __init__(self, allowed: float, prices: Mapping[str, float]) -> None:
        self._allowed, self._prices = allowed, prices

    def take(self, sighting: Sighting) -> bool:
        """Whether a guess is made. Never an LM call of the optimizer's own: the plan makes those that are certain."""
        cost = sighting.cells * self._prices.get(sighting.kind, inf)
        if not sighting.cells or cost > self._allowed:
            return False
        self._allowed -= cost
        return True
