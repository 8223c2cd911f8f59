"""Names each object that cannot be copied by its place.

A place is the path to an object from the program, the metric, DSPy's settings or a module.

When stock DSPy copies a program, the copies share each object that cannot be copied: a client, a connection, a lock. A
payload carries the place of such an object, for example "program.search.http". The receiving process uses the object
that its own program has at this place. For an API key, a payload carries the place where the plan found the key.

`Places` walks through containers, functions, and objects of the user's and DSPy's classes. It takes them apart, and
their parts travel by value. An object of any other class travels as a whole if it can be copied, and by its place if
not. `Places` ignores the content of such an object, because it may differ between processes and change at any time.

Each process has one `Places`. Plan and worker build it in the same way. A worker builds it only when a payload first
refers to a place.
"""

import collections
import contextlib
import enum
import functools
import io
import queue
import re
import threading
import types
from abc import ABC
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, cast

import cloudpickle
import dspy
from dspy.primitives.example import Example

from swarm_wire.names import WorkerReason
from swarm_worker.content.masking import GUARDED_SECRET
from swarm_worker.content.reachable import names_in
from swarm_worker.content.state import SYNCHRONIZERS, is_importable, reduced
from swarm_worker.errors import Drift
from swarm_worker.modules import is_users, users_modules

MARK = "swarm.place"
"""Marks each reference to a place in a payload."""

_SECRET = re.compile(
    r"(api_?key|access_?key|secret_?key|client_secret|password|auth_?token|access_?token|authorization)\W*$", re.I
)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), enum.Enum, type, types.ModuleType, range)
_CONTAINERS = (dict, list, tuple, types.FunctionType, types.MethodType, functools.partial)
_OPEN_BASES = (
    *(object, Generic, Protocol, ABC, dict, list, tuple),
    *(collections.OrderedDict, collections.defaultdict, collections.deque),
)
_OPEN_PACKAGES = ("dspy", "pydantic")
_DSPYS_OWN = (*SYNCHRONIZERS, queue.Queue)
"""Classes of objects that DSPy's own objects hold. Such an object has no place: each process makes a new one."""
_USED_UP = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
_ABSENT = object()


class NotPortable(Exception):
    """An object can travel neither by value nor by its place. The message says where it is."""


@dataclass(frozen=True, eq=False)
class Place:
    """An object that `Places` does not take apart, and the path to it.

    Attributes:
        name: the path to it, from the program, the metric, DSPy's settings or a module.
        before: the object's attributes when `Places` found it.
        follows: whether this process is a worker. A worker ignores changes, because the plan has looked for them.
    """

    name: str
    thing: Any
    before: Mapping[str, Any] = field(repr=False)
    follows: bool = False

    def changes(self) -> dict[str, Any]:
        """Returns the public attributes that were set after `Places` found the object.

        They count in digests, but they cannot travel to another process.
        """
        return {
            name: value
            for name, value in _attributes(self.thing).items()
            if not (self.follows or name.startswith("_")) and self.before.get(name, _ABSENT) is not value
        }

    def has_copy(self, thing: Any) -> bool:
        """Whether an object of the same class is a shallow copy of this one, as DSPy makes them: it has the same
        attributes.
        """
        found = _attributes(thing)
        return any(
            found.keys() == source.keys() and all(_same(value, source[name]) for name, value in found.items())
            for source in (self.before, _attributes(self.thing))
        )


class Places:
    """The places of one process.

    Args:
        load: returns the objects where the walk begins, by name. It is called when a place is first needed.
        follows: whether this process is a worker. There, the plan has decided which objects travel by place.
    """

    def __init__(self, load: Callable[[], Mapping[str, Any]] = dict, *, follows: bool = False) -> None:
        self._load, self._follows, self._is_loaded = load, follows, False
        self._lock = threading.RLock()
        self._by_name: dict[str, Place] = {}
        self._by_id: dict[int, Place] = {}
        self._by_kind: dict[type, list[Place]] = {}
        self._shared: dict[str, bool] = {}
        self._seen: dict[int, Any] = {}
        self._secrets: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        """The API keys found, each with the name of its place."""

    @classmethod
    def of(cls, **roots: Any) -> "Places":
        """Makes the places of a plan. The objects must still be as the entrypoints made them."""
        found = cls(lambda: roots)
        found.load()
        return found

    @classmethod
    def lazy(cls, load: Callable[[], Mapping[str, Any]]) -> "Places":
        """Makes the places of a worker, which loads the program when a payload first refers to a place."""
        return cls(load, follows=True)

    def load(self) -> None:
        """Walks through the objects, if that is not done yet."""
        with self._lock:
            if not self._is_loaded:
                for path, thing in [*self._load().items(), *_globals()]:
                    # A proxy object may raise an exception when it is inspected. Pickle raises the same exception if a
                    # payload contains the object.
                    with contextlib.suppress(Exception):
                        self._collect(path, thing, dspys=False)
                self._is_loaded = True

    def place(self, thing: Any) -> Place | None:
        """Returns the place of an object; None if it travels by value. A shallow copy has the place of its original."""
        places = self._by_kind.get(type(thing))
        if places is None:
            return None
        if (place := self._by_id.get(id(thing))) is not None:
            return place if self._is_shared(place) else None
        if all(isinstance(value, _PLAIN) for value in _attributes(thing).values()):
            return None
        return next((place for place in places if place.has_copy(thing) and self._is_shared(place)), None)

    def find(self, name: str) -> Any:
        """Returns the object at a place. Raises Drift if there is none."""
        self.load()
        if (place := self._by_name.get(name)) is None:
            raise Drift(
                WorkerReason.DIGEST_DRIFT,
                f"the plan found an object that cannot be copied at {name}, and this worker finds none there. Let the "
                "program's constructor make the same objects in every process.",
            )
        self._shared[name] = True
        return place.thing

    def secret(self, name: str) -> str:
        """Returns the API key at a place. Raises Drift if there is none."""
        self.load()
        if (value := self._secrets.get(name)) is None:
            raise Drift(
                WorkerReason.DIGEST_DRIFT,
                f"the plan found a key at {name}, and this worker finds none there. Give every pod the same "
                "environment and files.",
            )
        return value

    def _is_shared(self, place: Place) -> bool:
        """Whether the object travels by its place, because it cannot be copied."""
        if place.name not in self._shared:
            self._shared[place.name] = not self._follows and not _can_be_copied(place.thing)
        return self._shared[place.name]

    def _collect(self, path: str, thing: Any, *, dspys: bool) -> None:
        if isinstance(thing, str) and len(thing) >= GUARDED_SECRET and _SECRET.search(path):
            self._secrets[path] = thing
            self.keys.setdefault(thing, path)
        if isinstance(thing, _PLAIN) or id(thing) in self._seen:
            return
        self._seen[id(thing)] = thing
        if is_open(cast(Hashable, type(thing))):
            is_dspys = type(thing).__module__.startswith("dspy.") and not isinstance(thing, dspy.Module)
            for step, part in parts(thing):
                self._collect(path + step, part, dspys=is_dspys)
        elif not (isinstance(thing, _USED_UP) or (dspys and isinstance(thing, _DSPYS_OWN))):
            place = Place(path, thing, _attributes(thing), self._follows)
            self._by_name[path] = self._by_id[id(thing)] = place
            self._by_kind.setdefault(type(thing), []).append(place)


def _globals() -> Iterator[tuple[str, Any]]:
    for name, module in users_modules():
        yield from ((f"{name}:{key}", value) for key, value in list(vars(module).items()) if not key.startswith("__"))


@functools.cache
def is_open(kind: Any) -> bool:
    """Whether `Places` takes objects of this class apart."""
    return kind in _CONTAINERS or all(_is_open_base(base) for base in kind.__mro__)


def _is_open_base(base: type) -> bool:
    package = base.__module__.partition(".")[0]
    return base in _OPEN_BASES or package in _OPEN_PACKAGES or package in _packages or is_users(base.__module__)


_packages: set[str] = set()
"""Installed packages that entrypoints name: they count as the user's code."""


def parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yields the parts of an object, each with the step that its path adds to the object's path."""
    match thing:
        case dict():
            yield from ((f"[{key!r}]", value) for key, value in list(thing.items()) if isinstance(key, _PLAIN))
        case list() | tuple():
            yield from ((f"[{number}]", part) for number, part in enumerate(list(thing)))
        case types.FunctionType():
            yield from _function_parts(thing)
        case types.MethodType():
            yield ".__self__", thing.__self__
        case functools.partial():
            yield from ((f".{name}", getattr(thing, name)) for name in ("func", "args", "keywords"))
        case Example():
            yield from ((f".{name}", value) for name, value in thing._store.items())
        case _:
            pass
    if type(thing) not in _CONTAINERS and not isinstance(thing, Example):
        yield from _state_parts(thing)


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yields the closure, the defaults and the globals of a function that travels by value."""
    if is_importable(function):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if cell != types.CellType():
            yield f"({name})", cell.cell_contents
    yield from ((f"({number})", value) for number, value in enumerate(function.__defaults__ or ()))
    yield from ((f"({name})", value) for name, value in (function.__kwdefaults__ or {}).items())
    for name in sorted(names_in(function.__code__) & function.__globals__.keys()):
        yield f"({name})", function.__globals__[name]


def _state_parts(thing: Any) -> Iterator[tuple[str, Any]]:
    try:
        found = reduced(thing)
    except Exception:  # the object's class forbids pickling, but its attributes may have places
        found = (object, (), _attributes(thing))
    if isinstance(found, str):
        return
    _, arguments, state, items, pairs = (*found, None, None, None)[:5]
    yield from ((f"({number})", part) for number, part in enumerate(arguments) if not isinstance(part, type))
    for table in state if isinstance(state, tuple) else (state,):
        if isinstance(table, dict):
            for name, value in table.items():
                if isinstance(value, dict) and name in ("__dict__", "__pydantic_private__"):
                    yield from ((f".{own}", part) for own, part in value.items())
                else:
                    yield f".{name}", value
        elif table is not None:
            yield ".__getstate__()", table
    yield from ((f"[{number}]", part) for number, part in enumerate(items or ()))
    yield from ((f"[{key!r}]", part) for key, part in pairs or ())


def explain(thing: Any, can_travel: Callable[[Any], bool]) -> str | None:
    """Returns a message about the first part that cannot travel: where it is, and what to write. None if all can."""
    found = _culprit("", thing, can_travel, {})
    if found is None:
        return None
    path, part = found
    kind = f"{type(part).__module__}.{type(part).__qualname__}".removeprefix("builtins.")
    if isinstance(part, _USED_UP):
        return (
            f"{_shown(path)} is a {kind}, which whoever reads it uses up: make it a list, or make it where it is used"
        )
    return (
        f"{_shown(path)} is a {kind}, which cannot be pickled: make it where it is used, or in the constructor of the "
        "program that the entrypoint names"
    )


def _culprit(path: str, thing: Any, can_travel: Callable[[Any], bool], seen: dict[int, Any]) -> tuple[str, Any] | None:
    if isinstance(thing, _PLAIN) or id(thing) in seen or _here.place(thing) is not None:
        return None
    seen[id(thing)] = thing
    if is_open(cast(Hashable, type(thing))):
        for step, part in parts(thing):
            if (found := _culprit(path + step, part, can_travel, seen)) is not None:
                return found
        return None
    return None if can_travel(thing) else (path, thing)


_ROOTS = (
    (r"^.*?\(program\)\.?", "spec.program: "),
    (r"^.*?\(metric\)\.?", "spec.metric: "),
    (r"^\['configuration'\]\['metric'\]\.?", "spec.metric: "),
    (r"^\['arguments'\]\[[01]\]\.?", "spec.program: "),
    (r"^\['settings'\]\['(\w+)'\]\.?", r"dspy.settings.\1: "),
    (r"^(?:\['arguments'\]\[2\])?\[(\d+)\]\.?", r"spec.data, example number \1 from 0: "),
)


def _shown(path: str) -> str:
    """Returns a path within a payload in words of the spec."""
    for pattern, place in _ROOTS:
        shown, count = re.subn(pattern, place, path)
        if count:
            return shown if not shown.endswith(": ") else shown + "it"
    return path or "it"


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def _can_be_copied(thing: Any) -> bool:
    if isinstance(thing, io.IOBase):  # cloudpickle would copy the content of an open file
        return False
    try:
        cloudpickle.Pickler(_Nowhere()).dump(thing)
    except Exception:
        return False
    return True


def _attributes(thing: Any) -> dict[str, Any]:
    return dict(getattr(thing, "__dict__", {}))


def _same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, _PLAIN) and type(one) is type(other) and one == other)


_here = Places()


def here() -> Places:
    """Returns the places of this process."""
    return _here


def install(places: Places, *entrypoints: str) -> None:
    """Sets the places of this process.

    Args:
        entrypoints: "module:attribute", of the program and the metric.
    """
    global _here
    _here = places
    is_open.cache_clear()
    _packages.clear()
    _packages.update(entrypoint.partition(":")[0].partition(".")[0] for entrypoint in entrypoints)
