"""Splits text into words, and makes from words weighted features that can be compared."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")

# Words that say nothing about a subject. The words below the empty line are common in prompts and reasoning.
STOP = frozenset(
    _WORD.findall(
        """
        a about above after again all also always am an and any are aren't as at be because been before being below
        between both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each
        either else even ever every few for from further get gets getting give go goes going got had hadn't has hasn't
        have haven't having he hello help her here hers hey hi him his how however i i'd i'll i'm i've if in into is
        isn't it it's its itself just kind know let like ll made make many may maybe me might mine more most much must
        my myself need needs neither never no nor not now of off often ok okay on once one only or other our ours out
        over own per please pls quite rather really said same say she should shouldn't since so some something still
        such than thank thanks that that's the their theirs them then there these they they're thing things this those
        though through thus to today told too two under until up upon us use very want wants was wasn't we we're well
        went were weren't what when where whether which while who whom why will with within without won't would yes
        yet you you're your yours yourself

        mention mentions mentioned point points pointing toward towards sign signs include includes including example
        examples typical word words text choose decide best fits fit belongs input inputs output outputs field fields
        """
    )
)

_SUFFIXES = ("ations", "ation", "ingly", "ings", "ing", "edly", "ied", "ies", "ed", "ers", "er", "es", "ly", "s", "e")


class Word(NamedTuple):
    """A telling word: the word as it was written, and its stem."""

    surface: str
    stem: str


def stem(word: str) -> str:
    """Returns `word` without a common English ending. Different forms of a word have the same stem in most cases."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word


def telling(text: str) -> list[Word]:
    """Returns the words of `text` in order and in lower case, without words that say nothing about a subject."""
    return [Word(word, stem(word)) for word in _WORD.findall(_lowered(text)) if word not in STOP and len(word) > 1]


def _lowered(text: str) -> str:
    return text.lower().replace("’", "'")


class Features(NamedTuple):
    """Feature -> weight, and the length of the vector of weights.

    Features are stems, pairs of stems, beginnings of long words, and phrases. A phrase is a pair of neighbouring words,
    not of their stems, and at least one of the two is in `STOP` ("how do", "send it"). Repeated words weigh more.
    """

    weights: Mapping[str, float]
    length: float


class Lexicon:
    """Learns from labelled texts how telling each feature is. A feature of few labels is most telling.

    Args:
        texts: pairs of (label, text).
    """

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        labels: dict[str, set[str]] = {}
        names = set()
        for label, text in texts:
            names.add(label)
            for feature in _raw(text):
                labels.setdefault(feature, set()).add(label)
        scale = math.log(1 + len(names)) or 1.0
        self._weight = {feature: math.log((1 + len(names)) / len(owners)) / scale for feature, owners in labels.items()}
        self._features = lru_cache(maxsize=65536)(self._compute)

    def weight(self, feature: str) -> float:
        """Returns how telling a feature is, between 0 and 1.

        An unknown word gets one half, and an unknown phrase gets 0.
        """
        return self._weight.get(feature, 0.0 if _TURN in feature else 0.5)

    def features(self, text: str) -> Features:
        """Returns the weighted features of a text. They are cached, since prompts repeat their parts."""
        return self._features(text)

    def _compute(self, text: str) -> Features:
        weighed = {feature: raw * self.weight(feature) for feature, raw in _raw(text).items()}
        weights = {feature: weight for feature, weight in weighed.items() if weight}
        return Features(weights, math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0)


_TURN = "+"
_AGAIN = 0.4


def _raw(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    words = telling(text)
    for word in words:
        found[word.stem] = 1.0 + _AGAIN * (word.stem in found)
        if len(word.surface) >= 6:
            found[word.surface[:4] + "~"] = 0.4
    for one, other in pairwise(words):
        found[f"{one.stem} {other.stem}"] = 1.2
    for first, second in pairwise(_WORD.findall(_lowered(text))):
        if first in STOP or second in STOP:
            found[f"{first}{_TURN}{second}"] = 0.8
    return found


def cosine(one: Features, other: Features) -> float:
    """Returns the similarity of two texts, between 0 (no common feature) and 1 (the same features)."""
    small, large = sorted((one.weights, other.weights), key=len)
    shared = sum(weight * large[feature] for feature, weight in small.items() if feature in large)
    return shared / (one.length * other.length)


def share(found_in: Features, part: Features) -> float:
    """Returns the share of `part`, by weight, that occurs in `found_in`: between 0 and 1."""
    total = sum(part.weights.values())
    met = sum(weight for feature, weight in part.weights.items() if feature in found_in.weights)
    return met / total if total else 0.0


_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def sentences(text: str) -> list[str]:
    """Returns the sentences and lines of `text`, without empty ones."""
    return [sentence.strip() for sentence in _SENTENCE.split(text) if sentence.strip()]
