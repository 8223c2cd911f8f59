"""What examples leave behind that other examples could read: they run in other processes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from swarm_wire.names import WorkerReason
from swarm_worker.content import shared_state
from swarm_worker.errors import BadInput


@dataclass
class State:
    """What program and metric hold, and could reach, before examples ran.

    Attributes:
        kept: what of that may change: the rehearsal has shown that it does not count.
    """

    program: Any
    metric: Any
    kept: Collection[str]
    before: dict[str, bytes]

    @classmethod
    def of(cls, program: Any, metric: Any, kept: Collection[str] | None) -> "State | None":
        """None where nothing was rehearsed."""
        return None if kept is None else cls(program, metric, kept, shared_state.kept(program, metric))

    def check(self) -> None:
        """Raises BadInput where an example has left what the next one can read."""
        found = shared_state.changes(self.before, shared_state.kept(self.program, self.metric))
        if new := [path for path in found if path not in self.kept]:
            raise BadInput(
                WorkerReason.SIDE_EFFECT,
                f"an example changes {new[0]}, which other examples can read: in stock DSPy their order then counts, "
                "and here they run in other processes. Let program and metric depend on their inputs alone; for a "
                "memo, use functools.cache.",
            )
