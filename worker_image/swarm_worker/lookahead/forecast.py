"""What an evaluation will probably come to, from what is known of the program, its examples, and other programs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean

RECENT = 8
"""So many programs say what the next one may be like, and how hard each example is."""
UNKNOWN = 0.5, 0.1
"""Mean and deviation where no score is known."""
APART = 0.2
"""Programs are so far apart, before more is known than of one."""
LEAST_DEVIATION = 0.001


class Forecast:
    """Scores so far, by program and example."""

    def __init__(self) -> None:
        self._scores: dict[str, dict[str, float]] = {}

    def add(self, program: str, scores: Mapping[str, float]) -> None:
        """Known scores of a program, by example."""
        if scores:
            self._scores.setdefault(program, {}).update(scores)

    def of(self, program: str, examples: Sequence[str]) -> tuple[float, float]:
        """Mean and deviation of the score that an evaluation on these examples may come to.

        What a program scored on an example it will score again. Elsewhere some examples are easier for all programs,
        and some programs are better on all examples: a new one probably like the last ones, for optimizers learn; one
        that was run on some examples is ahead or behind as it was there, with more certainty the more they were (the
        posterior of a mean with normal prior).
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
    """Of one score, where this one is expected, if it is 0 or 1."""
    return max(score * (1 - score), 0.0)


def _ease(programs: Sequence[Mapping[str, float]], means: Sequence[float]) -> defaultdict[str, float]:
    """By how much each example is easier than most; drawn to 0 where few programs were run on it."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for scores, mean in zip(programs, means, strict=True):
        for example, score in scores.items():
            found[example].append(score - mean)
    return defaultdict(float, {example: sum(more) / (len(more) + 1) for example, more in found.items()})
