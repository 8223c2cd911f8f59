"""Says whether one program is better than another, from their scores on the same examples.

The method is the paired percentile bootstrap (B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993,
section 13.3). It resamples the differences of scores, example by example, and takes quantiles of their means as the
interval of the mean difference.
"""

from collections.abc import Sequence
from math import ceil, log2
from random import Random
from statistics import NormalDist, fmean, pstdev

from swarm_wire.report import Comparison, Verdict
from swarm_wire.tuned import Kept, Retention

RESAMPLES = 2000
POWER = 0.8
"""The probability with which `Comparison.needed` examples decide, if the differences stay as they are."""
DIGITS = 9
"""Results are rounded to this number of digits, since versions of Python add up floats differently."""


def compare(
    before: Sequence[float], after: Sequence[float], *, seed: str, confidence: float = 0.95, margin: float = 1
) -> Comparison:
    """Compares two programs by their scores on the same examples, in the same order.

    The difference is `after` minus `before`. The verdict is

    - Same if the interval lies within `margin` of 0, or if no example differs;
    - Better or Worse if the interval excludes 0, and enough examples differ: with fewer, even a fair coin could show
      the same signs more often than `confidence` allows;
    - Inconclusive otherwise.

    Args:
        before, after: scores of the examples, in percent.
        seed: the same seed and scores give the same interval, to the last digit.
        confidence: of the two-sided interval, between 0 and 1.
        margin: the difference that does not matter, in points.

    Raises:
        ValueError: the programs have different numbers of scores, or none.
    """
    differences = [new - old for old, new in zip(before, after, strict=True)]
    if not differences:
        raise ValueError("there are no examples to compare programs on")
    mean, error = fmean(differences), 1 - confidence
    low, high = _interval(differences, seed, error)
    enough = 1 + ceil(log2(1 / error))
    improved, worsened = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    differing = improved + worsened
    if not differing or (-margin <= low and high <= margin):
        verdict = Verdict.SAME
    elif differing >= enough and low > 0:
        verdict = Verdict.BETTER
    elif differing >= enough and high < 0:
        verdict = Verdict.WORSE
    else:
        verdict = Verdict.INCONCLUSIVE
    return Comparison(
        verdict=verdict,
        difference=round(mean, DIGITS),
        low=round(low, DIGITS),
        high=round(high, DIGITS),
        confidence=confidence,
        examples=len(differences),
        improved=improved,
        worsened=worsened,
        needed=_needed(differences, error, margin, enough) if verdict == Verdict.INCONCLUSIVE else None,
    )


def retention(
    teacher: Sequence[float], student: Sequence[float], *, seed: str, least: float = 0.95, confidence: float = 0.95
) -> Retention | None:
    """Says how much of its teacher's score a program keeps. Returns None if the teacher scores 0, or nothing.

    The verdict is Retained if the retention is at least `least` with the confidence, Lost if it is below `least` with
    the confidence, and Inconclusive otherwise. A retention of at least r means that the mean of (student - r * teacher)
    is at least 0, so the ends are those r at which the interval of this mean touches 0.

    Args:
        teacher, student: scores of the same examples, in percent.
        confidence: of each end of the interval.
    """
    pairs = list(zip(teacher, student, strict=True))
    if not pairs or sum(teacher) <= 0:
        return None
    draw, count = Random(seed).choices, len(pairs)
    ratios = []
    for _ in range(RESAMPLES):
        drawn = draw(pairs, k=count)
        base = sum(old for old, _ in drawn)
        ratios.append(sum(new for _, new in drawn) / base if base > 0 else 1.0)
    ratios.sort()
    skipped = int(_expanded(1 - confidence, count) * RESAMPLES)
    low, high = ratios[skipped], ratios[RESAMPLES - 1 - skipped]
    differences = [new - least * old for old, new in pairs]
    verdict = Kept.RETAINED if low >= least else Kept.LOST if high < least else Kept.INCONCLUSIVE
    enough = 1 + ceil(log2(1 / (1 - confidence)))
    needed = _needed(differences, 2 * (1 - confidence), 0.0, enough) if verdict == Kept.INCONCLUSIVE else None
    return Retention(
        verdict=verdict,
        retention=round(sum(student) / sum(teacher), DIGITS),
        low=round(low, DIGITS),
        high=round(high, DIGITS),
        least=least,
        confidence=confidence,
        examples=count,
        needed=needed,
    )


def _interval(differences: list[float], seed: str, error: float) -> tuple[float, float]:
    draw, count = Random(seed).choices, len(differences)
    means = sorted(fmean(draw(differences, k=count)) for _ in range(RESAMPLES))
    low = int(_expanded(error / 2, count) * RESAMPLES)
    return means[low], means[RESAMPLES - 1 - low]


def _expanded(tail: float, count: int) -> float:
    """Returns the quantile to take in place of `tail`, since resamples of few examples vary too little.

    Source: T. Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 4.3.2 (expanded percentiles).
    Student's quantile is approximated by the Cornish-Fisher expansion.
    """
    if count < 2:
        return 0.0
    normal, degrees = NormalDist(), count - 1
    z = normal.inv_cdf(1 - tail)
    student = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    return 1 - normal.cdf(student * (count / degrees) ** 0.5)


def _needed(differences: list[float], error: float, margin: float, enough: int) -> int | None:
    """Returns how many examples would decide, by the normal approximation; None if no number would."""
    count, spread, mean = len(differences), pstdev(differences), abs(fmean(differences))
    reach, power = NormalDist().inv_cdf(1 - error / 2), NormalDist().inv_cdf(POWER)
    gaps = ([mean] if mean else []) + ([margin - mean] if mean < margin else [])
    if not gaps:
        return None
    differing = sum(difference != 0 for difference in differences)
    by_spread = min(ceil(((reach + power) * spread / gap) ** 2) for gap in gaps)
    return max(count + 1, by_spread, ceil(enough * count / differing))
