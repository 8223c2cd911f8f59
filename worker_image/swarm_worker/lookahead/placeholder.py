"""Stand-ins for results that are not there yet, by which a scout finds out what comes next.

Texts carry a mark, so that whatever they reach is known to be unresolved: a prompt or a program made from a placeholder
is never asked for. What a missing score is taken for is a scout's outlook.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Any, Protocol

from dspy.primitives.example import Example
from dspy.primitives.prediction import Prediction

from swarm_wire.messages import Outcome
from swarm_worker.content.marks import mark
from swarm_worker.content.outcome import Value

SPREAD = 100.0
"""Distance between extreme scores from effect to effect; real ones are between 0 and 1."""


class Outlook(Protocol):
    """What a scout takes missing scores for.

    Attributes:
        letter: tells its marks from those of other scouts.
    """

    @property
    def letter(self) -> str: ...
    def score(self, position: int, mean: float, deviation: float) -> float:
        """The mean score of the evaluation that is the scout's effect number `position`, given its forecast."""


@dataclass(frozen=True)
class Extreme:
    """Scores further apart than any real ones: up from effect to effect, or down.

    Where an optimizer does the same with both, it does so with every score.
    """

    letter: str
    direction: int

    def score(self, position: int, mean: float, deviation: float) -> float:
        return 0.5 + SPREAD * self.direction * position


@dataclass(frozen=True)
class Likely:
    """Scores as forecast (number 0), or better or worse, as a score of that mean and deviation may be.

    The others' scores are spread evenly, and in another order for each effect. Where an optimizer does the same with
    most of them, it will probably do so with the real scores.
    """

    letter: str
    number: int
    count: int

    def score(self, position: int, mean: float, deviation: float) -> float:
        if self.number == 0:
            return mean
        others = self.count - 1
        rank = Random(position).sample(range(others), others)[self.number - 1]
        return mean + deviation * NormalDist().inv_cdf((rank + 0.5) / others)


EXTREMES = (Extreme("A", 1), Extreme("B", -1))
LIKELY = tuple(Likely(letter, number, 9) for number, letter in enumerate("CDEFGHIJK"))
QUORUM = 5
"""Likely scouts that must agree on a guess."""


def scores(score: float, length: int) -> list[Value]:
    """What an evaluation wave might have come to."""
    return [(Outcome.OK, (Prediction(), score))] * length


def numbers(score: float, length: int) -> list[Value]:
    """What a wave might have come to that returns scores alone."""
    return [(Outcome.OK, score)] * length


def demos(letter: str, digest: str, student: Any) -> dict[str, list[Any]]:
    """One marked demo for each predictor."""
    return {
        name: [Example(augmented=True, **{field: mark(letter, digest, field) for field in predictor.signature.fields})]
        for name, predictor in student.named_predictors()
    }


def completions(letter: str, digest: str, fields: Sequence[str], count: int) -> list[dict[str, str]]:
    """What a predictor with text outputs might have answered."""
    return [{field: mark(letter, digest, f"{field}|{number}") for field in fields} for number in range(count)]
