"""The engine's interface to its process, and its options."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from swarm_wire.records import Record
from swarm_worker.errors import SwarmError
from swarm_worker.journal.run_journal import Stream

SMALL = 8
"""The plan itself runs a wave of up to so many cells, because that is faster than a round."""


class Leave(Protocol):
    """Ends the process: blocked, or with an error."""

    def __call__(self, error: SwarmError | None = None) -> NoReturn: ...


def not_checked(observed: Stream) -> None:
    """Accepts any effects."""


@dataclass(frozen=True)
class Host:
    """The process of a plan.

    Attributes:
        emit: prints a record.
        leave: ends the process.
        check: receives the effects so far, before the plan spends anything or ends. Its SwarmError ends the plan.
        is_full: whether so much is printed that another plan should continue.
        prepare_calls: called before threads make LM calls here.
        passes_over: whether to pass over incomplete evaluations. A plan for the best complete program does.
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
        speculation: most guesses in a round.
        threads: number of cells that run concurrently in the plan.
        small: most missing cells of a wave that the plan runs; more if nothing else can run with the wave.
    """

    looks_ahead: bool = True
    speculation: int = 0
    threads: int = 8
    small: int = SMALL


DEFAULTS = Options()
