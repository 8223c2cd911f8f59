"""Loads the user's examples."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dspy

from swarm_wire.names import PUBLISHED_FILE, WorkerReason
from swarm_wire.report import VALIDATION_SET
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.data import DataSource
from swarm_wire.spec.optimizers import Optimizer
from swarm_worker.errors import BadInput
from swarm_worker.journal.body_store import Bodies
from swarm_worker.user.entrypoint import call, load
from swarm_worker.user.fetched import fetched_file
from swarm_worker.user.formats import look_for_booleans, read
from swarm_worker.user.sources import data_folder, run_folder, volumes_folder

_REASON = WorkerReason.DATA_INVALID

FILES: Final[Mapping[str, Callable[[Any, Path, Path], Path]]] = {
    "config_map": lambda source, mounted, _: mounted / source.config_map.name / source.config_map.key,
    "path": lambda source, _, base: base / source.path,
    "published": lambda *_: run_folder() / PUBLISHED_FILE,
    "volume": lambda source, *_: volumes_folder() / source.volume.claim_name / source.volume.path,
}
"""Functions that find a source's file, by the member of DataSource or ProgramState that it uses. Each takes the source,
the folder of ConfigMaps, and the folder where relative paths begin.
"""


@dataclass(frozen=True)
class Data:
    """Lists of dspy.Example whose inputs are marked.

    Attributes:
        validation: None if the spec names no validation set. The optimizer then makes its own choice.
        test: empty if the spec names no test set.
        notes: surprising facts about the data, as sentences for the user.
    """

    train: list[Any]
    validation: list[Any] | None
    test: list[Any]
    notes: tuple[str, ...] = ()

    def scored(self, optimizer: Optimizer) -> list[Any]:
        """Returns the examples on which student and winner are scored.

        These are the validation set. Without one, they are the training examples on which the optimizer scores.
        """
        return list(optimizer.scored_on(self.train)) if self.validation is None else self.validation

    def scored_on(self, optimizer: Optimizer) -> str:
        """Returns a name for the scored examples, for the report."""
        if self.validation is not None:
            return VALIDATION_SET
        scored, all_ = self.scored(optimizer), len(self.train)
        if len(scored) == all_:
            return f"all {all_} training examples"
        end = "first" if scored[0] is self.train[0] else "last"
        return f"the {end} {len(scored)} of {all_} training examples"

    def name_of(self, example: Any) -> str:
        """Returns a prefix for messages: "validation example 3: "; empty for an example that is in no set."""
        for kind, examples in ("validation", self.validation), ("training", self.train), ("test", self.test):
            if examples and example in examples:
                return f"{kind} example {examples.index(example) + 1}: "
        return ""


@dataclass(frozen=True)
class Compilation:
    """The user's program, metric and data, loaded."""

    student: Any
    metric: Callable[..., Any]
    data: Data


def load_data(spec: CompilationSpec, sources: Path, depot: Bodies | None = None) -> Data:
    """Loads the data of a spec. Raises BadInput, with file and line, if an example cannot be used.

    Args:
        depot: has the bodies of fetched files, if the spec has a journal.
    """
    given, base = spec.data, data_folder(spec, sources)
    notes: list[str] = []

    def of(source: DataSource, name: str) -> list[Any]:
        rows: Iterable[Any]
        where = f"spec.data.{name}"
        if source.entrypoint is not None:
            rows, told = _call(source.entrypoint, where), source.entrypoint
        else:
            path = fetched_file(name, source.url, depot) if source.url else FILES[source.which](source, sources, base)
            rows, told = _read(path, where, notes.append), path.name
        return _examples(rows, source.limit, f"{where}: {told}", given.inputs)

    return Data(
        train=of(given.train, "train"),
        validation=of(given.validation, "validation") if given.validation else None,
        test=of(given.test, "test") if given.test else [],
        notes=tuple(notes),
    )


def _read(path: Path, where: str, note: Callable[[str], None]) -> Iterable[Any]:
    rows = read(path, where)
    if path.suffix != ".csv":
        return rows
    listed = list(rows)
    look_for_booleans(listed, f"{where}: {path.name}", note)
    return listed


def _examples(rows: Iterable[Any], limit: int | None, where: str, inputs: list[str] | None) -> list[Any]:
    examples: list[Any] = []
    for number, row in enumerate(rows, 1):
        if limit is not None and len(examples) == limit:
            break
        examples.append(_example(row, f"{where}, example {number}", inputs))
    if not examples:
        raise BadInput(_REASON, f"{where} has no examples. Put at least one in it.")
    return examples


def _call(entrypoint: str, where: str) -> list[Any]:
    function = load(entrypoint, where, _REASON)
    found: list[Any] = call(lambda: list(function() if callable(function) else function), entrypoint, where, _REASON)
    return found


def _example(row: Any, where: str, inputs: list[str] | None) -> Any:
    if isinstance(row, dspy.Example):
        example = row
    elif isinstance(row, Mapping):
        example = dspy.Example(dict(row))  # `**row` would fail for a field that is called "base"
    else:
        raise BadInput(_REASON, f"{where} is a {type(row).__name__}. Return dspy.Example objects or dicts.")
    own: set[str] | None = getattr(example, "_input_keys", None)  # a dspy.Prediction lacks this attribute
    if inputs is None:
        if own is None:
            fields = ", ".join(example.keys())
            raise BadInput(
                _REASON,
                f"{where} does not say which of its fields the program receives. Name them in spec.data.inputs, or "
                f"call with_inputs on each dspy.Example. Its fields: {fields}.",
            )
        return example
    if own is not None and own != set(inputs):
        raise BadInput(
            _REASON,
            f"{where} names {_listed(own)} as its inputs, and spec.data.inputs names {_listed(inputs)}. Leave "
            "spec.data.inputs out: each example then keeps its own inputs. Or name the same ones in both places.",
        )
    missing = [name for name in inputs if name not in example]
    if missing:
        fields = ", ".join(example.keys())
        raise BadInput(
            _REASON,
            f"{where} has no {' and no '.join(map(repr, missing))}, which spec.data.inputs names. Its fields: "
            f"{fields}.",
        )
    return example if own is not None else example.with_inputs(*inputs)


def _listed(fields: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(fields))) or "no fields"
