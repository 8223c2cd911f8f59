"""A bootstrap: a whole `BootstrapFewShot.compile`."""

import contextlib
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dspy.teleprompt.bootstrap import BootstrapFewShot

from swarm_wire.messages import Cell, EffectKind, Outcome, Task
from swarm_wire.records import Record
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk
from swarm_worker.content.outcome import Value
from swarm_worker.exceptions import Raised
from swarm_worker.journal.store import Store
from swarm_worker.lookahead import placeholder
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.effects.effect import Score
from swarm_worker.replay.effects.side_effects import State
from swarm_worker.replay.effects.tasks import Tasks, blob, check_drift, value_of
from swarm_worker.replay.execute import run_cell
from swarm_worker.replay.prefetch import running_ahead
from swarm_worker.replay.settings import in_force

WEIGHT = 8
"""Approximate number of program runs in a bootstrap, one after the other. Slices and time limits use this number."""
INPUT = "B"
"""Name that payloads use for the walk over a bootstrap's inputs."""

CONFIGURATION = (
    "metric",
    "metric_threshold",
    "teacher_settings",
    "max_bootstrapped_demos",
    "max_labeled_demos",
    "max_rounds",
    "max_errors",
    "error_count",
)
"""Attributes of a BootstrapFewShot that its results depend on."""


class Bootstrap:
    """The effect of a bootstrap. It has one cell, because stock DSPy runs a bootstrap's examples one after the other.

    A worker returns only demos, by predictor name. The plan sets them on a copy of its own student. So the result has
    the plan's Signature classes, as in stock DSPy.
    """

    kind = EffectKind.BOOTSTRAP

    def __init__(self, optimizer: BootstrapFewShot, student: Any, teacher: Any, trainset: list[Any]) -> None:
        self.configuration = {name: getattr(optimizer, name) for name in CONFIGURATION}
        self.arguments, self.settings = (student, teacher, trainset), in_force()
        self.walk = Walk()
        self.digest = self.walk.digest("bootstrap", self.configuration, *self.arguments, self.settings)
        self.unresolved = self.walk.unresolved
        self.keys = [self.digest]

    def is_known(self, store: Store) -> bool:
        return self.digest in store

    def errors_left(self, store: Store) -> None:
        return None

    def load(self, store: Store, codec: Codec) -> Value:
        """Returns OK with (demos by predictor, error count, exceptions of examples), or ERROR with the exception."""
        return value_of(store, self.digest, codec, [(INPUT, self.walk)])

    def tasks(self, store: Store, codec: Codec) -> Tasks:
        content = {
            "configuration": self.configuration,
            "arguments": self.arguments,
            "settings": self.settings,
            "kept": store.kept,
        }
        payload, key = blob(codec.dumps(content))
        cells = [Cell(key=self.digest)]
        task = Task(digest=self.digest, kind=self.kind, payload=key, cells=cells, weight=WEIGHT)
        return Tasks(task, {key: payload})

    def placeholder(self, letter: str, score: Score) -> Value:
        demos = placeholder.demos(letter, self.digest, self.arguments[0])
        return Outcome.OK, (demos, self.configuration["error_count"], {})


@dataclass
class BootstrapWork:
    """Runs the cell of a bootstrap's task in a worker."""

    task: Task
    payload: dict[str, Any]

    def run(self, position: int, answers: Answers) -> Record:
        configuration, arguments, settings = (self.payload[key] for key in ("configuration", "arguments", "settings"))
        walk = Walk()
        check_drift(self.task.digest, walk.digest("bootstrap", configuration, *arguments, settings))
        state = State.of(arguments[0], configuration["metric"], self.payload["kept"])
        record = run_cell(
            self.task.digest,
            _bootstrap,
            (configuration, *arguments, answers.codec.redact),
            answers,
            walks=[(INPUT, walk)],
            swallows=True,
            **settings,
        )
        if state is not None:
            state.check()
        return record


def make_work(task: Task, blobs: Mapping[str, bytes], codec: Codec) -> BootstrapWork:
    return BootstrapWork(task, codec.loads(blobs[task.payload]))


def _bootstrap(
    configuration: dict[str, Any], student: Any, teacher: Any, trainset: list[Any], redact: Callable[[str], str]
) -> tuple[dict[str, Any], int, dict[int, Raised]]:
    optimizer = BootstrapFewShot.__new__(BootstrapFewShot)
    failures = _Failing(trainset, redact)
    optimizer.__dict__.update(configuration, error_lock=failures)
    with contextlib.redirect_stdout(io.StringIO()), running_ahead(optimizer, trainset):
        compiled = optimizer.compile(student, teacher=teacher, trainset=trainset)
    demos = {name: predictor.demos for name, predictor in compiled.named_predictors()}
    return demos, optimizer.error_count, failures.raised


class _Failing:
    """Replaces the lock that stock DSPy holds while it counts a failed example, and notes the swallowed exception.

    Attributes:
        raised: the exceptions by the example's position.
    """

    def __init__(self, trainset: list[Any], redact: Callable[[str], str]) -> None:
        self._positions, self._redact = {id(example): number for number, example in enumerate(trainset)}, redact
        self.raised: dict[int, Raised] = {}

    def __enter__(self) -> None:
        error = sys.exception()
        if error is not None and error.__traceback__ is not None:
            example = error.__traceback__.tb_frame.f_locals.get("example")
            if (position := self._positions.get(id(example))) is not None:
                self.raised.setdefault(position, Raised.of(error, self._redact))

    def __exit__(self, *_: object) -> None: ...
