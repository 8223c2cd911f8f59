"""A minimal effect, with which tests check the engine."""

from dataclasses import dataclass
from typing import Any

from support.wire import digest
from swarm_wire.messages import Cell, EffectKind, Task
from swarm_worker.content.codec import Codec
from swarm_worker.journal.store import Store
from swarm_worker.lookahead.placeholder import scores
from swarm_worker.replay.effects.effect import Score
from swarm_worker.replay.effects.tasks import Tasks


@dataclass
class Step:
    """An effect whose result has a number. If `guess` is set, a scout gets a score in place of a missing result.
    Otherwise the scout ends.

    Its weight is so great that the plan does not run it.
    """

    number: int
    unresolved: bool = False
    guess: bool = False
    fails: bool = False
    kind: str = EffectKind.WAVE
    weight: int = 8
    """The weight is greater than that of effects that the plan runs itself."""

    @property
    def digest(self) -> str:
        return digest(self.number)

    @property
    def keys(self) -> list[str]:
        return [self.digest]

    def is_known(self, store: Store) -> bool:
        return self.digest in store

    def errors_left(self, store: Store) -> None:
        return None

    def load(self, store: Store, codec: Codec) -> Any:
        return store.body(self.digest)

    def tasks(self, store: Store, codec: Codec) -> Tasks:
        if self.fails:
            raise TypeError("cannot pickle '_io.TextIOWrapper' object")
        cells = [Cell(key=self.digest)]
        made = Task(digest=self.digest, kind=EffectKind.WAVE, payload=digest(0), cells=cells, weight=self.weight)
        return Tasks(made, {digest(0): b"payload"})

    def placeholder(self, letter: str, score: Score) -> Any:
        return scores(score("", ()), 1) if self.guess else None
