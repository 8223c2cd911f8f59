"""What the engine asks of an effect that workers execute."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from swarm_worker.content.codec import Codec
from swarm_worker.journal.store import Store
from swarm_worker.replay.effects.tasks import Tasks

Score = Callable[[str, Sequence[str]], float]
"""(program, names of items) -> the mean score that a scout takes its evaluation to have."""


class Effect(Protocol):
    """An expensive step, named by its content.

    Attributes:
        keys: of its cells' results.
        unresolved: whether it is made from a placeholder.
    """

    @property
    def kind(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def unresolved(self) -> bool: ...
    def is_known(self, store: Store) -> bool:
        """Whether the journal has its result."""

    def errors_left(self, store: Store) -> int | None:
        """When so many more cells have failed, stock would stop, whatever the others come to; None: never."""

    def load(self, store: Store, codec: Codec) -> Any:
        """The result that the journal has."""

    def tasks(self, store: Store, codec: Codec) -> Tasks:
        """The request for what is missing."""

    def placeholder(self, letter: str, score: Score) -> Any:
        """A stand-in for the result, for the scout with this letter; None where there can be none."""
