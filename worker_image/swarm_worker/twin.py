"""The twin: the same plan in another process, to find out what is not the same in every process.

A run's first plan starts it, with another hash seed, so that both import side by side. Both observe data, program and
metric (`swarm_worker.rehearsal`), and meet at the checkpoint, before the plan spends anything or ends: the twin tells
what it observed and ends there, the plan compares. A difference would make scores a matter of chance, and a journal
useless; here it is found while nothing has been paid for.

Imports little: the twin is to start at once.
"""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

from swarm_wire import names
from swarm_wire.names import WorkerReason
from swarm_worker.errors import Drift

PATIENCE_SECONDS = 60
"""How long a plan that is at the checkpoint waits for its twin."""
NO_CALLS = '{"calls":0}'
"""The allowance of a twin whose plan has one."""
EXCERPT = 120
"""Characters of a text that differs, in a message."""


class Observation(NamedTuple):
    """Something that must be the same in every process.

    Attributes:
        place: where it was seen, for people: "spec.metric on validation example 3".
        digest: of what was seen.
        text: what was seen, or its beginning, for people.
    """

    place: str
    digest: str
    text: str = ""


LOADED = Observation("the loading of program, metric and data", "done", "done")


class Difference(NamedTuple):
    """The first place at which two processes differ, and what each of them saw there."""

    place: str
    mine: str
    theirs: str


class Twin(Protocol):
    """One of the two processes, to a plan that runs in the other or in this one.

    Attributes:
        is_plan: whether this process is the plan that started the other.
        backwards: run independent examples in the opposite order: it must not count.
    """

    is_plan: bool
    backwards: bool

    def checkpoint(self, observations: Sequence[Observation]) -> None:
        """Called once, before the plan spends anything or ends.

        Raises Drift where the two observed something different. Does not return in the twin.
        """


def start() -> "Other | None":
    """Starts the twin of this process, a plan; None where there is no need of one: something was paid for before."""
    journal = Path(os.environ.get(names.ENV_JOURNAL_DIR) or names.JOURNAL_DIR)
    if os.environ.pop(names.ENV_TWIN, "1") == "0" or any(journal.rglob(f"*{names.SHARD_SUFFIX}")):
        return None
    environment = {name: value for name, value in os.environ.items() if name != names.ENV_NONCE}
    environment |= {
        "PYTHONHASHSEED": "2" if environment.get("PYTHONHASHSEED") == "1" else "1",
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        names.ENV_TERMINATION_LOG: os.devnull,
    }
    if names.ENV_ALLOWANCE in environment:
        # The plan may spend all of it, and nobody books what the twin spends.
        environment[names.ENV_ALLOWANCE] = NO_CALLS
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "swarm_worker", "twin"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return Other(process)


@dataclass
class Other:
    """The twin, to the plan that started it."""

    process: "subprocess.Popen[bytes]"
    is_plan: bool = True
    backwards: bool = False

    def checkpoint(self, observations: Sequence[Observation]) -> None:
        theirs = self._observations()
        if theirs is not None and (difference := compare([LOADED, *observations], theirs)):
            raise Drift(WorkerReason.NONDETERMINISTIC, explain(difference))

    def _observations(self) -> list[Observation] | None:
        """What the twin saw; None where that cannot be known: it died, or is too slow."""
        try:
            output, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, errors = self.process.communicate()
        code, said = self.process.returncode, errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        if code == names.ExitCode.DONE and output:
            return [LOADED, *(Observation(*observation) for observation in json.loads(output))]
        if code in names.TERMINAL_EXITS:
            # What the user brought could be loaded here, and not there.
            return [LOADED._replace(digest="failed", text=said)]
        print(f"Nothing is known of differences between processes: the twin ended with {code}. {said}", file=sys.stderr)  # noqa: T201
        return None


class Line:
    """The plan that started this process, to this process, its twin."""

    is_plan = False
    backwards = True

    def __init__(self) -> None:
        self._pipe = os.dup(1)
        threading.Thread(target=self._end_with_reader, daemon=True).start()

    def checkpoint(self, observations: Sequence[Observation]) -> NoReturn:
        with os.fdopen(self._pipe, "w", encoding="ascii") as pipe:
            json.dump(observations, pipe)
        os._exit(names.ExitCode.DONE)

    def _end_with_reader(self) -> NoReturn:
        poll = select.poll()
        poll.register(self._pipe, 0)
        poll.poll()
        os._exit(names.ExitCode.FAILED)


def compare(mine: Sequence[Observation], theirs: Sequence[Observation]) -> Difference | None:
    """The first difference between what two processes saw, in order."""
    for ours, others in zip_longest(mine, theirs, fillvalue=Observation("", "", "nothing")):
        if (ours.place, ours.digest) == (others.place, others.digest):
            continue
        if ours.place == others.place:
            return Difference(ours.place, *_excerpts(ours.text, others.text))
        place = ours.place or others.place
        return Difference(place, *(_placed(seen, place) for seen in (ours, others)))
    return None


def _placed(seen: Observation, place: str) -> str:
    text = _cut(seen.text, 0)
    return text if seen.place in ("", place) else f"{seen.place}: {text}"


def _excerpts(mine: str, theirs: str) -> tuple[str, str]:
    """Where the two texts begin to differ, with a little of what is before."""
    if mine == theirs:
        return _cut(mine, 0), "the same text of another content"
    shorter = min(len(mine), len(theirs))
    common = next((at for at in range(shorter) if mine[at] != theirs[at]), shorter)
    begin = 0 if common < EXCERPT // 2 else common - EXCERPT // 3
    return _cut(mine, begin), _cut(theirs, begin)


def _cut(text: str, begin: int) -> str:
    end = begin + EXCERPT
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"


_ADVICE = {
    "the loading": "Let imports and constructors depend on the files alone: no time, no unseeded randomness, no order "
    "of a set",
    "spec.data": "Sort what comes from a set or a folder, and draw samples with random.Random(0)",
    "spec.program": "Let prompts and decisions depend on the inputs alone: no time, no unseeded randomness, no order "
    "of a set, and nothing that is left over from another example",
    "spec.metric": "Let the metric depend on the example and the prediction alone: no time, no unseeded randomness, "
    "no order of a set, and nothing that is left over from another example",
    "effect": "Let what an optimizer, a data function or a program's constructor chooses depend on the files alone: no "
    "time, no unseeded randomness, no order of a set",
    "": "Look for time, unseeded randomness, the order of a set, and the environment",
}


def explain(difference: Difference) -> str:
    """For people: where the processes differ, what each saw, what to do."""
    advice = next(text for part, text in _ADVICE.items() if difference.place.startswith(part))
    return (
        f"{difference.place} is not the same in two processes that differ only in their hash seed and in the order of "
        f'independent examples: "{difference.mine}" in the one, "{difference.theirs}" in the other. '
        f"No LM call was made. {advice}."
    )
