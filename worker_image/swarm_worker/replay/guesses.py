"""Which guesses are worth their risk.

A guess that comes true saves a round, one that does not is paid for in vain. How likely it is can be estimated from how
many of the likely scouts ask for it; what it may cost is known.
"""

from collections.abc import Collection

from swarm_worker.replay.lookahead import Sighting
from swarm_worker.replay.store import Store

WASTE = 0.08
"""A round's guesses may be expected to waste this part of what the run has cost until then."""
BRAKE = 3
"""When guesses that were not needed so far come to so many times that part, there are no more."""


def allowance(store: Store, needed: Collection[str], asked: int) -> float:
    """Runs of the program that a round's guesses may waste.

    Args:
        needed: digests of the effects that this plan came to.
        asked: runs that the round takes without them.
    """
    unneeded = sum(cost for end in store.plans for digest, cost in end.guesses.items() if digest not in needed)
    allowed = WASTE * (len(store) + asked)
    return min(allowed, BRAKE * allowed - unneeded)


class Guesses:
    """Chooses a round's guesses, in the order in which they would be needed.

    Args:
        allowed: runs of the program that they may be expected to waste.
    """

    def __init__(self, allowed: float) -> None:
        self._allowed = allowed

    def take(self, sighting: Sighting, agreeing: int, scouts: int) -> bool:
        """Whether a guess is made that so many of the scouts ask for, the first among them.

        Never an LM call of the optimizer's own: the plan makes those that are certain.
        """
        # The first scout always agrees with itself. Half a vote each way: few scouts make nothing certain.
        chance = (agreeing - 0.5) / scouts
        risk = (1 - chance) * sighting.cost
        if not sighting.cost or risk > self._allowed:
            return False
        self._allowed -= risk
        return True
