"""Forecasts an evaluation's score from known scores of the program, its examples, and other programs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean

RECENT = 8
"""The forecast uses so many of the latest programs."""
UNKNOWN = 0.5, 0.1
"""Mean and deviation if no score is known."""
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
        """Mean and deviation of an evaluation's probable score on these examples.

        A program scores the same again on a known example. For other examples, the model is: some examples are easier
        for all programs, and some programs are better on all examples. A new program is probably like the latest ones,
        because optimizers learn. A program with some known examples keeps its lead from there, the more surely the more
        examples are known (the posterior of a mean with normal prior).
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
    """The variance of a score that is 0 or 1, with this mean."""
    return max(score * (1 - score), 0.0)


def _ease(programs: Sequence[Mapping[str, float]], means: Sequence[float]) -> defaultdict[str, float]:
    """By how much each example is easier than most, drawn to 0 if few programs ran on it."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for scores, mean in zip(programs, means, strict=True):
        for example, score in scores.items():
            found[example].append(score - mean)
    return defaultdict(float, {example: sum(more) / (len(more) + 1) for example, more in found.items()})
