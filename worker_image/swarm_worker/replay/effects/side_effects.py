"""Finds changes by an example that other examples would read in stock DSPy. Here, the others run in other processes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from swarm_wire.names import WorkerReason
from swarm_worker.content import shared_state
from swarm_worker.errors import BadInput


@dataclass
class State:
    """The state of program and metric, and of all that they can reach, before examples run.

    Attributes:
        kept: paths that may change, because the rehearsal has shown that they do not matter.
    """

    program: Any
    metric: Any
    kept: Collection[str]
    before: dict[str, bytes]

    @classmethod
    def of(cls, program: Any, metric: Any, kept: Collection[str] | None) -> "State | None":
        """Returns the present state; None if there was no rehearsal."""
        return None if kept is None else cls(program, metric, kept, shared_state.kept(program, metric))

    def check(self) -> None:
        """Raises BadInput if an example has left a change that the next one can read."""
        found = shared_state.changes(self.before, shared_state.kept(self.program, self.metric))
        if new := [path for path in found if path not in self.kept]:
            raise BadInput(
                WorkerReason.SIDE_EFFECT,
                f"an example changes {new[0]}, which other examples can read: in stock DSPy their order then counts, "
                "and here they run in other processes. Let program and metric depend on their inputs alone; for a "
                "memo, use functools.cache.",
            )
