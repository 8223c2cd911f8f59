"""The engine's interface to its process, and the options of a plan."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from swarm_wire.records import Record
from swarm_worker.errors import SwarmError
from swarm_worker.journal.run_journal import Stream

SMALL = 8
"""The plan itself runs a wave that lacks at most this many cells, because that is faster than a round."""


class Leave(Protocol):
    """Ends the process. Without an error, the plan's outcome is `blocked`."""

    def __call__(self, error: SwarmError | None = None) -> NoReturn: ...


def not_checked(observed: Stream) -> None:
    """Accepts any effects."""


@dataclass(frozen=True)
class Host:
    """The engine's access to its plan process.

    Attributes:
        emit: prints a record.
        leave: ends the process.
        check: receives the effects so far, before the plan spends anything or ends. Its SwarmError ends the plan.
        is_full: whether so much is printed that another plan should continue.
        prepare_calls: called before threads of this process make LM calls.
        passes_over: whether the plan goes on without incomplete evaluations. A plan for a partial artifact does.
    """

    emit: Callable[[Record], None]
    leave: Leave
    check: Callable[[Stream], None] = not_checked
    is_full: Callable[[], bool] = bool
    prepare_calls: Callable[[], None] = lambda: None
    passes_over: Callable[[], bool] = bool


@dataclass(frozen=True)
class Options:
    """Options of a plan.

    Attributes:
        looks_ahead: whether to request more than the first missing effect.
        speculation: largest number of guesses in a round.
        threads: number of cells that run concurrently in the plan.
        small: largest number of missing cells with which the plan runs a wave itself. The number is larger if no other
            work can run beside the wave.
    """

    looks_ahead: bool = True
    speculation: int = 0
    threads: int = 8
    small: int = SMALL


DEFAULTS = Options()
