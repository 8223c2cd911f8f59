"""Placeholders for missing results, with which a scout finds the next effects.

Placeholder texts carry a mark. An effect that contains a mark is unresolved, and is never requested. A scout's
`Outlook` gives the placeholders of scores.
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
"""Distance between the extreme scores of one effect and the next. Real scores are usually between 0 and 1."""


class Outlook(Protocol):
    """A scout's assumption about missing scores.

    Attributes:
        letter: distinguishes its marks from those of other scouts.
    """

    @property
    def letter(self) -> str: ...
    def score(self, position: int, mean: float, deviation: float) -> float:
        """Returns the mean score that the scout assumes for its effect number `position`, from its forecast."""


@dataclass(frozen=True)
class Extreme:
    """Assumes scores that are further apart than any real ones. They rise or fall from effect to effect.

    If an optimizer needs the same effect with rising and with falling scores, it needs the effect with any scores.
    """

    letter: str
    direction: int

    def score(self, position: int, mean: float, deviation: float) -> float:
        return 0.5 + SPREAD * self.direction * position


@dataclass(frozen=True)
class Likely:
    """Assumes the forecast score (number 0), or a likely score that is better or worse (other numbers).

    The scores of the other numbers are spread around the forecast, in a new order for each effect. If an optimizer
    needs the same effect with most of these scores, it probably needs the effect with the real scores.
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
"""How many scouts with likely scores must agree on a guess."""


def scores(score: float, length: int) -> list[Value]:
    """Returns a placeholder for an evaluation's result."""
    return [(Outcome.OK, (Prediction(), score))] * length


def numbers(score: float, length: int) -> list[Value]:
    """Returns a placeholder for the result of a wave that returns only scores."""
    return [(Outcome.OK, score)] * length


def demos(letter: str, digest: str, student: Any) -> dict[str, list[Any]]:
    """Returns a placeholder for a bootstrap's demos: one marked demo for each predictor."""
    return {
        name: [Example(augmented=True, **{field: mark(letter, digest, field) for field in predictor.signature.fields})]
        for name, predictor in student.named_predictors()
    }


def completions(letter: str, digest: str, fields: Sequence[str], count: int) -> list[dict[str, str]]:
    """Returns a placeholder for the answer of a predictor with text outputs."""
    return [{field: mark(letter, digest, f"{field}|{number}") for field in fields} for number in range(count)]
