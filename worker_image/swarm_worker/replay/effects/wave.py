"""A wave calls one function on many items, and each item is a cell. It is an evaluation, or collects traces."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from dspy.primitives.prediction import Prediction

from swarm_wire.messages import Cell, EffectKind, Outcome, Task
from swarm_wire.records import Record
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk, combine
from swarm_worker.content.outcome import Value
from swarm_worker.journal.store import Store
from swarm_worker.lookahead import placeholder
from swarm_worker.replay import score
from swarm_worker.replay.attempts import counting_apart
from swarm_worker.replay.calls import Answers, current
from swarm_worker.replay.effects.effect import Score
from swarm_worker.replay.effects.side_effects import State
from swarm_worker.replay.effects.tasks import Tasks, blob, check_drift, value_of
from swarm_worker.replay.execute import run_cell
from swarm_worker.replay.pruning import FAILURE, Bound, Standing
from swarm_worker.replay.settings import in_force

EVALUATION = "dspy.evaluate.evaluate.Evaluate.__call__.<locals>.process_item"
"""Name of the function that an evaluation's wave calls. It closes over program and metric."""
SCORES = "dspy.teleprompt.reanchor.calibrate.scores.<locals>.one"
"""Name of a function of ReAnchor's that returns only a score."""
FUNCTION, ITEM = "F", "I"
"""Names that payloads use for the walk over a wave's function, and for the walk over one of its items."""


class Wave:
    """The effect of a wave.

    A cell's key is made from the function, all that the function closes over (program, metric), the settings and the
    item. So waves of equal programs share cells.

    Args:
        max_errors: number of failed items with which the wave fails, as in stock DSPy. A number above the number of
            items is ignored.
    """

    kind = EffectKind.WAVE

    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any], max_errors: int) -> None:
        self.function, self.items, self.settings = function, list(items), in_force()
        self.max_errors = max(1, max_errors) if max(1, max_errors) <= len(self.items) else None
        self._function_walk = Walk()
        self._head = bytes.fromhex(self._function_walk.digest("wave", function, self.settings))
        self._item_walks = [Walk() for _ in self.items]
        names = [walk.digest(item) for walk, item in zip(self._item_walks, self.items, strict=True)]
        self.keys = [combine(self._head, name).hex() for name in names]
        # Programs often begin with the same LM call for the same item, so the item's name is the group.
        self.groups = [name[:8] for name in names]
        self.digest = combine("wave", *self.keys).hex()
        self.unresolved = any(walk.unresolved for walk in (self._function_walk, *self._item_walks))

    def is_known(self, store: Store) -> bool:
        return self.errors_left(store) == 0 or all(key in store for key in self.keys)

    def errors_left(self, store: Store) -> int | None:
        if self.max_errors is None:
            return None
        errors = sum(map(store.has_error, self.keys))
        return max(0, self.max_errors - errors)

    def load(self, store: Store, codec: Codec) -> list[Value]:
        """Returns outcome and value of each item, in order. A missing item has the score of a failure, as a Bound."""
        return self._loaded(store, codec, FAILURE)

    def tasks(self, store: Store, codec: Codec) -> Tasks:
        first = {key: number for number, key in reversed(list(enumerate(self.keys)))}
        cells = [
            Cell(key=key, item=number, group=self.groups[number])
            for key, number in sorted(first.items(), key=lambda it: it[1])
            if key not in store
        ]
        # The blob has all items, even those with known cells, so that waves over the same data share it.
        items, items_key = blob(codec.dumps(self.items))
        content = {"function": self.function, "settings": self.settings, "kept": store.kept}
        payload, payload_key = blob(codec.dumps(content))
        task = Task(
            digest=self.digest,
            kind=self.kind,
            payload=payload_key,
            items=items_key,
            cells=cells,
            max_errors=self.errors_left(store),
        )
        return Tasks(task, {payload_key: payload, items_key: items})

    def placeholder(self, letter: str, score: Score) -> list[Value] | None:
        """Returns guessed values; None if the values contain traces, which cannot be guessed."""
        is_scored = _name(self.function) == SCORES
        return placeholder.numbers(score("", self.groups), len(self.items)) if is_scored else None

    def _loaded(self, store: Store, codec: Codec, missing: float) -> list[Value]:
        known = self._known(store, codec)
        bound: Value = Outcome.OK, (Prediction(), Bound(missing))
        return [known.get(number, bound) for number in range(len(self.items))]

    def _known(self, store: Store, codec: Codec) -> dict[int, Value]:
        """Returns outcome and value of each item that is in the journal, by position."""
        return {
            number: value_of(store, key, codec, [(FUNCTION, self._function_walk), (ITEM, walk)])
            for number, (key, walk) in enumerate(zip(self.keys, self._item_walks, strict=True))
            if key in store
        }


class Evaluation(Wave):
    """A wave whose values are predictions and scores.

    Attributes:
        program: a name for function and settings.
        groups: names of the items.
    """

    @property
    def program(self) -> str:
        return self._head.hex()

    def placeholder(self, letter: str, score: Score) -> list[Value]:
        return placeholder.scores(score(self.program, self.groups), len(self.items))

    def has_failed(self, store: Store) -> bool:
        """Whether so many items have failed that stock DSPy would stop."""
        return self.errors_left(store) == 0

    def bounded(self, store: Store, codec: Codec, missing: float) -> list[Value]:
        """Returns what `load` returns, but missing items have the score `missing`, as a Bound."""
        return self._loaded(store, codec, missing)

    def scores(self, values: list[Value]) -> dict[str, float]:
        """Returns the scores by group, without failed and missing items."""
        return {
            group: float(value[1])
            for group, (outcome, value) in zip(self.groups, values, strict=True)
            if outcome is Outcome.OK and isinstance(value[1], Real) and not isinstance(value[1], Bound)
        }

    def standing(self, store: Store, codec: Codec) -> Standing | None:
        """Returns the known part of the evaluation; None if a score is no plain number and cannot be compared."""
        values = self._known(store, codec)
        scores: dict[int, float] = {}
        for number, (outcome, value) in values.items():
            score = _plain(value[1]) if outcome is Outcome.OK else FAILURE
            if score is None:
                return None
            scores[number] = score
        failed = frozenset(number for number, (outcome, _) in values.items() if outcome is Outcome.ERROR)
        return Standing(tuple(self.groups), scores, failed, self.max_errors)


def wave(function: Callable[[Any], Any], items: Sequence[Any], max_errors: int) -> Wave:
    """Makes the wave of a function. It is an Evaluation if the function evaluates."""
    return (Evaluation if is_evaluation(function) else Wave)(function, items, max_errors)


def is_evaluation(function: Callable[[Any], Any]) -> bool:
    """Whether the function evaluates, instead of collecting traces."""
    if _name(function) != EVALUATION:
        return False
    return "bootstrap_trace_data" not in getattr(_closed_over(function)["metric"], "__qualname__", "")


@dataclass
class WaveWork:
    """Runs the cells of a wave's task in a worker."""

    task: Task
    payload: dict[str, Any]
    items: list[Any]
    walk: Walk = field(default_factory=Walk)
    head: bytes = b""
    _state: State | None = None
    _run: Callable[[Any], Any] = field(init=False)

    def __post_init__(self) -> None:
        function = self._run = self.payload["function"]
        self.head = bytes.fromhex(self.walk.digest("wave", function, self.payload["settings"]))
        if _name(function) == EVALUATION:
            held = _closed_over(function)
            self._state = State.of(held["program"], held["metric"], self.payload["kept"])
            self._run = _scoring(function, held["program"], held["metric"])

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


def make_work(task: Task, blobs: Mapping[str, bytes], codec: Codec) -> WaveWork:
    assert task.items is not None
    return WaveWork(task, codec.loads(blobs[task.payload]), codec.loads(blobs[task.items]))


def _scoring(evaluated: Callable[[Any], Any], program: Any, metric: Any) -> Callable[[Any], Any]:
    """Returns a function that calls `evaluated`, counts the program's calls, and checks the score that it returns.

    So a bad score raises BadInput before the whole evaluation is paid for.
    """

    def scored(item: Any) -> Any:
        if (ledger := current()) is not None:
            ledger.program = program
        value = evaluated(item)
        score.check(value[1], metric)
        return value

    return scored


def _plain(score: Any) -> float | None:
    """Returns a score as a float; None for numbers that round differently in a sum, such as decimals and numpy's."""
    number = score.get("score") if type(score) is Prediction else score
    is_plain = type(number) in (bool, int, float) and abs(number) <= sys.float_info.max
    return float(number) if is_plain else None


def _closed_over(function: Any) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells}


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', '')}"
