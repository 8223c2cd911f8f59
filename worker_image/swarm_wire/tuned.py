"""Those parts of a report that are about fine-tuned models."""

from enum import StrEnum

from pydantic import Field

from swarm_wire.message_base import Figure, Message, Score
from swarm_wire.words import would_decide


class Kept(StrEnum):
    """What a comparison of a tuned program with its teacher shows."""

    RETAINED = "Retained"
    LOST = "Lost"
    INCONCLUSIVE = "Inconclusive"


class Retention(Message):
    """How much of its teacher's score a tuned program keeps, on the same examples. `swarm_engine.verdicts` makes it."""

    verdict: Kept
    retention: float
    """The program's mean score divided by the teacher's."""
    low: float
    """The true retention is above this with the given confidence."""
    high: float
    """The true retention is below this with the given confidence."""
    least: float
    """The retention that the verdict is about: Retained if `low` is at least this, Lost if `high` is below it."""
    confidence: float
    examples: Figure
    needed: Figure | None = None
    """How many examples would probably decide; None if the verdict is decided, or if no number of examples would."""

    is_demanded: bool = True
    """Whether gate.minRetention demands `least`. If not, the verdict decides nothing."""

    def __str__(self) -> str:
        found = (
            f"{100 * self.retention:.1f} % of the teacher's score ({100 * self.low:.1f} to {100 * self.high:.1f} %, "
            f"each end with {100 * self.confidence:g} % confidence) on {self.examples} examples"
        )
        if not self.is_demanded:
            return f"The winner keeps {found}"
        return f"{self.verdict}: {found}, against {100 * self.least:g} %{would_decide(self.needed)}"


class Weights(Message):
    """What a trainer has made, and from what."""

    revision: str = ""
    """Commit of the base's Hugging Face repository; empty if the base is a folder."""
    place: str
    """URL of the folder. A folder on a claim has a URL of the form pvc://claim/folder."""
    kind: str
    """adapter: an adapter of the base. model: a whole model."""
    sha256: str
    """sha256 of the folder's manifest.json, which has the sha256 of each file."""
    bytes: Figure
    """Size of all files."""
    metrics: dict[str, float] = Field({})
    """What the trainer says of the training, such as its loss."""


class TunedModel(Message):
    """A model that the run has had fine-tuned."""

    model: str
    """Its name, as DSPy writes it."""
    base: str
    endpoint: str = ""
    """Where it is; empty for the provider's own endpoint."""
    job: str = ""
    """Id of the provider's job; empty if a trainer has trained the model."""
    rows: Figure
    """Number of training rows."""
    tokens: Figure
    """Tokens of rows and epochs."""
    usd: Score = None
    """Price of the training; None if it is not known."""
    weights: Weights | None = None
    """Where a trainer's result is; None if the provider keeps the model."""
