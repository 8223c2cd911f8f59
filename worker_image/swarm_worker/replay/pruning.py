"""Leaves out the missing cells of candidates that can no longer win.

Some optimizers keep the first of the candidates with the highest score, and use scores for nothing else
(`swarm_wire.spec.optimizers` lists these optimizers). A candidate has lost when even perfect scores in its missing
cells would not bring it to the top. Its missing cells are not run, and each counts with the highest possible score. The
candidate still loses, so the winner is the same. The rules use no random numbers, so plans with the same journal agree.
A lost candidate stays lost, so a plan with more results agrees with earlier plans.

Candidates get their cells in parts, the hardest examples first, because only the best candidates get these right.
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
"""If all candidates together lack at most this many cells, all are requested at once. The default swarm makes 64 calls
at a time, so these cells take about as long as one more round.
"""
PART = 0.15
"""The smallest share of an evaluation's cells that is requested at a time."""
HALF = 0.5
"""If an evaluation has this share of its cells, the rest is requested at once, so that a search takes few rounds."""
LEADERS = 2
"""How many of the most promising evaluations are finished first, because their scores decide about the others.

We tried 20 searches each on 100, 60, 40 and 20 examples. LEADERS 2 with PART 0.15 left out more cells than 3 with 0.2,
in as many rounds. With a smaller PART, some searches leave out more cells, but take more rounds.
"""
FAILURE = 0.0
"""Stock DSPy's score of a failed example."""
MARGIN = 1e-6
"""By how much a percentage may be off before `dspy.Evaluate` rounds it: the last digits of a sum depend on the order of
addition. The value is for scores up to 1. `lost` increases it for greater scores.
"""


class Bound(float):
    """The assumed score of a cell that was not run. In pruning, it is the highest possible score."""


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
        max_errors: the number of failed examples that ends a compile; None if no number does.
    """

    examples: tuple[str, ...]
    scores: Mapping[int, float]
    failed: frozenset[int] = frozenset()
    max_errors: int | None = None

    @property
    def missing(self) -> list[int]:
        """Returns the positions of the examples without a score."""
        return [position for position in range(len(self.examples)) if position not in self.scores]

    @property
    def may_be_cut(self) -> bool:
        """Whether missing cells may be left out.

        In stock DSPy, `max_errors` failed examples end a compile. So after a failure, missing cells are needed as long
        as they could raise the number of failures to it.
        """
        if not self.failed or self.max_errors is None:
            return True
        return len(self.failed) + len(self.missing) < self.max_errors

    def percentage(self, rest: float) -> float:
        """Returns the evaluation's score if each missing example scores `rest`."""
        scores = (self.scores.get(position, rest) for position in range(len(self.examples)))
        return 100 * math.fsum(scores) / len(self.examples)


def lost(standings: Sequence[Standing], limits: Range) -> set[int]:
    """Returns the positions, in the optimizer's order, of the evaluations that can no longer win.

    The highest possible score of such an evaluation is below the lowest possible score of another one. If both scores
    are equal, the evaluation that comes later has lost.
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
    """Returns the cells to request next: for each undecided evaluation, by its number, the positions of examples.

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
            return []  # this evaluation waits: it loses if the best evaluation is as good as it looks
        if number in begun[:LEADERS] or len(standing.scores) >= HALF * len(ease):
            return standing.missing
        hardest = sorted(standing.missing, key=lambda position: (ease[position], position))
        size = math.ceil(PART * len(ease))
        if standing.scores:
            size = max(size, _enough([most - ease[position] for position in hardest], ahead))
        return hardest[:size]

    return {number: cells(number) for number in undecided}


def _enough(losses: Sequence[float], ahead: float) -> int:
    """Returns how many of the losses add up to more than an evaluation's lead.

    If all losses together are too small, returns their number.
    """
    sums = accumulate(losses)
    return next((number for number, lost in enumerate(sums, 1) if lost > ahead), len(losses))


def _ease(standings: Sequence[Standing]) -> list[float]:
    """Returns the usual score of each example.

    If few evaluations have scored an example, its usual score is closer to the mean of all examples.
    """
    found: list[list[float]] = [[] for _ in standings[0].examples]
    for standing in standings:
        for position, score in standing.scores.items():
            found[position].append(score)
    # The mean is taken over examples, not scores, because more evaluations have scored the hard examples.
    usual = fmean([fmean(scores) for scores in found if scores] or [0.0])
    return [fmean([*scores, usual]) for scores in found]


@dataclass(frozen=True)
class Entrant:
    """An evaluation that takes part in a contest.

    Attributes:
        keys: keys of its cells, by position.
        request: data that the caller needs to request the missing cells.
    """

    digest: str
    keys: Sequence[str]
    standing: Standing
    request: Any = None


class Contest:
    """Compares the evaluations of one compile that a plan knows.

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
        """Returns the highest score that an example can have."""
        return max(self.limits.high, FAILURE)

    def over(self, compile_program: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a compile, so that its evaluations compete."""

        @wraps(compile_program)
        def competing(*given: Any, **named: Any) -> Any:
            self.is_on = True
            try:
                return compile_program(*given, **named)
            finally:
                self.is_on = False

        return competing

    def passed(self, entrant: Entrant) -> None:
        """Notes an evaluation whose result the plan has. Raises BadInput if a score is out of range."""
        self._check(entrant.standing)
        if self.is_on:
            self._passed.setdefault(entrant.digest, entrant)
        else:
            self._others.setdefault(entrant.digest, entrant.standing)

    def look_again(self) -> None:
        """Forgets the evaluations that scouts reported. The next scouts report them anew, in the plan's order."""
        self._sighted.clear()

    def sighted(self, entrant: Entrant) -> None:
        """Notes an evaluation that scouts reached. Raises BadInput for a score out of range."""
        self._check(entrant.standing)
        self._sighted.setdefault(entrant.digest, entrant)

    def decide(self, *at: Entrant) -> list[tuple[Entrant, set[str]]]:
        """Returns, for each evaluation that may still win, the keys of the cells to request next. There may be none.

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
