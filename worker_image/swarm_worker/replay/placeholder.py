"""Stand-ins for results that are not there yet, by which a scout finds out what comes next.

Texts carry a mark, so that whatever they reach is known to be unresolved: a prompt or a program made from a guess is
never asked for. Scores are far apart between the two scouts, further than any real score: where an optimizer does the
same with both, it does so with every score.
"""

from typing import Any

from dspy.primitives.example import Example
from dspy.primitives.prediction import Prediction

from swarm_wire.messages import Outcome
from swarm_worker.replay.execute import Value
from swarm_worker.replay.marks import mark

ROLES = ("A", "B")
SPREAD = 100.0
"""Distance between a scout's placeholder scores; real ones are between 0 and 1."""


def scores(role: str, position: int, length: int) -> list[Value]:
    """What an evaluation wave might have come to: scout A's scores go up from effect to effect, scout B's go down."""
    step = position if role == ROLES[0] else -position
    return [(Outcome.OK, (Prediction(), 0.5 + SPREAD * step))] * length


def demos(role: str, digest: str, student: Any) -> dict[str, list[Any]]:
    """One marked demo for each predictor."""
    return {
        name: [Example(augmented=True, **{field: mark(role, digest, field) for field in predictor.signature.fields})]
        for name, predictor in student.named_predictors()
    }
