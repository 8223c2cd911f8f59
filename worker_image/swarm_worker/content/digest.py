"""Computes digests of object graphs, the same in every process and for every hash seed.

Equal objects have different pickles: `Predict.stage` is random, sets have no order, and pickling changes which objects
a graph shares. So a `Walk` visits the graph and builds a Merkle tree of blake2b-128 hashes. It covers all that can
change an answer: a program's attributes, demos, signatures and configuration, a function's code and closure, an LM's
parameters.

Digests omit the globals that a function names, and the content of importable classes. The binding covers both, because
it covers the program's files (`user.binding`). The module `state` says which attributes of an object count. The module
`places` says which objects are named by their place in the program.
"""

import enum
import hashlib
import types
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

import dspy
import pydantic
from dspy.predict.predict import Predict
from dspy.primitives.example import Example
from dspy.primitives.prediction import Prediction
from dspy.signatures.signature import Signature

from swarm_worker.content import places
from swarm_worker.content.marks import unmarked
from swarm_worker.content.stand_ins import stock_of
from swarm_worker.content.state import SYNCHRONIZERS, counted, is_importable, own_of_lm, reduced


def combine(*parts: str | bytes) -> bytes:
    """Returns the digest of a sequence of parts.

    The lengths of the parts count, so ("ab", "c") and ("a", "bc") have different digests.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf8", "surrogatepass")
        hasher.update(b"%d:" % len(data))
        hasher.update(data)
    return hasher.digest()


def is_referable(thing: object) -> bool:
    """Whether payloads may refer to the object instead of copying it, because optimizers need its identity."""
    if isinstance(thing, type):
        return issubclass(thing, Signature)
    return isinstance(thing, Predict | Example) and not isinstance(thing, Prediction)


class Walk:
    """Visits an object graph once.

    A walk computes the graph's digest. It also numbers the objects to which payloads may refer, in the order of its
    visit. The same graph gets the same numbers in another process. So a payload can name a predictor that the receiving
    process has.

    Attributes:
        referables: the objects by number.
        unresolved: whether the walk met a placeholder for a missing result.
    """

    def __init__(self) -> None:
        self.referables: list[Any] = []
        self.unresolved = False
        self._numbers: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._known: dict[int, tuple[bytes, Any]] = {}

    def digest(self, *things: Any) -> str:
        """Returns the digest of all these objects together: 32 hex digits."""
        return combine(*map(self._visit, things)).hex()

    def number(self, thing: object) -> int | None:
        """Returns the number that this walk gave to an object; None if it gave none."""
        return self._numbers.get(id(thing))

    def _visit(self, thing: Any) -> bytes:
        kind = type(thing)
        if kind is str:
            return combine("str", self._text(thing))
        if thing is None or kind in (bool, int, float, complex):
            return combine("scalar", kind.__name__, repr(thing))
        if kind is bytes:
            return combine("bytes", thing)
        if (known := self._known.get(id(thing))) is not None:
            return known[0]
        if id(thing) in self._open:
            return combine("cycle", str(len(self._open) - self._open[id(thing)]))
        if is_referable(thing) and id(thing) not in self._numbers:
            self._numbers[id(thing)] = len(self.referables)
            self.referables.append(thing)
        self._open[id(thing)] = len(self._open)
        try:
            found = combine(*self._parts(thing, kind))
        finally:
            del self._open[id(thing)]
        if isinstance(thing, Example | type):
            # Python may reuse the id of an object that is gone, so the walk keeps the object beside its digest.
            self._known[id(thing)] = (found, thing)
        return found

    def _text(self, text: str) -> str:
        neutral, marked = unmarked(text)
        self.unresolved |= marked
        return neutral

    def _table(self, table: Mapping[Any, Any]) -> list[str | bytes]:
        if all(type(key) is str for key in table):
            return [part for key in sorted(table) for part in (self._text(key), self._visit(table[key]))]
        return [self._visit(part) for item in table.items() for part in item]

    def _parts(self, thing: Any, kind: type) -> list[str | bytes]:
        visit = self._visit
        if (place := places.here().place(thing)) is not None:
            return ["place", place.name, _name(kind), *self._table(place.changes())]
        if kind in (list, tuple):
            return ["list", *map(visit, thing)]
        if kind is dict:
            # The order of a dict counts, because prompts show it.
            return ["dict", *(visit(part) for item in thing.items() for part in item)]
        if kind in (set, frozenset):
            return ["set", *sorted(map(visit, thing))]
        if isinstance(thing, Example):
            inputs = sorted(getattr(thing, "_input_keys", None) or ())
            more = {
                name: value
                for name, value in vars(thing).items()
                if value is not None and name not in _EXAMPLE_ATTRIBUTES
            }
            return ["example", kind.__name__, *self._table(thing._store), *inputs, *self._table(more)]
        if isinstance(thing, type):
            return self._class_parts(thing)
        if isinstance(thing, dspy.BaseLM):
            return ["lm", visit(kind), visit(thing.dump_state()), *self._table(own_of_lm(thing))]
        if isinstance(thing, types.FunctionType):
            thing = stock_of(thing)
            cells = [
                b"empty" if cell == types.CellType() else visit(cell.cell_contents) for cell in thing.__closure__ or ()
            ]
            # Attributes of an importable function do not count: they do not travel, and may be a cache.
            own = {} if is_importable(thing) else vars(thing)
            code = (visit(thing.__code__), visit(thing.__defaults__), visit(thing.__kwdefaults__), visit(own))
            return ["function", thing.__module__ or "", thing.__qualname__, *code, *cells]
        if isinstance(thing, types.CodeType):
            shape = (thing.co_flags, thing.co_argcount, thing.co_posonlyargcount, thing.co_kwonlyargcount)
            names = (*thing.co_names, *thing.co_varnames, *thing.co_freevars)
            return ["code", thing.co_code, *map(str, shape), *names, *map(visit, thing.co_consts)]
        if isinstance(thing, types.MethodType):
            return ["method", visit(thing.__func__), visit(thing.__self__)]
        if isinstance(thing, types.ModuleType):
            return ["named", thing.__name__]
        if isinstance(thing, types.BuiltinFunctionType):
            return ["builtin", thing.__qualname__, visit(thing.__self__)]
        if isinstance(thing, SYNCHRONIZERS):
            return ["synchronizer", _name(kind)]
        return self._reduced_parts(thing, kind)

    def _class_parts(self, thing: type) -> list[str | bytes]:
        if issubclass(thing, Signature):
            signature: Any = thing
            fields = [
                part
                for key, field in signature.model_fields.items()
                for part in (key, self._annotation(field.annotation), self._visit(field.json_schema_extra))
            ]
            return ["signature", self._visit(signature.instructions), *fields]
        if issubclass(thing, pydantic.BaseModel) and thing is not pydantic.BaseModel:
            return ["model", _name(thing), self._visit(_schema(thing)), *self._own_parts(thing)]
        return ["class", _name(thing), *self._own_parts(thing)]

    def _own_parts(self, thing: type) -> list[str | bytes]:
        """Returns the bases, functions and plain attributes of a class that cannot be imported."""
        if is_importable(thing):
            return []
        return [*map(self._visit, thing.__bases__), *self._table(dict(_namespace(thing)))]

    def _annotation(self, annotation: Any) -> bytes:
        if (origin := get_origin(annotation)) is not None:
            return combine("generic", repr(origin), *map(self._annotation, get_args(annotation)))
        return self._visit(annotation) if isinstance(annotation, type) else combine("annotation", repr(annotation))

    def _reduced_parts(self, thing: Any, kind: type) -> list[str | bytes]:
        """Returns the parts of any other object, as pickle reduces the object.

        Objects with state in C have no useful `__dict__`.
        """
        try:
            found = reduced(thing)
        except Exception:  # some objects cannot be pickled, such as generators
            return ["opaque", _name(kind)]
        if isinstance(found, str):
            return ["global", _name(kind), found]
        _, arguments, *more = found
        if more and isinstance(more[0], dict):
            state = counted(thing, more[0])
            # The order of a Module's attributes has no meaning.
            more[0] = sorted(state.items()) if isinstance(thing, dspy.Module) else state
        parts = [list(part) if hasattr(part, "__next__") else part for part in (arguments, *more)]
        return ["reduced", _name(kind), *map(self._visit, parts)]


_EXAMPLE_ATTRIBUTES = frozenset({"_store", "_input_keys", "_demos", "_lm_usage"})
"""Attributes that hold an Example's fields and inputs, or DSPy's notes. Fields and inputs are digested separately.
"""


def _namespace(thing: type) -> Iterator[tuple[str, Any]]:
    """Yields the methods and attributes of a class made in a function, without those that its metaclass adds."""
    holds = not issubclass(thing, pydantic.BaseModel | enum.Enum)
    if issubclass(thing, enum.Enum):
        yield from ((member.name, member.value) for member in thing)
    for name, value in vars(thing).items():
        if isinstance(value, property):
            yield from ((f"{name}.{part}", getattr(value, part)) for part in ("fget", "fset"))
        elif isinstance(value, staticmethod | classmethod):
            yield name, value.__func__
        elif isinstance(value, types.FunctionType) or (holds and not _is_machinery(name, value)):
            yield name, value


def _is_machinery(name: str, value: Any) -> bool:
    return name.startswith("__") or name == "_abc_impl" or hasattr(type(value), "__set__")


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _schema(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    try:
        return model.model_json_schema()
    except pydantic.PydanticInvalidForJsonSchema:  # JSON has no type for a function, as in a dspy.Tool
        return {name: repr(field.annotation) for name, field in model.model_fields.items()}
