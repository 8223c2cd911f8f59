"""Which cells an arg max does not need.

Some optimizers score candidates and keep the first of those that scored most, and use their scores for nothing else
(`swarm_wire.spec.optimizers` knows which). A candidate whose missing cells cannot bring it to the top any more has
lost, whatever they are: they are not paid for, and what it could have come to at most stands for its score. So the
winner is the same. Nothing here is by chance, and a candidate that has lost has lost for good: every plan that finds
the same journal decides the same, and one that finds more goes on from there.

Cells are asked for in parts, the hardest examples first: what all get wrong tells nobody apart, but what only the best
get right settles most.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import accumulate
from statistics import fmean
from typing import Any

from swarm_wire.names import WorkerReason
from swarm_worker.errors import BadInput

FEW = 300
"""So many missing cells of all candidates are asked for at once. With the default swarm, which makes 64 calls side by
side, they take about as long as one more round.
"""
PART = 0.15
"""Of an evaluation's cells, asked for at a time; at least."""
HALF = 0.5
"""An evaluation of which so much is known gets the rest at once, so that a search takes few rounds."""
LEADERS = 2
"""So many of the most promising evaluations are finished first: what they score settles the others.

This and PART spare more than 3 and 0.2 did, in as many rounds, in 20 searches on 100, 60, 40 and 20 examples each;
smaller parts spare more in some and take more rounds.
"""
FAILURE = 0.0
"""What a failed example scores, in stock DSPy."""
MARGIN = 1e-6
"""Of a percentage, which `dspy.Evaluate` rounds: the last digits of a sum depend on who adds it up. For scores up to 1;
of greater ones it is as much more.
"""


class Bound(float):
    """What stands for the score of a cell that was not paid for: as a rule the most that it can have been."""


@dataclass(frozen=True)
class Range:
    """Between which scores a metric's values are."""

    low: float
    high: float

    def __contains__(self, score: float) -> bool:
        return self.low <= score <= self.high


@dataclass(frozen=True)
class Standing:
    """What is known of an evaluation.

    Attributes:
        examples: names of its examples.
        scores: of each example that is known, by its position; what failed is in it, too.
        failed: positions of those that failed.
        max_errors: so many failing examples end a compile; None: as many as there are do not.
    """

    examples: tuple[str, ...]
    scores: Mapping[int, float]
    failed: frozenset[int] = frozenset()
    max_errors: int | None = None

    @property
    def missing(self) -> list[int]:
        """Positions of the examples that are not known."""
        return [position for position in range(len(self.examples)) if position not in self.scores]

    @property
    def may_be_cut(self) -> bool:
        """Whether its missing cells are no evidence. Too many failing examples end a compile in stock: once one has
        failed, all that might are looked at.
        """
        if not self.failed or self.max_errors is None:
            return True
        return len(self.failed) + len(self.missing) < self.max_errors

    def percentage(self, rest: float) -> float:
        """Its score if each missing example scores `rest`."""
        scores = (self.scores.get(position, rest) for position in range(len(self.examples)))
        return 100 * math.fsum(scores) / len(self.examples)


def lost(standings: Sequence[Standing], limits: Range) -> set[int]:
    """Which of the evaluations, in the optimizer's order, can no longer be the first of the best.

    That is: cannot come to what another scores at least; or to no more than that, and the other comes before it.
    """
    if not standings:
        return set()
    least, most = min(limits.low, FAILURE), max(limits.high, FAILURE)
    margin = MARGIN * max(1.0, -least, most)
    floors = [round(standing.percentage(least) - margin, 2) for standing in standings]
    ceilings = [round(standing.percentage(most) + margin, 2) for standing in standings]
    top = max(floors)
    first = floors.index(top)
    return {
        number
        for number, (standing, ceiling) in enumerate(zip(standings, ceilings, strict=True))
        if standing.missing and standing.may_be_cut and (ceiling < top or (ceiling == top and first < number))
    }


def wanted(
    standings: Sequence[Standing], limits: Range, others: Sequence[Standing] = (), few: int = FEW
) -> dict[int, list[int]]:
    """The cells to ask for next: of each evaluation that is undecided, by its number, positions of examples.

    Args:
        others: evaluations on the same examples that do not compete, but tell how hard these are.
        few: so many missing cells are asked for at once.
    """
    beaten = lost(standings, limits)
    undecided = {
        number: standing.missing
        for number, standing in enumerate(standings)
        if number not in beaten and standing.missing
    }
    if sum(map(len, undecided.values())) <= few:
        return undecided
    ease = _ease([*standings, *others])
    hope = [
        math.fsum(standing.scores.get(position, ease[position]) for position in range(len(standing.examples)))
        for standing in standings
    ]
    begun = sorted((number for number in undecided if standings[number].scores), key=lambda it: (-hope[it], it))
    most = max(limits.high, FAILURE)

    def cells(number: int) -> list[int]:
        standing = standings[number]
        if number in begun[:1] or not standing.may_be_cut:
            return standing.missing
        ahead = math.fsum(standing.scores.get(position, most) for position in range(len(ease))) - max(hope)
        if ahead < 0:
            return []  # It will have lost to the best one, if that is as good as it looks: first let that be known.
        if number in begun[:LEADERS] or len(standing.scores) >= HALF * len(ease):
            return standing.missing
        hardest = sorted(standing.missing, key=lambda position: (ease[position], position))
        size = math.ceil(PART * len(ease))
        if standing.scores:
            size = max(size, _enough([most - ease[position] for position in hardest], ahead))
        return hardest[:size]

    return {number: cells(number) for number in undecided}


def _enough(losses: Sequence[float], ahead: float) -> int:
    """How many of these come to more than what an evaluation is ahead; all, if they do not."""
    sums = accumulate(losses)
    return next((number for number, lost in enumerate(sums, 1) if lost > ahead), len(losses))


def _ease(standings: Sequence[Standing]) -> list[float]:
    """What is usually scored on each example; drawn to the mean where few evaluations know."""
    found: list[list[float]] = [[] for _ in standings[0].examples]
    for standing in standings:
        for position, score in standing.scores.items():
            found[position].append(score)
    # By example: of the hard ones more evaluations know.
    usual = fmean([fmean(scores) for scores in found if scores] or [0.0])
    return [fmean([*scores, usual]) for scores in found]


@dataclass(frozen=True)
class Entrant:
    """An evaluation that competes.

    Attributes:
        keys: of its cells, by position.
        request: what it takes to ask for those that are missing.
    """

    digest: str
    keys: Sequence[str]
    standing: Standing
    request: Any = None


class Contest:
    """The evaluations of one compile, as far as a plan knows them.

    Args:
        few: so many missing cells are asked for at once.

    Attributes:
        is_on: whether the optimizer is at work. What is evaluated before and after it does not compete.
        spared: the missing cells, by key, of each evaluation that has lost, by digest.
    """

    def __init__(self, limits: Range, few: int = FEW) -> None:
        self.limits, self._few = limits, few
        self.is_on = False
        self.spared: dict[str, frozenset[str]] = {}
        self._passed: dict[str, Entrant] = {}
        self._sighted: dict[str, Entrant] = {}
        self._others: dict[str, Standing] = {}

    @property
    def most(self) -> float:
        """What an example can score at most."""
        return max(self.limits.high, FAILURE)

    def over(self, compile_program: Callable[..., Any]) -> Callable[..., Any]:
        """The compile, whose evaluations compete."""

        @wraps(compile_program)
        def competing(*given: Any, **named: Any) -> Any:
            self.is_on = True
            try:
                return compile_program(*given, **named)
            finally:
                self.is_on = False

        return competing

    def passed(self, entrant: Entrant) -> None:
        """The plan came to this evaluation, and past it. Raises BadInput as `sighted`."""
        self._check(entrant.standing)
        if self.is_on:
            self._passed.setdefault(entrant.digest, entrant)
        else:
            self._others.setdefault(entrant.digest, entrant.standing)

    def look_again(self) -> None:
        """Forgets what was sighted: scouts tell it anew, in the order in which the plan would come to it."""
        self._sighted.clear()

    def sighted(self, entrant: Entrant) -> None:
        """Scouts came to this evaluation. Raises BadInput for a score out of range: it would win unseen."""
        self._check(entrant.standing)
        self._sighted.setdefault(entrant.digest, entrant)

    def decide(self, *at: Entrant) -> list[tuple[Entrant, set[str]]]:
        """What to ask for next: of each evaluation that may still win the keys of some cells, or of none for now.

        Args:
            at: the evaluation that the plan is at, if it competes.
        """
        ordered = dict(self._passed)
        for entrant in (*at, *self._sighted.values()):
            ordered.setdefault(entrant.digest, entrant)
        contests: dict[tuple[str, ...], list[Entrant]] = defaultdict(list)
        for entrant in ordered.values():
            contests[entrant.standing.examples].append(entrant)
        return [decision for contest in contests.values() for decision in self._decide(contest)]

    def _decide(self, entrants: Sequence[Entrant]) -> Iterator[tuple[Entrant, set[str]]]:
        standings = [entrant.standing for entrant in entrants]
        for number in lost(standings, self.limits):
            entrant = entrants[number]
            missing = frozenset(entrant.keys[position] for position in entrant.standing.missing)
            self.spared.setdefault(entrant.digest, missing)
        others = [other for other in self._others.values() if other.examples == standings[0].examples]
        for number, positions in wanted(standings, self.limits, others, self._few).items():
            entrant = entrants[number]
            yield entrant, {entrant.keys[position] for position in positions}

    def _check(self, standing: Standing) -> None:
        for position, score in sorted(standing.scores.items()):
            if score not in self.limits and position not in standing.failed:
                raise BadInput(
                    WorkerReason.SCORE_OUT_OF_RANGE,
                    f"spec.metric scored {score:g} on example {position + 1} of an evaluation, and spec.metric.range "
                    f"is {self.limits.low:g} .. {self.limits.high:g}. Write the least and the greatest score that the "
                    'metric gives as range: {min: ..., max: ...}, or swarm.pruning: "off".',
                )
