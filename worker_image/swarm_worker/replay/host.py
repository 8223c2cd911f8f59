"""What the engine needs of the process around it, and what it is told to do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from swarm_wire.records import Record
from swarm_worker.errors import SwarmError
from swarm_worker.journal.run_journal import Stream

SMALL = 8
"""A wave of so many cells is run by the plan itself: quicker than a round."""


class Leave(Protocol):
    """Ends the process: blocked, or with an error."""

    def __call__(self, error: SwarmError | None = None) -> NoReturn: ...


def not_checked(observed: Stream) -> None:
    """Takes the plan's first effects for granted."""


@dataclass(frozen=True)
class Host:
    """The process of a plan.

    Attributes:
        emit: prints a record.
        leave: ends the process.
        check: is told, before the plan spends anything or ends, what it needed and found until then. A SwarmError that
            it raises ends the plan.
        is_full: whether so much is printed that another plan should go on.
        prepare_calls: is called before LM calls are made here, by threads.
        passes_over: whether evaluations that are not complete count for nothing now. A plan that only looks for what is
            complete asks for none of them.
    """

    emit: Callable[[Record], None]
    leave: Leave
    check: Callable[[Stream], None] = not_checked
    is_full: Callable[[], bool] = bool
    prepare_calls: Callable[[], None] = lambda: None
    passes_over: Callable[[], bool] = bool


@dataclass(frozen=True)
class Options:
    """How a plan works.

    Attributes:
        looks_ahead: ask for more than the first missing effect.
        speculation: most guesses of a round.
        threads: cells that run here at the same time.
        small: most missing cells of a wave that is run here; more of one that nothing can run beside.
    """

    looks_ahead: bool = True
    speculation: int = 0
    threads: int = 8
    small: int = SMALL


DEFAULTS = Options()
