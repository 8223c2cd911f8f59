"""Rehearses program and metric: observes their behaviour before the first LM call is paid for.

Everything that must be the same in every process becomes an `Observation`. Program and metric run on a few examples
against the imaginary provider. The rehearsal observes their LM calls, results and exceptions. They run in a fork, so
they change nothing in this process. The fork calls no tool, and its LM calls are neither counted nor cached.

Each example runs twice, and the twin runs the examples in the opposite order. So there are 16 comparisons. A decision
by a fair coin escapes all of them with probability 1/2 ** 16. An event that happens in one run of ten escapes them with
probability 4 %. The comparisons also find state that one example leaves for the next. The rehearsal also reports state
that other code would read (`Rehearsal.changes`).
"""

import asyncio
import copy
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, NamedTuple, NoReturn

import dspy

from swarm_wire.names import ExitCode, WorkerReason
from swarm_worker.client.call import LMCall
from swarm_worker.content import shared_state
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk, combine
from swarm_worker.content.masking import beginning
from swarm_worker.content.shared_state import Kind, Place, changed, picture, picture_of_example
from swarm_worker.determinism.twin import Observation
from swarm_worker.errors import BadInput
from swarm_worker.exceptions import describe, location
from swarm_worker.forks import Child, end_with_reader, fork, leave_connections
from swarm_worker.imaginary.provider import imagined, request_text
from swarm_worker.replay import recorded
from swarm_worker.replay.attempts import counting_apart
from swarm_worker.replay.calls import Answers, cell_calls
from swarm_worker.user.data import Compilation

EXAMPLES = 8
RUNS = 16
"""Number of runs in a rehearsal, at least two for each example.

The examples are the first EXAMPLES of the validation set. Without a validation set, they are from the training set.
"""
CALLS = 100
"""The rehearsal ends a run after this many LM calls: a program may repeat a call until it likes the answer."""
SHARE = 0.5
"""The largest share of the rehearsal's time for one run, so that one slow example leaves time for the others."""
SILENT_SECONDS = 1.0
"""A rehearsal that takes longer than this prints a message."""
VALUE_TEXT, REQUEST_TEXT = 1_000, 20_000
"""How many characters of a value, and of a request, are kept for messages."""


_NO_ANSWERS = Answers(Codec({}), lambda key: None, lambda record: None)
"""Knows no answer and prints no record, because all calls are imaginary."""


@dataclass
class Rehearsal:
    """The findings of a rehearsal.

    Attributes:
        runs: numbers of the examples whose runs ended in time, in order, counted from 1.
        observations: the observations of these runs.
        changes: places that the runs changed.
        kept: paths of state that program and metric can reach, and that the runs changed.
        seconds: duration of the rehearsal.
    """

    runs: list[int] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    changes: list[Place] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def check(self, *, is_custom: bool) -> None:
        """Raises BadInput if examples leave changes that a reader in another process would miss.

        Args:
            is_custom: whether the optimizer is the user's own. Such an optimizer may read all state that program and
                metric keep. DSPy's optimizers do not read it.
        """
        for place in self.changes:
            if place.kind is not Kind.STATE or is_custom:
                raise BadInput(WorkerReason.SIDE_EFFECT, _TOLD[place.kind].format(place.path, place.file))


_TOLD = {
    Kind.CALLBACK: "the callback {0} ({1}) changes while program and metric run on an example. A swarm runs examples "
    "in other processes, so what the callback collects would be lost. No LM call was made. Remove it, or let it write "
    "to a place outside of its process.",
    Kind.EXAMPLE: "program or metric changes {0}. In stock DSPy every later step sees the change; a swarm runs "
    "examples in other processes, where it would be lost. No LM call was made. Let them change a copy.",
    Kind.STATE: "{0} ({1}) changes while program and metric run on an example, and spec.optimizer.custom may read it. "
    "A swarm runs examples in other processes, so the change would be lost. No LM call was made. Return such a value "
    "in the Prediction instead; for a memo, use functools.cache.",
}


def observe(loaded: Compilation) -> list[Observation]:
    """Returns observations of the user's data, program and metric, which must be the same in every process."""
    return [*_data(loaded), *_program(loaded)]


def rehearse(
    loaded: Compilation,
    seconds: float = inf,
    runs: Sequence[int] | None = None,
    *,
    backwards: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Rehearsal:
    """Runs program and metric on a few examples, in forks of this process.

    Args:
        seconds: time limit of the rehearsal. A run that takes more than SHARE of it is ended, and its example does not
            run again.
        runs: numbers of the examples to run, in order. None: each of the first examples, twice.
        backwards: whether to run the examples in the opposite order. The order of the result does not change.
        say: prints a message about slow runs.
    """
    count = min(EXAMPLES, len(_examples(loaded)[1]))
    todo = list(range(1, count + 1)) * -(-RUNS // max(1, count)) if runs is None else list(runs)
    if backwards:
        todo.reverse()
    forks = _Forks(loaded, seconds, len(todo), say)
    while todo and forks.left > 0:
        forks.play(todo)
    return forks.rehearsal(backwards)


class _Forks:
    """The parent's side of a rehearsal: makes the forks and collects their results."""

    def __init__(self, loaded: Compilation, seconds: float, runs: int, say: Callable[[str], None]) -> None:
        self._loaded, self._seconds, self._say = loaded, seconds, say
        self._kind, _ = _examples(loaded)
        self._began, self._runs, self._is_silent = monotonic(), runs, True
        self._seen: list[tuple[int, list[Observation]]] = []
        self._changes: dict[Place, None] = {}
        self._kept: set[str] = set()

    @property
    def left(self) -> float:
        """Returns the seconds that are left."""
        return self._seconds - self._elapsed

    @property
    def _elapsed(self) -> float:
        return monotonic() - self._began

    def play(self, todo: list[int]) -> None:
        """Runs examples in one fork, and removes from the list those that need no further run."""
        child = fork(duplex=False)
        if not isinstance(child, Child):
            _play(self._loaded, todo, child)
        try:
            while todo:
                began = monotonic()
                if not self._waits(child, todo[0]):
                    why = "it had not come to its end"
                    break
                try:
                    told = child.connection.recv()
                except (EOFError, OSError):
                    told = "its process ended"
                if isinstance(told, _Refusal):
                    raise BadInput(*told)
                if isinstance(told, str):
                    why = told
                    break
                observations, changes, kept = told
                self._seen.append((todo.pop(0), observations))
                self._changes |= dict.fromkeys(changes)
                self._kept |= {*kept}
        finally:
            child.end()
        if todo:
            slow, took = todo[0], monotonic() - began
            todo[:] = [number for number in todo if number != slow]
            if self.left <= 0:
                self._say(
                    f"The rehearsal ends after {len(self._seen)} of {self._runs} runs{self._limit}; {self._kind} "
                    f"example {slow} was on for {took:.1f} s."
                )
            elif slow not in dict(self._seen):
                self._say(
                    f"{self._kind.capitalize()} example {slow} is not rehearsed: {why} after {took:.1f} s{self._limit}."
                )

    def rehearsal(self, backwards: bool) -> Rehearsal:
        seen = self._seen[::-1] if backwards else self._seen
        observations = [observation for _, told in seen for observation in told]
        return Rehearsal(
            [number for number, _ in seen], observations, list(self._changes), sorted(self._kept), self._elapsed
        )

    @property
    def _limit(self) -> str:
        return f" (swarm.rehearsalSeconds: {self._seconds:g})" if self._seconds < inf else ""

    def _waits(self, child: Child, number: int) -> bool:
        """Waits for the run of an example. Returns whether the run ends in time."""
        limit = min(self._seconds * SHARE, self.left)
        if self._is_silent:
            silent = min(limit, max(0.0, SILENT_SECONDS - self._elapsed))
            if child.connection.poll(silent):
                return True
            limit -= silent
            self._is_silent = False
            self._say(
                f"Program and metric are being rehearsed, with imaginary models; {self._kind} example {number} is on"
                f"{self._limit}."
            )
        return child.connection.poll(max(0.0, limit) if limit < inf else None)


def _examples(loaded: Compilation) -> tuple[str, list[Any]]:
    """Returns the set whose examples are rehearsed: its name for messages, and its examples."""
    return ("training", loaded.data.train) if loaded.data.validation is None else ("validation", loaded.data.validation)


class _Refusal(NamedTuple):
    reason: str
    message: str


def _play(loaded: Compilation, todo: Sequence[int], line: Connection) -> NoReturn:
    """Runs the examples in a fork, and sends the observations and changes of each example."""
    try:
        end_with_reader(line.fileno(), ExitCode.FAILED)
        leave_connections()
        logging.disable(logging.CRITICAL)
        kind, examples = _examples(loaded)
        stage, before = _Stage(loaded.student, loaded.metric, kind), picture(loaded)
        held = shared_state.kept(loaded.student, loaded.metric)
        with imagined(stage.hear), counting_apart():
            for position, number in enumerate(todo):
                example, name = copy.deepcopy(examples[number - 1]), f"{kind} example {number}"
                as_loaded = picture_of_example(example, name)
                observations = stage.run(number, example)
                changes = changed(as_loaded, picture_of_example(example, name))
                kept: list[str] = []
                if position in (0, len(todo) - 1):
                    changes += changed(before, picture(loaded))
                    kept = shared_state.changes(held, shared_state.kept(loaded.student, loaded.metric))
                line.send((observations, changes, kept))
    except BadInput as error:
        line.send(_Refusal(error.reason, str(error)))
    except BaseException as error:
        line.send(describe(error))
    finally:
        os._exit(ExitCode.DONE)


def _data(loaded: Compilation) -> Iterator[Observation]:
    for name in ("train", "validation", "test"):
        for number, example in enumerate(getattr(loaded.data, name) or (), 1):
            yield _seen(f"spec.data.{name}, example {number}", example, str(dict(example)))


def _program(loaded: Compilation) -> Iterator[Observation]:
    for name, predictor in loaded.student.named_predictors():
        yield _seen(f"spec.program, predictor {name}", predictor, str(predictor.dump_state()))
    yield _seen("spec.program, its attributes", loaded.student, str(vars(loaded.student)))
    yield _seen("spec.metric, its code and what it closes over", loaded.metric, repr(loaded.metric))


def _seen(place: str, thing: Any, text: str) -> Observation:
    return Observation(place, Walk().digest(thing), beginning(text, VALUE_TEXT))


@dataclass
class _Stage:
    """Runs one program and its metric, and notes the LM calls of the current run."""

    program: Any
    metric: Callable[..., Any]
    kind: str
    """Name of the examples' set, for messages."""
    _calls: list[tuple[str, str]] = field(default_factory=list)
    _unordered: bool = False
    _lock: Any = field(default_factory=threading.Lock)

    def run(self, number: int, example: Any) -> list[Observation]:
        """Runs an example, and returns the observations. Raises BadInput if such a cell would end a real run."""
        on, trace = f"on {self.kind} example {number}", recorded.trace()
        with cell_calls(on, _NO_ANSWERS) as ledger, dspy.context(trace=trace, usage_tracker=None):
            seen, predicted = self._tried(f"spec.program {on}", "its prediction", self.program, **example.inputs())
            for prediction in predicted:
                for what, given in (("its value", ()), ("its value with a trace", (list(trace),))):
                    seen += self._tried(f"spec.metric {on}", what, self.metric, example, prediction, *given)[0]
        if isinstance(ledger.refused, BadInput):
            raise ledger.refused
        return seen

    def hear(self, lm: Any, call: LMCall, answer: Any) -> None:
        """Notes an LM call. Any thread may call this."""
        callers = dspy.settings.caller_modules or []
        names = {id(predictor): name for name, predictor in self.program.named_predictors()}
        name = next((names[id(module)] for module in reversed(callers) if id(module) in names), "")
        with self._lock:
            self._calls.append((name, request_text(call)))
            self._unordered |= threading.current_thread() is not threading.main_thread() or _in_event_loop()
            if len(self._calls) >= CALLS:
                raise _Enough

    def _tried(
        self, place: str, what: str, function: Callable[..., Any], *given: Any, **named: Any
    ) -> tuple[list[Observation], list[Any]]:
        """Returns the observations of a function call, and a list of its result, which is empty after an exception."""
        self._calls, self._unordered, returned = [], False, []
        try:
            returned.append(function(*given, **named))
            end = _seen(f"{place}, {what}", returned[0], str(returned[0]))
        except (Exception, SystemExit, _Enough) as error:
            # The digest omits the error's text, which may list a set in any order. No code depends on that text.
            kind = combine(type(error).__qualname__, location(error)).hex()
            end = Observation(f"{place}, what it raised", kind, beginning(describe(error), VALUE_TEXT))
        return [*self._heard(place), end], returned

    def _heard(self, place: str) -> Iterator[Observation]:
        # Calls of several threads or coroutines arrive in any order, so they are sorted.
        for number, (name, text) in enumerate(sorted(self._calls) if self._unordered else self._calls, 1):
            by = f" (predictor {name})" if name else ""
            yield Observation(f"{place}, LM call {number}{by}", combine(text).hex(), beginning(text, REQUEST_TEXT))


class _Enough(BaseException):
    """Ends a run that has made CALLS LM calls. It is a BaseException, so programs do not catch it."""


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
