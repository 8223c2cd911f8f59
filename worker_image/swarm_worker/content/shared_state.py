"""Finds state that user code keeps from one example to the next.

The rehearsal takes a `Picture` before the examples run and another one after them, and compares them. A picture covers
the program, the metric, callbacks, and the globals of the user's modules. Of these, it covers plain values, containers,
`dspy.Module`s and objects of the user's classes. It does not cover other objects, such as clients and loggers.
"""

import array
import collections
import datetime
import decimal
import fractions
import functools
import itertools
import os
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy

from swarm_worker.content.digest import combine
from swarm_worker.content.reachable import classes_of, functions_of, reached
from swarm_worker.modules import is_users, users_modules

if TYPE_CHECKING:
    from swarm_worker.user.data import Compilation

DEPTH = 6
"""How many levels of objects within objects a picture covers."""
PLACES, PARTS, ITEMS = 2_000, 20_000, 1_000
"""Largest numbers of places in a picture, of parts of one place, and of items at each end of a container."""

BYTES = 100_000
"""Number of bytes at each end of an array that a picture covers."""

_SINGLE = (
    *(type(None), bool, int, float, complex, str, bytes, range, Enum, re.Pattern, uuid.UUID, pathlib.PurePath),
    *(decimal.Decimal, fractions.Fraction, datetime.date, datetime.time, datetime.timedelta),
)
_SEQUENCES = (list, tuple, collections.deque)
_SETS = (set, frozenset)
_ARRAY = "numpy.ndarray"
_DSPY_WRITES = ("history",)
"""Attributes of a Module that DSPy itself changes."""


class Kind(StrEnum):
    """What a place belongs to. Changes are reported in the order of these members."""

    CALLBACK = "callback"
    EXAMPLE = "example"
    STATE = "state"


class Place(NamedTuple):
    """A variable, an attribute or a field whose content can change.

    Attributes:
        path: its name in messages, such as "program.metric.seen".
        file: the file of the module that it belongs to.
    """

    kind: Kind
    path: str
    file: str


Picture = dict[Place, bytes]
"""The digest of each place's content. A picture has at most PLACES places."""


def changed(before: Picture, after: Picture) -> list[Place]:
    """Returns the places where the pictures differ, callbacks first."""
    new = len(before) < PLACES
    places = [place for place, now in after.items() if (before[place] != now if place in before else new)]
    return sorted(places, key=lambda place: list(Kind).index(place.kind))


def picture(loaded: "Compilation") -> Picture:
    """Returns the picture of program, metric, callbacks and globals, as they are now."""
    look = _Look()
    for callback in _callbacks(loaded.student):
        look.at(Kind.CALLBACK, callback, *look.name(callback))
    look.at(Kind.STATE, loaded.metric, *look.name(loaded.metric))
    look.at(Kind.STATE, loaded.student, *look.name(loaded.student))
    # The modules of program and metric come first, because a picture has at most PLACES places.
    own = {type(loaded.student).__module__, getattr(loaded.metric, "__module__", None)}
    for name, module in sorted(users_modules(), key=lambda it: it[0] not in own):
        for attribute, value in list(vars(module).items()):
            if not (attribute.startswith("__") or isinstance(value, types.ModuleType | dspy.BaseLM)):
                look.at_global(value, f"{name}.{attribute}", str(module.__file__), name)
    return look.found


PROGRAM, METRIC = "spec.program", "spec.metric"
"""A path with one of these prefixes is state that the program or metric itself holds. It travels with a cell."""


def kept(program: Any, metric: Any) -> dict[str, bytes]:
    """Returns digests, by path, of all that program and metric hold, or can reach by the names in their code.

    A copy of the program has the same paths as the original.
    """
    roots = [(Kind.STATE, program, PROGRAM, ""), (Kind.STATE, metric, METRIC, "")]
    functions = [*functions_of(program), *functions_of(metric)]
    owned = [*classes_of(program), *classes_of(metric), *reached(functions)]
    globals_ = [(Kind.STATE, thing, path, file) for thing, path, file in owned if thing is not metric]
    found = {place.path: digest for place, digest in look_at([*roots, *globals_]).items()}
    if any("environ" in function.__code__.co_names or "getenv" in function.__code__.co_names for function in functions):
        found["os.environ"] = combine(*(f"{name}={value}" for name, value in sorted(os.environ.items())))
    return found


def changes(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Returns the paths whose content is new or has changed."""
    return sorted(path for path, now in after.items() if before.get(path) != now)


def look_at(things: Iterable[tuple[Kind, Any, str, str]]) -> Picture:
    """Returns a picture of these objects. Each object comes with its path and its file."""
    look = _Look()
    for thing in things:
        look.at(*thing)
    return look.found


def picture_of_example(example: Any, name: str) -> Picture:
    """Returns the picture of an example's fields."""
    look = _Look()
    fields = {Place(Kind.EXAMPLE, f"{name}, field {key}", ""): value for key, value in example.toDict().items()}
    return {place: look.digest(value) for place, value in fields.items()}


def _callbacks(student: Any) -> list[Any]:
    lms = [dspy.settings.lm, *(predictor.lm for predictor in student.predictors())]
    owners = [dspy.settings, *(module for _, module in student.named_sub_modules()), *lms]
    found = [callback for owner in owners for callback in getattr(owner, "callbacks", None) or ()]
    unique = {id(callback): callback for callback in found}
    return [callback for callback in unique.values() if not type(callback).__module__.startswith("swarm_worker.")]


@dataclass
class _Look:
    """Visits the places that can change, and notes a digest of each."""

    found: Picture = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)
    _parts_left: int = PARTS

    def name(self, thing: Any) -> tuple[str, str]:
        """Returns an object's name for messages, and the file of its module.

        The name is that of a global variable with the object. Without one, it is that of the object's class.
        """
        for name, module in users_modules():
            for attribute, value in vars(module).items():
                if value is thing:
                    return f"{name}.{attribute}", str(module.__file__)
        if isinstance(thing, types.MethodType | functools.partial):
            return self.name(thing.__self__ if isinstance(thing, types.MethodType) else thing.func)
        named = thing if isinstance(thing, types.FunctionType | type) else type(thing)
        file = getattr(sys.modules.get(named.__module__), "__file__", None) or "?"
        return f"{named.__module__}.{named.__qualname__}{'' if named is thing else '()'}", file

    def at_global(self, thing: Any, path: str, file: str, module: str) -> None:
        """Notes a global as `at` does, but skips functions and classes that the module only imports."""
        if isinstance(thing, types.FunctionType | type):
            if thing.__module__ == module:
                self.at(Kind.STATE, thing, path, file)
        elif self._is_value(thing) or self._is_open(thing):
            self.at(Kind.STATE, thing, path, file)

    def at(self, kind: Kind, thing: Any, path: str, file: str) -> None:
        """Notes the digests of an object and of its parts, by their paths."""
        if len(self.found) >= PLACES or len(self._open) >= DEPTH or id(thing) in self._open:
            return
        self._open.add(id(thing))
        try:
            for more, part in self._parts(thing, kind):
                self.at(kind, part, path + more, file)
            if self._is_value(thing):
                self._parts_left = PARTS
                self.found.setdefault(Place(kind, path, file), self.digest(thing))
        finally:
            self._open.discard(id(thing))

    def digest(self, thing: Any, depth: int = DEPTH) -> bytes:
        kind, self._parts_left = type(thing), self._parts_left - 1
        name = f"{kind.__module__}.{kind.__qualname__}"
        parts: Iterator[Any]
        if isinstance(thing, _SINGLE):
            return combine(name, repr(thing))
        if depth == 0 or self._parts_left <= 0:
            return combine("deep", name)
        if isinstance(thing, bytearray):
            return combine(name, bytes(thing))
        if isinstance(thing, array.array) or name == _ARRAY:
            data = memoryview(thing).cast("B") if _is_flat(thing) else thing.tobytes()
            return combine(name, str(len(data)), bytes(data[:BYTES]), bytes(data[-BYTES:]))
        if isinstance(thing, dict):
            ends = _ends(thing.items(), len(thing))
            parts = (self.digest(part, depth - 1) for item in ends for part in item)
        elif isinstance(thing, _SEQUENCES):
            parts = (self.digest(part, depth - 1) for part in _ends(thing, len(thing)))
        elif isinstance(thing, _SETS):
            some = thing if len(thing) <= ITEMS else ()
            parts = iter(sorted(self.digest(part, depth - 1) for part in some))
        elif self._is_open(thing):
            parts = (self.digest(part, depth - 1) for item in _attributes(thing) for part in item)
        else:
            return combine("opaque", name)
        size = len(thing) if isinstance(thing, (*_SEQUENCES, *_SETS, dict)) else 0
        return combine(name, str(size), *parts)

    def _is_open(self, thing: Any) -> bool:
        """Whether pictures cover the object's attributes."""
        return is_users(type(thing).__module__) or isinstance(thing, dspy.Module | dspy.Example | types.SimpleNamespace)

    def _is_value(self, thing: Any) -> bool:
        """Whether a picture has one digest for the whole object."""
        values = (*_SINGLE, *_SEQUENCES, *_SETS, dict, bytearray, array.array, dspy.Example)
        kind = type(thing)
        return isinstance(thing, values) or f"{kind.__module__}.{kind.__qualname__}" == _ARRAY

    def _parts(self, thing: Any, kind: Kind) -> list[tuple[str, Any]]:
        """Returns the parts that have digests of their own, each with the last step of its path."""
        if isinstance(thing, types.MethodType):
            return [("", thing.__self__)]
        if isinstance(thing, functools.partial):
            return [(".func", thing.func), (".args", thing.args), (".keywords", thing.keywords)]
        if isinstance(thing, types.FunctionType):
            return _of_function(thing)
        if isinstance(thing, type):
            own = vars(thing).items() if is_users(thing.__module__) else ()
            return [(f".{name}", value) for name, value in own if _is_state(name, value)]
        if isinstance(thing, Enum | dspy.Example | dspy.BaseLM):
            return []
        if self._is_open(thing) or (kind is Kind.CALLBACK and len(self._open) == 1):
            return [(f".{name}", value) for name, value in _attributes(thing)]
        return []


def _of_function(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    code, given = function.__code__, function.__defaults__ or ()
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    named = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    return [
        *((f".{name}", value) for name, value in vars(function).items()),
        *((f", its variable {name}", cell.cell_contents) for name, cell in cells if cell != types.CellType()),
        *((f", its default of {name}", value) for name, value in zip(named, given, strict=True)),
    ]


def _is_flat(thing: Any) -> bool:
    """Whether an array's bytes can be read without a copy."""
    flags = getattr(thing, "flags", None)
    return flags is None or bool(flags.c_contiguous and thing.size and thing.dtype.kind in "biufc")


def _is_state(name: str, value: Any) -> bool:
    """Whether a class attribute is state, not part of the class's definition."""
    return not (name.startswith("__") or callable(value) or hasattr(value, "__get__"))


def _attributes(thing: Any) -> list[tuple[str, Any]]:
    slots = [name for kind in type(thing).__mro__ for name in _texts(vars(kind).get("__slots__", ()))]
    found = {name: getattr(thing, name) for name in slots if hasattr(thing, name) and not name.startswith("__")}
    found |= getattr(thing, "__dict__", {})
    ignored = _DSPY_WRITES if isinstance(thing, dspy.Module) else ()
    return sorted((name, value) for name, value in found.items() if name not in ignored)


def _texts(names: Any) -> Sequence[str]:
    return (names,) if isinstance(names, str) else tuple(names)


def _ends(things: Any, count: int) -> Iterator[Any]:
    """Yields at most ITEMS items from the beginning and at most ITEMS from the end."""
    yield from itertools.islice(things, ITEMS)
    yield from itertools.islice(things, max(ITEMS, count - ITEMS), None)
