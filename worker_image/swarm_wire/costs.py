"""What a program costs in use."""

from typing import Final, Literal

from pydantic import Field

from swarm_wire.message_base import Figure, Message, Score

ArmName = Literal["baseline", "published", "switched", "teacher", "prompted", "winner"]
"""A program that a report compares."""
ARMS: Final[tuple[ArmName, ...]] = ("baseline", "published", "switched", "teacher", "prompted", "winner")
"""These programs, in the order in which a report shows them."""


class Cost(Message):
    """What a program costs: means of its own LM calls for one example. The metric's calls do not count."""

    examples: Figure
    """Number of examples of which the calls are known: an example that ends its process has told nothing."""
    calls: float
    """LM calls for one example."""
    prompt_tokens: float
    completion_tokens: float
    usd: Score = None
    """USD for 1,000 examples, at the prices of today. None: the price of a model is not known."""
    unpriced: list[str] = Field([])
    """The models without a known price."""
    unread: Figure | None = None
    """Examples that failed because DSPy could not read the model's answer. None: nobody counted."""
    repeated: Figure | None = None
    """LM calls for all examples that asked again, because DSPy could not read an answer. None: nobody counted."""
    p50: Score = None
    """Seconds that the provider took for the LM calls of the median example. None: not known for all examples."""
    p95: Score = None
    """Seconds within which the provider answered the LM calls of 95 of 100 examples. None: likewise."""
