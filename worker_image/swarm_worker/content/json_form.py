"""Encodes answers to LM calls as JSON, and decodes them unchanged. Data from outside cannot make the decoder run code.

A plain value is encoded as itself. Any other value is encoded as a JSON object with two fields: {"$": kind, "of":
content}. Only classes of LM clients are allowed. An instance is encoded as the state that `pickle` takes from it.
"""

import base64
import functools
import importlib
import json
import operator
import re
from collections.abc import Callable
from enum import Enum
from math import isfinite
from types import SimpleNamespace
from typing import Any, Final

PACKAGES: Final = (
    "dspy._vendor.lm15",
    "dspy.clients.call_result",
    "litellm.types",
    "openai.types",
    "swarm_worker.client",
)
"""Packages whose classes an answer may contain."""
_KIND, _OF = "$", "of"
_HALVES = re.compile("[\ud800-\udfff]")

Hidden = Callable[[str], tuple[str, str] | None]
"""Returns the reference that replaces a text if the text is a secret, else None."""
Found = Callable[[str, str], str]
"""Returns the secret that a reference names."""


class Unknown(TypeError):
    """An object cannot be encoded, or the encoded class is not allowed."""


def dumps(thing: Any, hidden: Hidden) -> bytes:
    """Returns the answer as JSON. Raises Unknown. Raises RecursionError if an object contains itself."""
    return json.dumps(_Writer(hidden).form(thing), separators=(",", ":")).encode()


def loads(data: bytes, found: Found) -> Any:
    """Returns the answer that the JSON encodes. Raises Unknown for a class that is not allowed."""
    return _Reader(found).thing(json.loads(data))


class _Writer:
    def __init__(self, hidden: Hidden) -> None:
        self._hidden = hidden
        self._numbers: dict[int, int] = {}
        """Numbers of instances by id. A repeated instance is written as its number, so that it is decoded once.
        """

    def form(self, thing: Any) -> Any:
        kind = type(thing)
        if thing is None or kind in (bool, int):
            return thing
        if kind is float:
            return thing if isfinite(thing) else {_KIND: "float", _OF: str(thing)}
        if kind is str:
            return self._text(thing)
        if kind is bytes:
            return {_KIND: "bytes", _OF: base64.b64encode(thing).decode()}
        if kind is list:
            return [self.form(each) for each in thing]
        if kind in (tuple, set):
            return {
                _KIND: kind.__name__,
                _OF: [self.form(each) for each in (thing if kind is tuple else sorted(thing))],
            }
        if kind is dict:
            return self._mapping(thing)
        return self._instance(thing)

    def _text(self, text: str) -> Any:
        if (place := self._hidden(text)) is not None:
            return {_KIND: "hidden", _OF: place}
        # JSON would join two adjacent surrogates into one character, so such a text is written as numbers.
        return {_KIND: "text", _OF: [*map(ord, text)]} if _HALVES.search(text) else text

    def _mapping(self, mapping: dict[Any, Any]) -> Any:
        is_plain = all(type(key) is str and key != _KIND and self._text(key) == key for key in mapping)
        if is_plain:
            return {key: self.form(value) for key, value in mapping.items()}
        return {_KIND: "dict", _OF: [[self.form(key), self.form(value)] for key, value in mapping.items()]}

    def _instance(self, thing: Any) -> Any:
        if (number := self._numbers.get(id(thing))) is not None:
            return {_KIND: "same", _OF: number}
        kind = type(thing)
        name = f"{kind.__module__}:{kind.__qualname__}"
        if _class(name) is not kind:
            raise Unknown(f"{name} is not what its name says")
        content = thing.name if isinstance(thing, Enum) else self.form(_parts(thing))
        self._numbers[id(thing)] = len(self._numbers)
        return {_KIND: name, _OF: content}


class _Reader:
    def __init__(self, found: Found) -> None:
        self._found = found
        self._made: list[Any] = []

    def thing(self, form: Any) -> Any:
        if isinstance(form, list):
            return [self.thing(each) for each in form]
        if not isinstance(form, dict):
            return form
        if _KIND not in form:
            return {key: self.thing(value) for key, value in form.items()}
        of = form[_OF]
        match form[_KIND]:
            case "float":
                return float(of)
            case "text":
                return "".join(map(chr, of))
            case "hidden":
                return self._found(*of)
            case "bytes":
                return base64.b64decode(of)
            case "tuple":
                return tuple(self.thing(of))
            case "set":
                return set(self.thing(of))
            case "dict":
                return {self.thing(key): self.thing(value) for key, value in of}
            case "same":
                return self._made[of]
        kind = _class(form[_KIND])
        made = kind[of] if issubclass(kind, Enum) else _whole(kind, self.thing(of))
        self._made.append(made)
        return made


@functools.cache
def _class(name: str) -> Any:
    """Returns the class that has this name. Raises Unknown if an answer may not contain this class."""
    module, _, path = name.partition(":")
    if name == "types:SimpleNamespace":
        return SimpleNamespace
    if not any(f"{module}.".startswith(f"{package}.") for package in PACKAGES):
        raise Unknown(f"{name} is no class of an LM client")
    found = operator.attrgetter(path)(importlib.import_module(module))
    if not isinstance(found, type) or f"{found.__module__}:{found.__qualname__}" != name:
        raise Unknown(f"{name} is no class of an LM client")
    return found


def _parts(thing: Any) -> list[Any]:
    """Returns the object's state, and its items if it is a dict."""
    state = thing.__getstate__()
    if type(state) is tuple and not hasattr(thing, "__setstate__"):
        raise Unknown(f"{type(thing).__qualname__} has slots")
    return [state, dict(thing)] if isinstance(thing, dict) else [state]


def _whole(kind: Any, parts: list[Any]) -> Any:
    state, *items = parts
    made = kind.__new__(kind)
    for each in items:
        made.update(each)
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    elif state is not None:
        vars(made).update(state)
    return made
