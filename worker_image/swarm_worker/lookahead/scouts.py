"""Finds further effects that can run in this round.

At the first missing effect the plan forks scouts. Each scout runs on with placeholders for missing results, and reports
every further effect that it lacks. The plan is the referee: an effect joins the round if the scouts agree on it. If all
scouts with extreme placeholders agree, the effect does not depend on missing results, so it is never wasted. If most
scouts with likely placeholders agree, the effect is a good guess. Results are named by their content, so a wrong guess
wastes calls, but never changes a winner.
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
"""Largest number of effects that scouts report. After that, the plan ends the scouts."""
PATIENCE_SECONDS = 120
"""How long the plan waits for a scout's next report before it gives up the scout."""
TOLERATED = 1
"""Number of disagreements of scouts in a row that the plan skips.

An effect on which scouts disagree depends on missing results, but the next effect may not.
"""


@dataclass(frozen=True)
class Sighting:
    """A scout's report of an effect that it lacks.

    Attributes:
        unresolved: whether the effect is made from a placeholder.
        cells: number of missing cells; 0 for an LM call.
        errors_left: number of failed cells after which the other cells are not needed; None if all are needed.
    """

    kind: str
    digest: str
    unresolved: bool
    cells: int = 0
    errors_left: int | None = None


def everything(sighting: Sighting) -> bool:
    """Accepts every sighting."""
    return True


class Scout:
    """A scout's connection to the plan."""

    def __init__(self, outlook: Outlook, line: Connection) -> None:
        self.outlook, self._line = outlook, line
        self._position = 1

    @property
    def letter(self) -> str:
        return self.outlook.letter

    def score(self, mean: float, deviation: float) -> float:
        """Returns the assumed score of the effect reported last, given its forecast."""
        return self.outlook.score(self._position, mean, deviation)

    def report(self, sighting: Sighting, request: Callable[[], Any]) -> None:
        """Reports an effect to the plan. Also sends the request to run it, if the plan asks this scout for that.

        A scout ends where coroutines run concurrently, because their effects have no order.
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
    """Forks a scout for each outlook, and decides which of the reported effects join the round.

    Args:
        known: digests of the round's effects; the function adds those that join it.
        found: receives each effect that joins the round, and the request to run it.
        quorum: number of scouts that must agree on an effect, the first scout among them; None: all.
        limit: largest number of effects to find.
        choice: decides whether an effect joins the round.
        met: receives each known effect that the scouts reach.

    Returns:
        In a scout, its connection to the plan. In the plan, None, after all scouts have ended.
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
    except OSError:  # the machine has no more processes or files, so the plan goes on without lookahead
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
    """Yields the chosen effects on which the first scout and others agree, at least `quorum` scouts in all."""
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
    """Makes a scout end when its optimizer starts or uses another thread.

    The effects of threads have no fixed order. A fork also lacks the threads of a pool that was made before the fork.
    """

    def start(thread: threading.Thread) -> None:
        if not type(thread).__module__.startswith("tqdm"):  # a progress bar works without its thread
            scout.end()

    def submit(*_: Any, **__: Any) -> NoReturn:
        scout.end()

    threading.Thread.start = start  # type: ignore[method-assign, assignment]
    ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]
