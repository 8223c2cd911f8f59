"""Forecasts an evaluation's score from the known scores of its program and of other programs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean

RECENT = 8
"""How many of the latest programs the forecast uses."""
UNKNOWN = 0.5, 0.1
"""Mean and deviation of the forecast if no score is known."""
APART = 0.2
"""Assumed deviation between programs, before several are known."""
LEAST_DEVIATION = 0.001


class Forecast:
    """Forecasts from the scores so far."""

    def __init__(self) -> None:
        self._scores: dict[str, dict[str, float]] = {}

    def add(self, program: str, scores: Mapping[str, float]) -> None:
        """Adds known scores of a program, by example."""
        if scores:
            self._scores.setdefault(program, {}).update(scores)

    def of(self, program: str, examples: Sequence[str]) -> tuple[float, float]:
        """Returns mean and deviation of an evaluation's probable score on these examples.

        The forecast assumes that a program scores the same again on an example with a known score. It assumes that some
        examples are easier for all programs, and that some programs are better on all examples. A new program is
        probably like the latest ones, because optimizers learn. A program with some known scores keeps its lead over
        other programs. The more scores are known, the more the lead counts (it is the posterior of a mean with a normal
        prior).
        """
        if not self._scores or not examples:
            return UNKNOWN
        seen = self._scores.get(program, {})
        others = [scores for name, scores in self._scores.items() if name != program][-RECENT:] or [seen]
        means = [fmean(scores.values()) for scores in others]
        usual, ease = fmean(means), _ease(others, means)

        def lead(scores: Mapping[str, float]) -> float:
            return fmean(score - usual - ease[example] for example, score in scores.items())

        apart = (APART**2 + sum(lead(scores) ** 2 for scores in others)) / (1 + len(others))
        weight = len(seen) / (len(seen) + _variance(usual) / apart) if seen else 0.0
        ahead = weight * lead(seen) if seen else 0.0
        expected = [seen.get(example, usual + ease[example] + ahead) for example in examples]
        unseen = [score for example, score in zip(examples, expected, strict=True) if example not in seen]
        within = sum(map(_variance, unseen))
        between = (1 - weight) * apart * len(unseen) ** 2
        return fmean(expected), max(sqrt(within + between) / len(examples), LEAST_DEVIATION)


def _variance(score: float) -> float:
    """Returns the variance of a score that is 0 or 1, with this mean."""
    return max(score * (1 - score), 0.0)


def _ease(programs: Sequence[Mapping[str, float]], means: Sequence[float]) -> defaultdict[str, float]:
    """Returns by how much each example is easier than the average.

    The number is closer to 0 if few programs ran on the example.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    for scores, mean in zip(programs, means, strict=True):
        for example, score in scores.items():
            found[example].append(score - mean)
    return defaultdict(float, {example: sum(more) / (len(more) + 1) for example, more in found.items()})
