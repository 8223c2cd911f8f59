"""Finds what else can run in this round.

At the first missing effect the plan forks two scouts. Each takes placeholders for results that are missing and runs on,
reporting every further effect that it lacks. The plan is the referee: what both ask for identically, although their
placeholders are far apart, does not depend on what is missing, and joins the round. Results are named by their content,
so a wrong guess could only waste calls, never change a winner; with far-apart placeholders there is no waste either.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NoReturn

from swarm_wire.records import Record
from swarm_worker.replay.placeholder import ROLES

BUDGET = 2000
"""Effects that scouts look at in one round."""
PATIENCE_SECONDS = 120
"""A scout that does not report for so long is given up."""
TOLERATED = 1
"""Disagreements in a row that are skipped: the effect depends on what is missing, those after it may not."""


@dataclass(frozen=True)
class Sighting:
    """What a scout reports of an effect that it lacks."""

    kind: str
    digest: str
    unresolved: bool


class Scout:
    """A scout's line to the referee."""

    def __init__(self, role: str, line: Connection) -> None:
        self.role, self._line = role, line
        self.position = 1

    def report(self, sighting: Sighting, records: Callable[[], list[Record]]) -> None:
        """Reports an effect; hands over its tasks if the referee wants them from this scout."""
        self.position += 1
        try:
            self._line.send(sighting)
            if self._line.recv():
                self._line.send(records())
        except (EOFError, OSError):
            self.end()

    def end(self) -> NoReturn:
        os._exit(0)


@dataclass
class _Line:
    connection: Connection
    pid: int

    def receive(self) -> Sighting | None:
        try:
            if not self.connection.poll(PATIENCE_SECONDS):
                return None
            sighting: Sighting = self.connection.recv()
        except (EOFError, OSError):
            return None
        return sighting

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.connection.close()


def look(known: set[str], found: Callable[[list[Record]], None]) -> Scout | None:
    """Forks the scouts and referees them.

    Args:
        known: digests of effects that this round has already.
        found: is given the records of each task that joins the round.

    Returns:
        In a scout: its line. In the plan, when the scouts are done: None.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    lines: list[_Line] = []
    sys.stdout.flush()
    sys.stderr.flush()
    # A scout must not act on a signal as the plan would: with a commit.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for role in ROLES:
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            ours.close()
            for line in lines:
                line.connection.close()
            _silence()
            return Scout(role, theirs)
        theirs.close()
        lines.append(_Line(ours, pid))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        for wanted in _agreed(lines, known):
            found(wanted)
    finally:
        for line in lines:
            line.close()
    return None


def _agreed(lines: list[_Line], known: set[str]) -> Iterator[list[Record]]:
    """The tasks that all scouts ask for, in the order in which they ask."""
    disagreements = 0
    for _ in range(BUDGET):
        sightings = [line.receive() for line in lines]
        first = sightings[0]
        if first is None or any(
            s is None or (s.kind, s.unresolved) != (first.kind, first.unresolved) for s in sightings
        ):
            return
        same = len({s.digest for s in sightings if s is not None}) == 1
        disagreements = 0 if same else disagreements + 1
        if disagreements > TOLERATED:
            return
        wanted = same and not first.unresolved and first.digest not in known
        try:
            for line in lines:
                line.connection.send(wanted and line is lines[0])
            if wanted:
                known.add(first.digest)
                yield lines[0].connection.recv()
        except (EOFError, OSError):
            return


def _silence() -> None:
    """What a scout prints has been printed, or will be, by the plan."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
