"""Encodes object graphs as bytes that travel between processes.

The bytes contain no secrets: the receiving process has these in its own environment. The bytes contain no object that
the receiving process has, either. Both processes number the objects of a graph in the same order, and the bytes contain
only the number of such an object. This keeps results small. It also keeps the identity of predictors and Signature
classes, which optimizers look up by `id`.
"""

import importlib
import io
import operator
import pickle
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from typing import Any, cast

import cloudpickle
import dspy
from dspy.signatures.signature import Signature
from dspy.utils.unbatchify import Unbatchify

from swarm_wire.names import WorkerReason
from swarm_worker.content import json_form, masking, places
from swarm_worker.content.digest import Walk, is_referable
from swarm_worker.content.masking import GUARDED_SECRET
from swarm_worker.content.places import MARK, NotPortable
from swarm_worker.content.state import is_importable, reduced
from swarm_worker.errors import Drift

Walks = Sequence[tuple[str, Walk]]
"""Walks over graphs that sender and receiver both have. Both use the same name for a walk."""


_SECRET, _SECRET_OF_PROGRAM = "secret", f"{MARK}'s secret"
_PICKLE = b"\x80"
"""The first byte of every pickle. No JSON text begins with it."""


class SecretInPayload(Exception):
    """A payload would contain a secret that the codec cannot replace."""


class Codec:
    """Writes and reads payloads: object graphs as bytes. It uses this process's `Places`.

    Args:
        secrets: values that must never be in a payload, by name. Sender and receiver use the same names.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._named = tuple(secrets.items())
        self._secrets = dict(secrets)
        for name, secret in secrets.items():
            self._secrets.update((name + step, part) for step, part in masking.parts(secret))
        # If two secrets have the same text, the name of the first is used. Whole secrets come first, and parts after
        # them.
        self._names = {
            value: name
            for name, value in reversed(self._secrets.items())
            if name in secrets or len(value) >= GUARDED_SECRET
        }

    def dumps(self, thing: Any, walks: Walks = ()) -> bytes:
        """Returns an object graph as bytes. Raises SecretInPayload, and NotPortable if an object cannot be pickled."""
        buffer = io.BytesIO()
        try:
            _Pickler(buffer, walks, self._reference).dump(thing)
        except (SecretInPayload, NotPortable):
            raise
        except Exception as error:
            found = places.explain(thing, self._can_travel)
            raise NotPortable(found or f"{type(error).__name__}: {error}") from error
        data = buffer.getvalue()
        self.guard(data)
        return data

    def dumps_answer(self, answer: Any) -> bytes:
        """Returns the answer to an LM call as bytes, and raises the exceptions of `dumps`.

        The bytes are JSON. If a user's own client answers with objects of its own classes, they are a pickle.
        """
        try:
            data = json_form.dumps(answer, self._reference)
        except (TypeError, RecursionError):
            return self.dumps(answer)
        self.guard(data)
        return data

    def loads_answer(self, data: bytes) -> Any:
        return self.loads(data) if data.startswith(_PICKLE) else json_form.loads(data, self._referred)

    def guard(self, data: bytes) -> None:
        """Raises SecretInPayload if the data contain a secret."""
        if (name := masking.secret_in(data, self._long())) is not None:
            raise SecretInPayload(
                f"the {name} is part of another text that the program holds; do not build strings from secrets in "
                "a program or metric"
            )

    def redact(self, text: str) -> str:
        """Returns the text with its secrets masked."""
        return masking.redact(text, self._long())

    def loads(self, data: bytes, walks: Walks = ()) -> Any:
        return _Unpickler(io.BytesIO(data), dict(walks), self._referred).load()

    def _reference(self, text: str) -> tuple[str, str] | None:
        """Returns the reference that replaces this text in a payload if the text is a secret; otherwise None."""
        if text in self._names:
            return _SECRET, self._names[text]
        place = places.here().keys.get(text)
        return None if place is None else (_SECRET_OF_PROGRAM, place)

    def _referred(self, kind: str, name: str) -> str:
        """Returns the secret that a reference names. Raises Drift if this process has no secret of that name."""
        if kind == _SECRET_OF_PROGRAM:
            return places.here().secret(name)
        if name not in self._secrets:
            raise Drift(
                WorkerReason.SOURCE_CHANGED,
                f"a result of this run refers to the {name}, and there is none any more: the secret has another form. "
                "Give it the form that it had, or begin a new run.",
            )
        return self._secrets[name]

    def _long(self) -> masking.Secrets:
        """Returns the secrets of the spec, and the API keys found in the program."""
        own = places.here().keys
        return (*self._named, *((f"API key at {place}", key) for key, place in list(own.items())))

    def _can_travel(self, thing: Any) -> bool:
        try:
            _Pickler(io.BytesIO(), (), self._reference).dump(thing)
        except Exception:
            return False
        return True


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file: io.BytesIO, walks: Walks, reference: json_form.Hidden) -> None:
        super().__init__(file)
        self._walks, self._reference, self._places = walks, reference, places.here()

    def persistent_id(self, thing: Any) -> tuple[str, str | int] | None:
        if type(thing) is str:
            return self._reference(thing)
        if (found := self._places.place(thing)) is not None:
            if changes := found.changes():
                raise NotPortable(
                    f"{found.name} is a {type(thing).__qualname__}, which cannot be pickled, and its {min(changes)} "
                    "was set after the entrypoint had made it: that does not travel. Set it in the program's "
                    "constructor"
                )
            return MARK, found.name
        if self._walks and is_referable(thing):
            for name, walk in self._walks:
                if (number := walk.number(thing)) is not None:
                    return name, number
        return None

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, type(threading.Lock())):
            return threading.Lock, ()
        if isinstance(thing, type(threading.RLock())):
            return threading.RLock, ()
        if isinstance(thing, threading.Event):
            return threading.Event, ()
        if isinstance(thing, types.ModuleType) and type(thing).__module__ == "dspy.utils.lazy_import":
            return sys.modules[type(thing).__module__].require, (thing.__name__,)
        if isinstance(thing, dspy.BaseLM):
            self._check_key(thing)
        if isinstance(thing, dspy.Module | dspy.BaseLM | Unbatchify):
            return reduced(thing)
        if isinstance(thing, type) and issubclass(thing, Signature) and is_importable(thing):
            return _signature, (thing.__module__, thing.__qualname__, cast(Any, thing).instructions)
        found = super().reducer_override(thing)
        return _untracked(thing, found) if isinstance(thing, type) and isinstance(found, tuple) else found

    def _check_key(self, lm: Any) -> None:
        """Raises SecretInPayload if an LM has a key that the receiver cannot know."""
        key = getattr(lm, "kwargs", {}).get("api_key")
        if isinstance(key, str) and len(key) >= GUARDED_SECRET and self._reference(key) is None:
            raise SecretInPayload(
                f"an LM for {lm.model} carries an API key that is neither in the spec nor in the program as its "
                "entrypoint makes it. Make that LM in the program's constructor, or in a module that the program "
                "imports"
            )


def _untracked(thing: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Changes cloudpickle's reduction of a class that cannot be imported, so that each payload makes a new class.

    cloudpickle remembers the classes that it made from payloads. For a second payload, it would return the first class,
    and set its attributes anew while other threads use them. The new attributes equal the old ones, but are not
    identical. DSPy's choice between two traces of an example depends on identity. The changed reduction also keeps the
    full name of the class, which digests include.
    """
    make, arguments, *rest = reduced
    if make not in (cloudpickle.cloudpickle._make_skeleton_class, cloudpickle.cloudpickle._make_skeleton_enum):
        return reduced
    *before, _tracker, extra = arguments
    if make is cloudpickle.cloudpickle._make_skeleton_class:
        # cloudpickle leaves the surrounding function out of the full name of the class, so the name is added here.
        *before, namespace = before
        before.append({**namespace, "__qualname__": thing.__qualname__})
    return (make, (*before, None, extra), *rest)


def _signature(module: str, name: str, instructions: str) -> Any:
    """Returns an importable Signature class with the sender's instructions.

    Optimizers such as InferRules change the instructions of the class itself. The class that the receiver imports still
    has the old ones.
    """
    found: Any = operator.attrgetter(name)(importlib.import_module(module))
    return found if found.instructions == instructions else found.with_instructions(instructions)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, walks: Mapping[str, Walk], referred: json_form.Found) -> None:
        super().__init__(file)
        self._walks, self._referred = walks, referred

    def persistent_load(self, reference: tuple[str, Any]) -> Any:
        name, number = reference
        match name:
            case _ if name in (_SECRET, _SECRET_OF_PROGRAM):
                return self._referred(name, number)
            case places.MARK:
                return places.here().find(number)
            case _:
                return self._walks[name].referables[number]
