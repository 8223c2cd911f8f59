"""The expensive steps of an optimizer. Each has a name by content, becomes a task, and turns results into what stock
DSPy would have returned.
"""

import contextlib
import io
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from types import MappingProxyType
from typing import Any, Protocol

from dspy.primitives.prediction import Prediction
from dspy.teleprompt.bootstrap import BootstrapFewShot

from swarm_wire.messages import Cell, EffectKind, Outcome, Task
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_worker.client.call import LMCall
from swarm_worker.content import shared_state
from swarm_worker.content.codec import Codec, Walks
from swarm_worker.content.digest import Walk, combine
from swarm_worker.content.outcome import Value
from swarm_worker.errors import BadInput, Drift
from swarm_worker.exceptions import ProcessEnded, Raised
from swarm_worker.journal.store import Store
from swarm_worker.lookahead import placeholder
from swarm_worker.replay import score
from swarm_worker.replay.attempts import counting_apart
from swarm_worker.replay.calls import Answers, name_call
from swarm_worker.replay.execute import run_cell
from swarm_worker.replay.prefetch import running_ahead
from swarm_worker.replay.pruning import FAILURE, Bound, Standing
from swarm_worker.replay.settings import in_force

BOOTSTRAP_WEIGHT = 8
"""A bootstrap runs the program about so often, one run after the other; for a fair deal of slices only."""

EVALUATION = "dspy.evaluate.evaluate.Evaluate.__call__.<locals>.process_item"
"""The function of an evaluation's wave: it closes over program and metric."""
FUNCTION, ITEM, INPUT = "F", "I", "B"
"""Names of the walks that payloads refer to: a wave's function, one of its items, a bootstrap's input."""


@dataclass
class Tasks:
    """A task and the blobs it refers to."""

    task: Task
    blobs: dict[str, bytes]

    def records(self) -> list[Record]:
        blobs = [Record(RecordKind.BLOB, {"key": key}, body) for key, body in self.blobs.items()]
        return [*blobs, Record(RecordKind.TASK, self.task.to_header())]

    def part(self, keys: Collection[str]) -> "Tasks":
        """The task with these of its cells only."""
        cells = [cell for cell in self.task.cells if cell.key in keys]
        return replace(self, task=self.task.model_copy(update={"cells": cells}))

    def rest(self, store: Store) -> "Tasks":
        """What is left of it to do."""
        errors = sum(store.has_error(cell.key) for cell in self.task.cells)
        left = self.part({cell.key for cell in self.task.cells if cell.key not in store})
        if self.task.max_errors is None:
            return left
        return replace(left, task=left.task.model_copy(update={"max_errors": max(1, self.task.max_errors - errors)}))


class Failures:
    """Counts failing cells of tasks that run here.

    Args:
        own: how many cells of a task run here, by its digest; all of them where nothing is said.

    Attributes:
        is_over: whether a task has failed: begin nothing more.
        doubtful: digests of the tasks that fail if their other cells, elsewhere, fail as often as those here. What the
            optimizer comes to after them may not be needed: begin nothing of that.
    """

    def __init__(self, own: Mapping[str, int] = MappingProxyType({})) -> None:
        self._own, self._counts = own, Counter[str]()
        self._lock = threading.Lock()
        self.is_over = False
        self.doubtful: set[str] = set()

    def note(self, task: Task, result: Record) -> None:
        if task.max_errors is not None and result.header["outcome"] == Outcome.ERROR:
            with self._lock:
                self._counts[task.digest] += 1
                errors, cells = self._counts[task.digest], len(task.cells)
                self.is_over |= errors >= task.max_errors
                # A single error says too little of the others.
                if errors > 1 and errors * cells >= task.max_errors * self._own.get(task.digest, cells):
                    self.doubtful.add(task.digest)


class Work(Protocol):
    """A task that was made ready."""

    task: Task

    def run(self, position: int, answers: Answers) -> Record:
        """Runs one of its cells; its RESULT record. Raises as `run_cell`, and Drift."""


@dataclass
class State:
    """What program and metric hold, and could reach, before examples ran.

    Attributes:
        kept: what of that may change: the rehearsal has shown that it does not count.
    """

    program: Any
    metric: Any
    kept: Collection[str]
    before: dict[str, bytes]

    @classmethod
    def of(cls, program: Any, metric: Any, kept: Collection[str] | None) -> "State | None":
        """None where nothing was rehearsed."""
        return None if kept is None else cls(program, metric, kept, shared_state.kept(program, metric))

    def check(self) -> None:
        """Raises BadInput where an example has left what the next one can read."""
        found = shared_state.changes(self.before, shared_state.kept(self.program, self.metric))
        if new := [path for path in found if path not in self.kept]:
            raise BadInput(
                WorkerReason.SIDE_EFFECT,
                f"an example changes {new[0]}, which other examples can read: in stock DSPy their order then counts, "
                "and here they run in other processes. Let program and metric depend on their inputs alone; for a "
                "memo, use functools.cache.",
            )


def make_work(task: Task, blobs: Mapping[str, bytes], codec: Codec) -> Work:
    """Unpickles what a task refers to."""
    payload = codec.loads(blobs[task.payload])
    if task.kind is EffectKind.BOOTSTRAP or task.items is None:
        return BootstrapWork(task, payload)
    return WaveWork(task, payload, codec.loads(blobs[task.items]))


class Wave:
    """One function over many items: an evaluation, or a collection of traces. Each item is a cell.

    A cell's key is made from the function with everything it closes over (program, metric), the settings and the item:
    waves of equal programs share cells.

    Args:
        max_errors: so many failing items are an error of the whole, as in stock; where there are that many items.
    """

    kind = EffectKind.WAVE
    weight = 1

    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any], max_errors: int) -> None:
        self.function, self.items, self.settings = function, list(items), in_force()
        self.max_errors = max(1, max_errors) if max(1, max_errors) <= len(self.items) else None
        self.function_walk = Walk()
        head = bytes.fromhex(self.function_walk.digest("wave", function, self.settings))
        self.program = head.hex() if self._is_evaluation() else None
        self.item_walks = [Walk() for _ in self.items]
        names = [walk.digest(item) for walk, item in zip(self.item_walks, self.items, strict=True)]
        self.keys = [combine(head, name).hex() for name in names]
        # Programs that are run on the same item often begin with the same LM call.
        self.groups = [name[:8] for name in names]
        self.digest = combine("wave", *self.keys).hex()
        self.unresolved = self.function_walk.unresolved or any(walk.unresolved for walk in self.item_walks)

    def is_known(self, store: Store) -> bool:
        return self.has_failed(store) or all(key in store for key in self.keys)

    def errors_left(self, store: Store) -> int | None:
        """When so many more items have failed, stock would stop, whatever the others come to; None: never."""
        if self.max_errors is None:
            return None
        errors = sum(map(store.has_error, self.keys))
        return max(0, self.max_errors - errors)

    def has_failed(self, store: Store) -> bool:
        """Whether so many have failed."""
        return self.errors_left(store) == 0

    def load(self, store: Store, codec: Codec, missing: float = FAILURE) -> list[Value]:
        """Outcome and value of each item, in order.

        Args:
            missing: what each missing item of an evaluation scores, as a Bound.
        """
        known = self._known(store, codec)
        bound: Value = Outcome.OK, (Prediction(), Bound(missing))
        return [known.get(number, bound) for number in range(len(self.items))]

    def tasks(self, store: Store, codec: Codec) -> Tasks:
        first = {key: number for number, key in reversed(list(enumerate(self.keys)))}
        cells = [
            Cell(key=key, item=number, group=self.groups[number])
            for key, number in sorted(first.items(), key=lambda it: it[1])
            if key not in store
        ]
        # All items, also those whose cells are known: waves over the same data then share one blob.
        items, items_key = _blob(codec.dumps(self.items))
        content = {"function": self.function, "settings": self.settings, "kept": store.kept}
        payload, payload_key = _blob(codec.dumps(content))
        task = Task(
            digest=self.digest,
            kind=self.kind,
            payload=payload_key,
            items=items_key,
            cells=cells,
            max_errors=self.errors_left(store),
        )
        return Tasks(task, {payload_key: payload, items_key: items})

    def placeholder(self, letter: str, score: float) -> list[Value] | None:
        """Scores for an evaluation; None where results carry traces, whose shape nobody can guess."""
        if _name(self.function) == "dspy.teleprompt.reanchor.calibrate.scores.<locals>.one":
            return placeholder.numbers(score, len(self.items))
        return placeholder.scores(score, len(self.items)) if self.program else None

    def standing(self, store: Store, codec: Codec) -> Standing | None:
        """What is known of an evaluation; None where a value is no plain number."""
        values = self._known(store, codec)
        scores: dict[int, float] = {}
        for number, (outcome, value) in values.items():
            score = _plain(value[1]) if outcome is Outcome.OK else FAILURE
            if score is None:
                return None
            scores[number] = score
        failed = frozenset(number for number, (outcome, _) in values.items() if outcome is Outcome.ERROR)
        return Standing(tuple(self.groups), scores, failed, self.max_errors)

    def scores(self, values: list[Value]) -> dict[str, float]:
        """Of an evaluation's items, by group; those that failed, or were not paid for, are left out."""
        return {
            group: float(value[1])
            for group, (outcome, value) in zip(self.groups, values, strict=True)
            if outcome is Outcome.OK and isinstance(value[1], Real) and not isinstance(value[1], Bound)
        }

    def _known(self, store: Store, codec: Codec) -> dict[int, Value]:
        """Outcome and value of each item that the journal has, by its position."""
        return {
            number: _value(store, key, codec, [(FUNCTION, self.function_walk), (ITEM, walk)])
            for number, (key, walk) in enumerate(zip(self.keys, self.item_walks, strict=True))
            if key in store
        }

    def _is_evaluation(self) -> bool:
        if _name(self.function) != EVALUATION:
            return False
        return "bootstrap_trace_data" not in getattr(_closed_over(self.function)["metric"], "__qualname__", "")


@dataclass
class WaveWork:
    """A wave's task in a worker."""

    task: Task
    payload: dict[str, Any]
    items: list[Any]
    walk: Walk = field(default_factory=Walk)
    head: bytes = b""
    _state: "State | None" = None
    _run: Callable[[Any], Any] = field(init=False)

    def __post_init__(self) -> None:
        function = self._run = self.payload["function"]
        self.head = bytes.fromhex(self.walk.digest("wave", function, self.payload["settings"]))
        if _name(function) == EVALUATION:
            held = _closed_over(function)
            self._state = State.of(held["program"], held["metric"], self.payload["kept"])
            self._run = _scoring(function, held["metric"])

    def run(self, position: int, answers: Answers) -> Record:
        cell = self.task.cells[position]
        item, walk = self.items[cell.item], Walk()
        check_drift(cell.key, combine(self.head, walk.digest(item)).hex())
        walks = [(FUNCTION, self.walk), (ITEM, walk)]
        with counting_apart(refuses=True):
            record = run_cell(cell.key, self._run, (item,), answers, walks=walks, **self.payload["settings"])
        if self._state is not None:
            self._state.check()
        return record


def _scoring(evaluated: Callable[[Any], Any], metric: Any) -> Callable[[Any], Any]:
    """Of an evaluation's item, prediction and score. Raises BadInput where that is none: at once, and not when the
    whole evaluation is paid for.
    """

    def scored(item: Any) -> Any:
        value = evaluated(item)
        score.check(value[1], metric)
        return value

    return scored


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
"""Attributes that a BootstrapFewShot's work depends on."""


class Bootstrap:
    """A whole `BootstrapFewShot.compile`: sequential by nature, so it is one cell.

    Only demos travel back, by predictor name: the plan sets them on a copy of its own student, so that Signature
    classes stay the plan's, as they would in stock.
    """

    kind = EffectKind.BOOTSTRAP
    weight = BOOTSTRAP_WEIGHT
    program = None
    groups: Sequence[str] = ()

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

    def has_failed(self, store: Store) -> bool:
        return False

    def load(self, store: Store, codec: Codec, missing: float = FAILURE) -> Value:
        """OK and ({predictor name: demos}, error count, what examples raised), or ERROR and the exception."""
        return _value(store, self.digest, codec, [(INPUT, self.walk)])

    def tasks(self, store: Store, codec: Codec) -> Tasks:
        content = {
            "configuration": self.configuration,
            "arguments": self.arguments,
            "settings": self.settings,
            "kept": store.kept,
        }
        payload, key = _blob(codec.dumps(content))
        cells = [Cell(key=self.digest)]
        task = Task(digest=self.digest, kind=self.kind, payload=key, cells=cells, weight=self.weight)
        return Tasks(task, {key: payload})

    def placeholder(self, letter: str, score: float) -> Value:
        demos = placeholder.demos(letter, self.digest, self.arguments[0])
        return Outcome.OK, (demos, self.configuration["error_count"], {})

    def scores(self, value: Value) -> dict[str, float]:
        return {}

    def standing(self, store: Store, codec: Codec) -> None:
        return None


@dataclass
class BootstrapWork:
    """A bootstrap's task in a worker."""

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
    """The lock that stock holds while it counts an example that fails, and swallows what that raised.

    Attributes:
        raised: by the position of the example.
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


class Call:
    """One LM call that an optimizer makes itself: a proposal, a reflection. The plan makes it and journals it.

    An uncached request that is repeated is a new effect: `occurrence` counts them.
    """

    kind = "call"

    def __init__(self, lm: Any, call: LMCall, occurrence: int = 0) -> None:
        self.lm, self.call, self._is_sample = lm, call, occurrence > 0
        self.digest, self.unresolved = name_call(lm, call, occurrence)
        self.keys = [self.digest]

    def is_known(self, store: Store) -> bool:
        return self.digest in store or store.answer(self.digest, is_sample=self._is_sample) is not None

    def load(self, store: Store, codec: Codec) -> Value:
        """OK and what the client returned, or ERROR and what it raised."""
        if (answer := store.answer(self.digest, is_sample=self._is_sample)) is not None:
            return Outcome.OK, codec.loads(answer)
        value: Value = codec.loads(store.body(self.digest))
        return value


def _plain(score: Any) -> float | None:
    """A score that is added up as a float is; None for others: numpy's and decimals have a rounding of their own."""
    number = score.get("score") if type(score) is Prediction else score
    is_plain = type(number) in (bool, int, float) and abs(number) <= sys.float_info.max
    return float(number) if is_plain else None


def _value(store: Store, key: str, codec: Codec, walks: Walks) -> Value:
    """A cell's outcome and value. A cell that ended every process that ran it left no body: that is its error."""
    if body := store.body(key):
        value: Value = codec.loads(body, walks)
        return value
    return Outcome.ERROR, ProcessEnded(store.result(key).error or "")


def _closed_over(function: Any) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells}


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', '')}"


def _blob(data: bytes) -> tuple[bytes, str]:
    return data, combine("blob", data).hex()


def check_drift(asked: str, found: str) -> None:
    if asked != found:
        raise Drift(
            WorkerReason.DIGEST_DRIFT,
            f"a task named {asked} by the plan is {found} to this worker: the program or its data depends on something "
            "that differs between processes (time, randomness, an unordered set, the environment). Make it the same "
            "everywhere.",
        )
