"""Structural digests of object graphs: the same in every process, whatever its hash seed.

A pickle cannot serve as a name (`Predict.stage` is random, sets have no order, sharing differs after a round trip), so
a digest walks the graph and hashes what counts: a Merkle tree of blake2b-128. What counts is what can change an answer:
a program's attributes, demos, signatures and configuration, a function's code and closure, an LM's parameters. What a
function refers to by global name is not seen; the journal is bound to the program's source for that (`user.binding`).
"""

import copyreg
import hashlib
import types
from typing import Any

import dspy
import pydantic
from dspy.predict.predict import Predict
from dspy.primitives.example import Example
from dspy.primitives.prediction import Prediction
from dspy.signatures.signature import Signature

from swarm_worker.replay.marks import unmarked
from swarm_worker.replay.stand_ins import stock_of

IGNORED_ATTRIBUTES = frozenset(
    {
        # differ between processes
        "stage",
        "history",
        "callbacks",
        # reports that optimizers hang on a program
        "candidate_programs",
        "detailed_results",
        "mb_candidate_programs",
        "prompt_model_total_calls",
        "results_best",
        "results_latest",
        "simba_idx",
        "total_calls",
        "trial_logs",
    }
)
"""Attributes of a Module (and of nothing else: an Example may have a field "score" or "history") that do not count."""


def combine(*parts: str | bytes) -> bytes:
    """Digest of a sequence of parts, each with its length, so that no two sequences run together."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf8", "surrogatepass")
        hasher.update(b"%d:" % len(data))
        hasher.update(data)
    return hasher.digest()


def is_referable(thing: object) -> bool:
    """Whether results may refer to the object in place of a copy: its identity or its class matters to optimizers."""
    if isinstance(thing, type):
        return issubclass(thing, Signature)
    return isinstance(thing, Predict | Example) and not isinstance(thing, Prediction)


class Walk:
    """One walk over an object graph.

    Beside the digest it numbers the referable objects in the order of its visit: the same graph gives the same numbers
    in another process, so a result can say "that predictor of yours".

    Attributes:
        referables: the objects by number.
        opaque: type names of objects of which only the type could be counted (locks, clients).
        unresolved: whether a placeholder of an unfinished effect was met.
    """

    def __init__(self) -> None:
        self.referables: list[Any] = []
        self.opaque: set[str] = set()
        self.unresolved = False
        self._numbers: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._known: dict[int, tuple[bytes, Any]] = {}

    def digest(self, *things: Any) -> str:
        """32 hex digits that name the things together."""
        return combine(*map(self._visit, things)).hex()

    def number(self, thing: object) -> int | None:
        """The number of a referable object of this graph."""
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
            # Held together with its digest, so that its id is not given to another object.
            self._known[id(thing)] = (found, thing)
        return found

    def _text(self, text: str) -> str:
        neutral, marked = unmarked(text)
        self.unresolved |= marked
        return neutral

    def _table(self, table: dict[Any, Any]) -> list[str | bytes]:
        if all(type(key) is str for key in table):
            return [part for key in sorted(table) for part in (self._text(key), self._visit(table[key]))]
        return [self._visit(part) for item in table.items() for part in item]

    def _parts(self, thing: Any, kind: type) -> list[str | bytes]:
        visit = self._visit
        if kind in (list, tuple):
            return ["list", *map(visit, thing)]
        if kind is dict:
            # In its order: that is how a dict gets into a prompt.
            return ["dict", *(visit(part) for item in thing.items() for part in item)]
        if kind in (set, frozenset):
            return ["set", *sorted(map(visit, thing))]
        if isinstance(thing, Example):
            inputs = sorted(getattr(thing, "_input_keys", None) or ())
            return ["example", kind.__name__, *self._table(thing._store), *inputs]
        if isinstance(thing, type):
            return self._class_parts(thing)
        if isinstance(thing, dspy.BaseLM):
            return ["lm", _name(kind), visit(thing.dump_state())]
        if isinstance(thing, types.FunctionType):
            thing = stock_of(thing)
            cells = [
                b"empty" if cell == types.CellType() else visit(cell.cell_contents) for cell in thing.__closure__ or ()
            ]
            code = (visit(thing.__code__), visit(thing.__defaults__), visit(thing.__kwdefaults__))
            return ["function", thing.__module__ or "", thing.__qualname__, *code, *cells]
        if isinstance(thing, types.CodeType):
            return ["code", thing.co_code, *thing.co_names, *map(visit, thing.co_consts)]
        if isinstance(thing, types.MethodType):
            return ["method", visit(thing.__func__), visit(thing.__self__)]
        if isinstance(thing, types.ModuleType):
            return ["named", thing.__name__]
        if isinstance(thing, types.BuiltinFunctionType):
            return ["builtin", thing.__qualname__, visit(thing.__self__)]
        if isinstance(thing, dspy.Module):
            counted = {key: value for key, value in thing.__dict__.items() if key not in IGNORED_ATTRIBUTES}
            return ["module", _name(kind), *self._table(counted)]
        return self._reduced_parts(thing, kind)

    def _class_parts(self, thing: type) -> list[str | bytes]:
        if issubclass(thing, Signature):
            signature: Any = thing
            fields = [
                part
                for key, field in signature.model_fields.items()
                for part in (key, _annotation(field.annotation), self._visit(field.json_schema_extra))
            ]
            return ["signature", self._visit(signature.instructions), *fields]
        if issubclass(thing, pydantic.BaseModel):
            return ["model", _name(thing), self._visit(_schema(thing))]
        return ["class", _name(thing)]

    def _reduced_parts(self, thing: Any, kind: type) -> list[str | bytes]:
        """Anything else as pickle sees it: objects with state in C have no useful `__dict__`."""
        reduced: Any
        try:
            reduced = copyreg.dispatch_table[kind](thing) if kind in copyreg.dispatch_table else thing.__reduce_ex__(4)
        except Exception:  # not picklable: locks, clients
            self.opaque.add(_name(kind))
            return ["opaque", _name(kind), *self._table(getattr(thing, "__dict__", {}))]
        if isinstance(reduced, str):
            return ["global", _name(kind), reduced]
        state = [list(part) if hasattr(part, "__next__") else part for part in reduced[1:]]
        return ["reduced", _name(kind), *map(self._visit, state)]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _schema(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    try:
        return model.model_json_schema()
    except pydantic.PydanticInvalidForJsonSchema:  # a field that JSON cannot carry, as the function of a dspy.Tool
        return {name: repr(field.annotation) for name, field in model.model_fields.items()}


def _annotation(annotation: Any) -> str:
    return _name(annotation) if isinstance(annotation, type) else repr(annotation)
