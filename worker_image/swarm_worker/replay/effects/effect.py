"""The engine's interface to effects that workers execute."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from swarm_worker.content.codec import Codec
from swarm_worker.journal.store import Store
from swarm_worker.replay.effects.tasks import Tasks

Score = Callable[[str, Sequence[str]], float]
"""Takes an evaluation's program and the names of its items. Returns the mean score that a scout assumes for it."""


class Effect(Protocol):
    """An expensive step, named by its content.

    Attributes:
        keys: keys of its cells' results.
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
        """Whether the journal has the effect's result."""

    def errors_left(self, store: Store) -> int | None:
        """Returns how many more failed cells make stock DSPy stop for certain; None if no number does."""

    def load(self, store: Store, codec: Codec) -> Any:
        """Returns the result from the journal."""

    def tasks(self, store: Store, codec: Codec) -> Tasks:
        """Returns the task with the missing cells, and its blobs."""

    def placeholder(self, letter: str, score: Score) -> Any:
        """Returns a placeholder for the result, for the scout with this letter; None if there can be none."""
