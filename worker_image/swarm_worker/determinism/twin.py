"""Runs a run's first plan in a second process, the twin, to find differences between processes.

The plan starts the twin with another hash seed, and both import at the same time. The plan rehearses first (see
`rehearsal`), and sends the twin the numbers of the examples that ended in time. The twin rehearses these examples. Both
reach the checkpoint before the plan spends anything or ends. There, the twin sends its observations and ends. The plan
compares them with its own.

If the observations differ, the plan starts a second twin with the plan's hash seed. If that twin agrees with the plan,
only the hash seed causes the difference. All processes of a run have one hash seed, so the run continues with a note.
Any other difference would make scores random and a journal useless, so it ends the run before anything is paid for.

This module imports little, so that the twin starts at once.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from time import monotonic
from typing import NamedTuple, NoReturn, Protocol

from swarm_wire import names
from swarm_wire.names import WorkerReason
from swarm_wire.records import RecordKind
from swarm_wire.shards import CorruptShard, files, headers
from swarm_worker.errors import Drift
from swarm_worker.forks import end_with_reader
from swarm_worker.hash_seed import VARIABLE, hash_seed

PATIENCE_SECONDS = 60
"""How long a plan at the checkpoint waits for its twin, besides twice the time of its own rehearsal. A second twin
starts only at the checkpoint. So the plan waits longer for it: by the time that the plan itself has taken.
"""
NO_CALLS = '{"calls":0}'
"""The allowance of a twin whose plan has one."""
EXCERPT = 120
"""How many characters of a differing text a message shows."""


class Observation(NamedTuple):
    """Something that must be the same in every process.

    Attributes:
        place: where it was seen, for messages: "spec.metric on validation example 3".
        digest: digest of the observed value.
        text: the value, or its beginning, for messages.
    """

    place: str
    digest: str
    text: str = ""


LOADED = Observation("the loading of program, metric and data", "done", "done")


class Difference(NamedTuple):
    """The first place where two processes differ, and what each saw there."""

    place: str
    mine: str
    theirs: str


class Twin(Protocol):
    """A process's connection to its counterpart: plan to twin, or twin to plan.

    Attributes:
        is_plan: whether this process is the plan that started the other.
        backwards: whether this process runs independent examples in the opposite order, which must not matter.
        runs: numbers of the examples to rehearse, in order. None: this process decides.
    """

    is_plan: bool
    backwards: bool

    @property
    def runs(self) -> list[int] | None: ...

    def tell(self, runs: Sequence[int], seconds: float) -> None:
        """Sends the numbers of the rehearsed examples, and the time that they took. It is called once."""

    def checkpoint(self, observations: Sequence[Observation]) -> str | None:
        """Compares the observations, before the plan spends anything or ends. Later calls do nothing.

        Returns:
            A note for people, if there is one.

        Raises Drift if the two differ. Does not return in the twin.
        """


def start() -> "Other | None":
    """Starts the twin of this plan.

    Returns None if the environment disables it, if a plan of the run has come to its end, or if this plan only
    publishes what is paid for.
    """
    journal = Path(os.environ.get(names.ENV_JOURNAL_DIR) or names.JOURNAL_DIR)
    if os.environ.pop(names.ENV_TWIN, "1") == "0" or os.environ.get(names.ENV_PARTIAL) or _has_plan(journal):
        return None
    environment = {name: value for name, value in os.environ.items() if name != names.ENV_NONCE}
    environment |= {
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        names.ENV_TERMINATION_LOG: os.devnull,
        names.ENV_PLAN_SEED: str(hash_seed()),
    }
    if names.ENV_ALLOWANCE in environment:
        # The plan may spend the whole allowance, and nobody books a twin's spending.
        environment[names.ENV_ALLOWANCE] = NO_CALLS
    return Other(lambda seed: _launch({**environment, VARIABLE: str(seed)}))


def _has_plan(journal: Path) -> bool:
    """Whether a plan of the run has come to its end. Any other record may be that of a process that was killed."""
    with contextlib.suppress(CorruptShard):  # the plan itself says what is wrong
        for path in sorted(path for path in files(journal) if path.name.endswith(names.SHARD_SUFFIX)):
            if any(record.kind is RecordKind.PLAN for record in headers(path.read_bytes())):
                return True
    return False


def _launch(environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "swarm_worker", "twin"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@dataclass
class Other:
    """The plan's connection to its twin process.

    Args:
        launch: starts a twin with this hash seed.
    """

    launch: Callable[[int], "subprocess.Popen[bytes]"]
    is_plan: bool = True
    backwards: bool = False
    runs: None = None
    _told: Sequence[int] = ()
    _patience: float = PATIENCE_SECONDS
    _is_met: bool = False
    _seed: int = field(default_factory=hash_seed)
    _started: float = field(default_factory=monotonic)

    def __post_init__(self) -> None:
        self.process = self.launch(2 if self._seed == 1 else 1)

    def tell(self, runs: Sequence[int], seconds: float) -> None:
        self._told, self._patience = runs, PATIENCE_SECONDS + 2 * seconds
        if not self._is_met:
            self._tell(self.process)

    def checkpoint(self, observations: Sequence[Observation]) -> str | None:
        if self._is_met:
            return None
        self._is_met = True
        mine = [LOADED, *observations]
        theirs = _observations(self.process, self._patience)
        if theirs is None or (difference := compare(mine, theirs)) is None:
            return None
        again = self.launch(self._seed)
        self._tell(again)
        theirs = _observations(again, self._patience + monotonic() - self._started)
        if theirs is None:
            raise Drift(WorkerReason.NONDETERMINISTIC, explain(difference, "their hash seed and the order"))
        if other := compare(mine, theirs):
            raise Drift(WorkerReason.NONDETERMINISTIC, explain(other, "the order"))
        return _note(difference, self._seed)

    def _tell(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps([*self._told]).encode() + b"\n")
        process.stdin = None


def _observations(process: "subprocess.Popen[bytes]", patience: float) -> list[Observation] | None:
    """Returns the twin's observations; None if it died or is too slow."""
    try:
        output, errors = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
    code, said = process.returncode, errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
    if code == names.ExitCode.DONE and output:
        return [LOADED, *(Observation(*observation) for observation in json.loads(output))]
    if code in names.TERMINAL_EXITS:
        # The user's code could be loaded in the plan, but not in the twin.
        return [LOADED._replace(digest="failed", text=said)]
    print(f"Nothing is known of differences between processes: the twin ended with {code}. {said}", file=sys.stderr)  # noqa: T201
    return None


class Line:
    """The twin's connection to the plan that started it."""

    is_plan = False
    backwards = True

    def __init__(self) -> None:
        self._told, self._pipe = os.dup(0), os.dup(1)
        with open(os.devnull, "rb") as devnull:  # noqa: PTH123
            os.dup2(devnull.fileno(), 0)
        end_with_reader(self._pipe, names.ExitCode.FAILED)

    @property
    def runs(self) -> list[int]:
        with os.fdopen(self._told, "rb") as told:
            runs: list[int] = json.loads(told.readline() or b"[]")
        return runs

    def tell(self, runs: Sequence[int], seconds: float) -> None:
        """Does nothing: the plan chose the examples."""

    def checkpoint(self, observations: Sequence[Observation]) -> NoReturn:
        with os.fdopen(self._pipe, "w", encoding="ascii") as pipe:
            json.dump(observations, pipe)
        os._exit(names.ExitCode.DONE)


def compare(mine: Sequence[Observation], theirs: Sequence[Observation]) -> Difference | None:
    """Returns the first difference between the observations of two processes, in order."""
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
    """Returns excerpts of two texts from a little before their first difference."""
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
    "the loading": "Let imports and constructors depend on the files alone: no time, no unseeded randomness",
    "spec.data": "Sort what comes from a folder, and draw samples with random.Random(0)",
    "spec.program": "Let prompts and decisions depend on the inputs alone: no time, no unseeded randomness, and "
    "nothing that is left over from another example",
    "spec.metric": "Let the metric depend on the example and the prediction alone: no time, no unseeded randomness, "
    "and nothing that is left over from another example",
    "effect": "Let what an optimizer, a data function or a program's constructor chooses depend on the files alone: no "
    "time, no unseeded randomness",
    "": "Look for time, unseeded randomness, and the environment",
}


def explain(difference: Difference, but_for: str) -> str:
    """Returns a message that says where the processes differ, what each process saw, and what to do.

    Args:
        but_for: the intended differences between the processes. The message goes on with "of independent examples", so
            this text ends with "the order".
    """
    advice = next(text for part, text in _ADVICE.items() if difference.place.startswith(part))
    return (
        f"{difference.place} is not the same in two processes that differ only in {but_for} of independent examples: "
        f'"{difference.mine}" in the one, "{difference.theirs}" in the other. No LM call was made. {advice}.'
    )


def _note(difference: Difference, seed: int) -> str:
    place, mine, theirs = (" ".join(text.split()) for text in difference)
    return (
        f"{place} depends on the hash seed, as the order of a set does: "
        f'"{mine}" with {VARIABLE}={seed}, "{theirs}" with another. All processes of this run '
        f"have {VARIABLE}={seed}, and so must stock DSPy to come to the same program. To depend on no seed, sort what "
        "comes from a set."
    )
