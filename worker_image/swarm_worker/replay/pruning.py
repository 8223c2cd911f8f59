"""Spares the cells of candidates that can no longer win.

Some optimizers keep the first of the candidates with the highest score, and do not use scores otherwise
(`swarm_wire.spec.optimizers` lists them). A candidate has lost when even perfect missing cells cannot bring it to the
top. Its missing cells are not run; its highest possible score replaces its score, so the winner is the same. No choice
is random and a lost candidate never recovers, so plans with the same journal agree, and plans with more results go on
from there.

Candidates get their cells in parts, the hardest examples first: examples that only the best candidates get right
decide most.
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
"""If at most so many cells of all candidates are missing, all are requested at once. With the default swarm of 64 calls
at a time, they take about as long as one more round.
"""
PART = 0.15
"""The smallest share of an evaluation's cells that is requested at a time."""
HALF = 0.5
"""An evaluation with this share of known cells gets the rest at once, so that a search takes few rounds."""
LEADERS = 2
"""So many of the most promising evaluations are finished first, because their scores decide about the others.

This and PART spared more cells than 3 and 0.2, in as many rounds, in 20 searches on 100, 60, 40 and 20 examples each.
Smaller parts spare more in some searches and take more rounds.
"""
FAILURE = 0.0
"""Stock DSPy's score of a failed example."""
MARGIN = 1e-6
"""Tolerance of a percentage before `dspy.Evaluate` rounds it: the last digits of a sum depend on the order of addition.
It holds for scores up to 1, and grows with greater ones.
"""


class Bound(float):
    """Replaces the score of a cell that was not run; as a rule the highest possible score."""


@dataclass(frozen=True)
class Range:
    """The lowest and the highest score that a metric can give."""

    low: float
    high: float

    def __contains__(self, score: float) -> bool:
        return self.low <= score <= self.high


@dataclass(frozen=True)
class Standing:
    """The known part of an evaluation.

    Attributes:
        examples: names of its examples.
        scores: scores of the known examples, by position, failed ones included.
        failed: positions of the failed examples.
        max_errors: number of failed examples that ends a compile; None if even all of them do not.
    """

    examples: tuple[str, ...]
    scores: Mapping[int, float]
    failed: frozenset[int] = frozenset()
    max_errors: int | None = None

    @property
    def missing(self) -> list[int]:
        """Positions of the examples without a score."""
        return [position for position in range(len(self.examples)) if position not in self.scores]

    @property
    def may_be_cut(self) -> bool:
        """Whether missing cells may be spared. Too many failed examples end a stock compile, so after a failure the
        missing cells are needed while they could reach that number.
        """
        if not self.failed or self.max_errors is None:
            return True
        return len(self.failed) + len(self.missing) < self.max_errors

    def percentage(self, rest: float) -> float:
        """The evaluation's score if each missing example scores `rest`."""
        scores = (self.scores.get(position, rest) for position in range(len(self.examples)))
        return 100 * math.fsum(scores) / len(self.examples)


def lost(standings: Sequence[Standing], limits: Range) -> set[int]:
    """The numbers of the evaluations, in the optimizer's order, that can no longer be the first of the best.

    Such an evaluation can only stay below another's lowest possible score, or equal it and come after the other.
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
    """The cells to request next: positions of examples by the number of each undecided evaluation.

    Args:
        others: evaluations that do not compete, but show how hard the same examples are.
        few: all missing cells are requested at once if they are no more than this.
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
            return []  # It loses if the best one is as good as it looks, so the best one is finished first.
        if number in begun[:LEADERS] or len(standing.scores) >= HALF * len(ease):
            return standing.missing
        hardest = sorted(standing.missing, key=lambda position: (ease[position], position))
        size = math.ceil(PART * len(ease))
        if standing.scores:
            size = max(size, _enough([most - ease[position] for position in hardest], ahead))
        return hardest[:size]

    return {number: cells(number) for number in undecided}


def _enough(losses: Sequence[float], ahead: float) -> int:
    """How many of the losses add up to more than an evaluation's lead; all, if their sum does not."""
    sums = accumulate(losses)
    return next((number for number, lost in enumerate(sums, 1) if lost > ahead), len(losses))


def _ease(standings: Sequence[Standing]) -> list[float]:
    """The usual score of each example, drawn to the mean if few evaluations have scored it."""
    found: list[list[float]] = [[] for _ in standings[0].examples]
    for standing in standings:
        for position, score in standing.scores.items():
            found[position].append(score)
    # A mean over examples, because more evaluations have scored the hard ones.
    usual = fmean([fmean(scores) for scores in found if scores] or [0.0])
    return [fmean([*scores, usual]) for scores in found]


@dataclass(frozen=True)
class Entrant:
    """An evaluation that competes.

    Attributes:
        keys: keys of its cells, by position.
        request: data that the caller needs to request the missing cells.
    """

    digest: str
    keys: Sequence[str]
    standing: Standing
    request: Any = None


class Contest:
    """The evaluations of one compile, as far as a plan knows them.

    Args:
        few: all missing cells are requested at once if they are no more than this.

    Attributes:
        is_on: whether the optimizer is at work. Evaluations before and after it do not compete.
        spared: keys of the missing cells of each lost evaluation, by its digest.
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
        """The highest score that an example can have."""
        return max(self.limits.high, FAILURE)

    def over(self, compile_program: Callable[..., Any]) -> Callable[..., Any]:
        """The same compile, with its evaluations competing."""

        @wraps(compile_program)
        def competing(*given: Any, **named: Any) -> Any:
            self.is_on = True
            try:
                return compile_program(*given, **named)
            finally:
                self.is_on = False

        return competing

    def passed(self, entrant: Entrant) -> None:
        """Notes an evaluation that the plan has passed. Raises BadInput as `sighted`."""
        self._check(entrant.standing)
        if self.is_on:
            self._passed.setdefault(entrant.digest, entrant)
        else:
            self._others.setdefault(entrant.digest, entrant.standing)

    def look_again(self) -> None:
        """Forgets sighted evaluations: scouts report them anew, in the plan's order."""
        self._sighted.clear()

    def sighted(self, entrant: Entrant) -> None:
        """Notes an evaluation that scouts reached. Raises BadInput for a score out of range: it makes bounds wrong."""
        self._check(entrant.standing)
        self._sighted.setdefault(entrant.digest, entrant)

    def decide(self, *at: Entrant) -> list[tuple[Entrant, set[str]]]:
        """The keys of the cells to request next, possibly none, for each evaluation that may still win.

        Args:
            at: the plan's current evaluation, if it competes.
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
