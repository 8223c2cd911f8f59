"""Finds what else can run in this round.

At the first missing effect the plan forks scouts. Each takes placeholders for results that are missing and runs on,
reporting every further effect that it lacks. The plan is the referee: what the scouts ask for identically joins the
round. With extreme placeholders, agreement of all means that an effect does not depend on what is missing: no waste.
With likely ones it is a good guess. Results are named by their content, so a wrong guess wastes calls, but never
changes a winner.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from swarm_worker.forks import Child, fork
from swarm_worker.lookahead.concurrency import is_main, is_ordered
from swarm_worker.lookahead.placeholder import Outlook

BUDGET = 2000
"""Effects that scouts look at in one go."""
PATIENCE_SECONDS = 120
"""A scout that does not report for so long is given up."""
TOLERATED = 1
"""Disagreements in a row that are skipped: the effect depends on what is missing, those after it may not."""


@dataclass(frozen=True)
class Sighting:
    """What a scout reports of an effect that it lacks.

    Attributes:
        unresolved: whether it is made from a placeholder.
        cells: how many it lacks; none for an LM call.
        errors_left: when so many of them have failed, nobody needs the others; None: all are needed.
    """

    kind: str
    digest: str
    unresolved: bool
    cells: int = 0
    errors_left: int | None = None


def everything(sighting: Sighting) -> bool:
    """Leaves out nothing."""
    return True


class Scout:
    """A scout's line to the referee."""

    def __init__(self, outlook: Outlook, line: Connection) -> None:
        self.outlook, self._line = outlook, line
        self._position = 1

    @property
    def letter(self) -> str:
        return self.outlook.letter

    def score(self, mean: float, deviation: float) -> float:
        """The score that the effect reported last is taken to have, given its forecast."""
        return self.outlook.score(self._position, mean, deviation)

    def report(self, sighting: Sighting, request: Callable[[], Any]) -> None:
        """Reports an effect; hands over what it takes to run it if the referee wants that from this scout.

        A scout ends where coroutines take turns: what they lack has no order.
        """
        if not is_ordered():
            self.end()
        self._position += 1
        try:
            self._line.send(sighting)
            if self._line.recv():
                self._line.send(request())
        except (EOFError, OSError):
            self.end()

    def end(self) -> NoReturn:
        os._exit(0)


def look(
    known: set[str],
    found: Callable[[Sighting, Any], None],
    outlooks: Sequence[Outlook],
    *,
    quorum: int | None = None,
    limit: int = BUDGET,
    choice: Callable[[Sighting], bool] = everything,
    met: Callable[[Sighting], object] = everything,
) -> Scout | None:
    """Forks a scout for each outlook, and referees them.

    Args:
        known: digests of effects that this round has already; grows by those that join it.
        found: is given each effect that joins the round, and what it takes to run it.
        quorum: how many scouts must ask for an effect, the first among them; None: all.
        limit: most effects to find.
        choice: whether one that was found is to join the round.
        met: is told of each that the scouts come to and that is known.

    Returns:
        In a scout: its line. In the plan, when the scouts are done: None.
    """
    if not is_main():
        return None
    lines: list[Child] = []
    try:
        for outlook in outlooks:
            line = fork(duplex=True)
            if not isinstance(line, Child):
                for other in lines:
                    other.connection.close()
                scout = Scout(outlook, line)
                _end_at_threads(scout)
                return scout
            lines.append(line)
    except OSError:  # no more processes, or files: the plan does without seeing ahead
        for line in lines:
            line.end()
        return None
    try:
        for number, (sighting, request) in enumerate(_agreed(lines, known, quorum or len(lines), choice, met), 1):
            found(sighting, request)
            if number == limit:
                break
    finally:
        for line in lines:
            line.end()
    return None


def _agreed(
    lines: list[Child],
    known: set[str],
    quorum: int,
    choice: Callable[[Sighting], bool],
    met: Callable[[Sighting], object],
) -> Iterator[tuple[Sighting, Any]]:
    """The chosen ones of what at least `quorum` scouts ask for, the first among them, in the order of the first."""
    disagreements = 0
    for _ in range(BUDGET):
        sightings = [_receive(line.connection) for line in lines]
        first = sightings[0]
        if first is None:
            return
        others = [s for s in sightings if s is not None and (s.kind, s.unresolved) == (first.kind, first.unresolved)]
        if len(others) < quorum:
            return
        same = sum(sighting == first for sighting in others) >= quorum
        disagreements = 0 if same else disagreements + 1
        if disagreements > TOLERATED:
            return
        wanted = same and not first.unresolved and first.digest not in known and choice(first)
        if same and first.digest in known:
            met(first)
        try:
            lines[0].connection.send(wanted)
            if wanted:
                known.add(first.digest)
                yield first, lines[0].connection.recv()
        except (EOFError, OSError):
            return
        for line in lines[1:]:
            with contextlib.suppress(OSError):
                line.connection.send(False)


def _receive(line: Connection) -> Sighting | None:
    try:
        if not line.poll(PATIENCE_SECONDS):
            return None
        sighting: Sighting = line.recv()
    except (EOFError, OSError):
        return None
    return sighting


def _end_at_threads(scout: Scout) -> None:
    """Ends a scout where its optimizer leaves something to another thread: what threads lack has no order, and those of
    a pool that was there before the fork are not here.
    """

    def start(thread: threading.Thread) -> None:
        if not type(thread).__module__.startswith("tqdm"):  # a progress bar does without
            scout.end()

    def submit(*_: Any, **__: Any) -> NoReturn:
        scout.end()

    threading.Thread.start = start  # type: ignore[method-assign, assignment]
    ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]
