"""Object graphs as bytes, for journeys between processes.

Two things never travel: secrets, which the other side has in its own environment, and objects that the other side
already holds, which are named by their number in a walk over the same graph. The second keeps the identity of
predictors (optimizers look them up with `id`) and of Signature classes, and makes results small.
"""

import importlib
import io
import operator
import pickle
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

import cloudpickle
import dspy
from dspy.signatures.signature import Signature

from swarm_worker.replay.digest import IGNORED_ATTRIBUTES, Walk, is_referable

Walks = Sequence[tuple[str, Walk]]
"""Graphs that both sides hold, each under a name that both agree on."""


GUARDED_SECRET = 8
"""Shorter secrets are not searched for in payloads: a placeholder such as "none" is part of many texts."""


class SecretInPayload(Exception):
    """A payload would carry an API key in a place where it cannot be replaced."""


class Codec:
    """Makes payloads and reads them.

    Args:
        secrets: name -> value of what must never be in a payload. Both sides have the same names.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)
        self._names = {value: name for name, value in secrets.items()}

    def dumps(self, thing: Any, walks: Walks = ()) -> bytes:
        """Raises SecretInPayload, and what cloudpickle raises on objects that cannot be pickled."""
        buffer = io.BytesIO()
        _Pickler(buffer, walks, self._names).dump(thing)
        data = buffer.getvalue()
        self.guard(data)
        return data

    def guard(self, data: bytes) -> None:
        """Raises SecretInPayload where an API key is in what others will read."""
        for name, secret in self._secrets.items():
            if len(secret) >= GUARDED_SECRET and secret.encode() in data:
                raise SecretInPayload(
                    f"the {name} model's API key is part of another text that the program holds; "
                    "do not build strings from API keys in a program or metric"
                )

    def redact(self, text: str) -> str:
        """The text for people: what a provider says of a key that it refuses may repeat the key."""
        for name, secret in self._secrets.items():
            if len(secret) >= GUARDED_SECRET:
                text = text.replace(secret, f"({name} API key)")
        return text

    def loads(self, data: bytes, walks: Walks = ()) -> Any:
        return _Unpickler(io.BytesIO(data), dict(walks), self._secrets).load()


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file: io.BytesIO, walks: Walks, secrets: Mapping[str, str]) -> None:
        super().__init__(file)
        self._walks, self._secrets = walks, secrets

    def persistent_id(self, thing: Any) -> tuple[str, str | int] | None:
        if type(thing) is str and thing in self._secrets:
            return "secret", self._secrets[thing]
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
        if isinstance(thing, dspy.Module | dspy.BaseLM):
            # Histories hold every prompt so far, reports every candidate: they would make payloads grow without end.
            new, arguments, state, *rest = thing.__reduce_ex__(4)
            if not isinstance(state, dict):
                return NotImplemented
            kept = {key: value for key, value in state.items() if key not in IGNORED_ATTRIBUTES or key == "stage"}
            return (new, arguments, {**kept, "history": [], "callbacks": []}, *rest)
        if isinstance(thing, type) and issubclass(thing, Signature) and _is_importable(thing):
            return _signature, (thing.__module__, thing.__qualname__, cast(Any, thing).instructions)
        reduced = super().reducer_override(thing)
        return _untracked(thing, reduced) if isinstance(thing, type) and isinstance(reduced, tuple) else reduced


def _untracked(thing: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """How cloudpickle makes a class that cannot be imported, but a new one for each payload, and with its full name.

    cloudpickle names such a class, and a process that reads it from a second payload gets the first one back, with its
    attributes set anew: under the feet of the threads that use it. (They are equal but not the same, and DSPy's choice
    between two traces of an example depends on which objects are the same.)
    """
    make, arguments, *rest = reduced
    if make not in (cloudpickle.cloudpickle._make_skeleton_class, cloudpickle.cloudpickle._make_skeleton_enum):
        return reduced
    *before, _tracker, extra = arguments
    if make is cloudpickle.cloudpickle._make_skeleton_class:
        # cloudpickle forgets in which function a class was made, and digests count that.
        *before, namespace = before
        before.append({**namespace, "__qualname__": thing.__qualname__})
    return (make, (*before, None, extra), *rest)


def _signature(module: str, name: str, instructions: str) -> Any:
    """A Signature class that can be imported, as it was where it comes from.

    Optimizers may set the instructions of a class itself (InferRules does); the imported one does not have those.
    """
    found: Any = operator.attrgetter(name)(importlib.import_module(module))
    return found if found.instructions == instructions else found.with_instructions(instructions)


def _is_importable(thing: type) -> bool:
    try:
        return operator.attrgetter(thing.__qualname__)(sys.modules[thing.__module__]) is thing
    except (KeyError, AttributeError):
        return False


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, walks: Mapping[str, Walk], secrets: Mapping[str, str]) -> None:
        super().__init__(file)
        self._walks, self._secrets = walks, secrets

    def persistent_load(self, reference: tuple[str, Any]) -> Any:
        name, number = reference
        return self._secrets[number] if name == "secret" else self._walks[name].referables[number]
