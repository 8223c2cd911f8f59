"""A rehearsal of program and metric: what a process sees of them before the first LM call is paid for.

Everything that must be the same in every process becomes an `Observation`. Program and metric run on a few examples
against the imaginary provider; each of their LM calls, what they return and what they raise is observed. Nothing stays
of it: the program is a copy, random generators are set back, no call is counted or cached, and no tool is called.

Each example runs twice and in the twin in the opposite order. So a choice by chance is missed with probability
1/2 ** 16 (a fair coin) or 4 % (one in ten), and so is what one example leaves behind for the next one, which a swarm
runs in other processes.
"""

import asyncio
import contextlib
import copy
import io
import logging
import random
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dspy

from swarm_worker.client.call import LMCall
from swarm_worker.exceptions import describe, location
from swarm_worker.imaginary.provider import imagined, request_text
from swarm_worker.loading import Compilation
from swarm_worker.replay.digest import Walk, combine
from swarm_worker.twin import Observation

EXAMPLES = 8
RUNS = 16
"""The first EXAMPLES of the validation set (if there is none, of the training set) are run so often in all, at least
twice each."""
CALLS = 100
"""LM calls of one run after which it is ended: a program may wait for an answer that is never imagined."""
VALUE_TEXT, REQUEST_TEXT = 1_000, 20_000
"""Characters that are kept for a message: of a value, of a request."""


def observe(loaded: Compilation, *, backwards: bool = False) -> list[Observation]:
    """What this process sees of the user's data, program and metric, the same in every process as it should be.

    Args:
        backwards: run the examples in the opposite order. What is returned has the same order.
    """
    return [*_data(loaded), *_program(loaded), *_rehearsed(loaded, backwards)]


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
    return Observation(place, Walk().digest(thing), text[:VALUE_TEXT])


def _rehearsed(loaded: Compilation, backwards: bool) -> Iterator[Observation]:
    kind = "training" if loaded.data.validation is None else "validation"
    examples = list(enumerate((loaded.data.validation or loaded.data.train)[:EXAMPLES], 1))
    order = examples * -(-RUNS // len(examples))
    stage = _Stage(loaded.student.deepcopy(), loaded.metric, kind)
    with imagined(stage.hear), _silent(), _generators_set_back():
        runs = [stage.run(number, copy.deepcopy(example)) for number, example in (order[::-1] if backwards else order)]
    for run in runs[::-1] if backwards else runs:
        yield from run


@dataclass
class _Stage:
    """One program and its metric; hears the LM calls of the run that is on."""

    program: Any
    metric: Callable[..., Any]
    kind: str
    """Of the examples, for people."""
    _calls: list[tuple[str, str]] = field(default_factory=list)
    _unordered: bool = False
    _lock: Any = field(default_factory=threading.Lock)

    def run(self, number: int, example: Any) -> list[Observation]:
        on = f"on {self.kind} example {number}"
        trace: list[Any] = []
        with dspy.context(trace=trace, disable_history=True, usage_tracker=None):
            seen, predicted = self._tried(f"spec.program {on}", "its prediction", self.program, **example.inputs())
        for prediction in predicted:
            for what, given in (("its value", ()), ("its value with a trace", (trace,))):
                seen += self._tried(f"spec.metric {on}", what, self.metric, example, prediction, *given)[0]
        return seen

    def hear(self, lm: Any, call: LMCall, answer: Any) -> None:
        """Is told of an LM call, from any thread."""
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
        """What was seen of a call, and what it returned, if it did."""
        self._calls, self._unordered, returned = [], False, []
        try:
            returned.append(function(*given, **named))
            end = _seen(f"{place}, {what}", returned[0], str(returned[0]))
        except (Exception, SystemExit, _Enough) as error:
            # Not its text: what is raised may list a set, and nobody decides by that.
            kind = combine(type(error).__qualname__, location(error)).hex()
            end = Observation(f"{place}, what it raised", kind, describe(error)[:VALUE_TEXT])
        return [*self._heard(place), end], returned

    def _heard(self, place: str) -> Iterator[Observation]:
        # Calls of several threads or tasks come in any order.
        for number, (name, text) in enumerate(sorted(self._calls) if self._unordered else self._calls, 1):
            by = f" (predictor {name})" if name else ""
            yield Observation(f"{place}, LM call {number}{by}", combine(text).hex(), text[:REQUEST_TEXT])


class _Enough(BaseException):
    """The run made as many LM calls as a rehearsal waits for. No program catches it."""


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _generators_set_back() -> Iterator[None]:
    state = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(state)
        if numpy:
            numpy.random.set_state(numpy_state)
