"""Error messages for invalid specs."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.schema import FORMS, api_name

Place = tuple[str | int, ...]

_CREDENTIALS: Final = re.compile(r"://[^/@\s]+@")
_MAY_BE_SECRET: Final = frozenset({"apiKey", "value", "headers", "body", "more"})
"""Fields into which people write secrets by mistake. Messages do not show the values of these fields."""


@dataclass(frozen=True)
class Problem:
    """A problem in a spec, as a message for people.

    Attributes:
        place: path of the field: names and positions, from the top of the spec.
        what: the rest of the message after the field's path, with the separator.
    """

    place: Place
    what: str

    def __str__(self) -> str:
        return f"{'.'.join(['spec', *map(str, self.place)])}{self.what}"


def parse(given: Any) -> CompilationSpec:
    """Parses a spec as a user writes it, with the API's names of fields only. Raises ValidationError."""
    return CompilationSpec.model_validate(given, by_alias=True, by_name=False)


def problems(error: ValidationError, root: type[BaseModel] = CompilationSpec) -> list[Problem]:
    """Returns the problems in an error of `parse`, or in an error of a message that contains a spec.

    Args:
        root: the model of the spec.
    """
    found = []
    for each in error.errors():
        place = each["loc"][1:] if each["loc"][:1] == ("spec",) else each["loc"]
        found.append(Problem(place, _what(each, place, root)))
    return found


def _what(found: ErrorDetails, place: Place, root: type[BaseModel]) -> str:
    given, is_told = found["input"], not _MAY_BE_SECRET.intersection(place)
    if isinstance(given, str):
        given = _CREDENTIALS.sub("://...@", given)
    shown = f" (it is {given!r:.100})" if is_told and isinstance(given, str | int | float | bool) else ""
    match found["type"]:
        case "extra_forbidden":
            return f" is not a field. {_advice(place, root)}"
        case "missing":
            return f" is missing{_meaning(place, root)}"
        case "too_short" if found["ctx"]["min_length"] == 1:
            return " must have at least one entry"
        case "model_type" | "model_attributes_type":
            return f" must be an object{_shape(place, root)}"
        case "string_pattern_mismatch" if found["ctx"]["pattern"] in FORMS:
            return f" must be {FORMS[found['ctx']['pattern']]}{shown}"
        case "value_error":
            return f": {str(found['msg']).removeprefix('Value error, ')}{shown}"
    message = str(found["msg"]).removeprefix("Input ")
    return f" {message.replace('should', 'must', 1)}{shown}"


def _meaning(place: Place, root: type[BaseModel]) -> str:
    """Returns the first sentence of a field's description or, without one, the fields that its object must have."""
    fields = [field for model in _models(place[:-1], root) for field in model.model_fields.values()]
    texts = [field.description for field in fields if field.alias == place[-1] and field.description]
    if texts:
        return f": {texts[0].partition('. ')[0].rstrip('.')}"
    return shape if (shape := _shape(place, root)).startswith(":") else ""


def _shape(place: Place, root: type[BaseModel]) -> str:
    """Returns the fields that the object at a place must have or, if it must have none, the fields that it may have."""
    models = list(_models(place, root))
    needed = " or ".join(_needed(model) for model in models)
    return (
        f": {needed}"
        if needed.strip("{}")
        else f" with {', '.join(name for each in models for name in _aliases(each))}"
    )


def _needed(model: type[BaseModel]) -> str:
    """Returns a model's required fields in YAML's braces, with the required fields of their objects."""
    parts = []
    for field in model.model_fields.values():
        if field.is_required():
            inner = "".join(map(_needed, _within(field.annotation)))
            parts.append(f"{field.alias}: {inner}" if inner.strip("{}") else str(field.alias))
    return f"{{{', '.join(parts)}}}"


def _advice(place: Place, root: type[BaseModel]) -> str:
    """Suggests the field that an unknown name may mean: one with another spelling, or a field of an inner object."""
    name, models = str(place[-1]), list(_models(place[:-1], root))
    aliases = [alias for model in models for alias in _aliases(model)]
    inner = [f"{alias}.{deeper}" for model in models for alias, one in _inner(model) for deeper in _aliases(one)]
    if (wanted := api_name(name)) in aliases:
        return f"Did you mean {wanted}?"
    same = [path for path in inner if path.rpartition(".")[2] == wanted]
    known = {alias.lower(): alias for alias in aliases}
    alike = [known[found] for found in difflib.get_close_matches(wanted.lower(), known, 1)]
    if meant := [*alike, *same][:1]:
        return f"Did you mean {meant[0]}?"
    return f"Its fields: {', '.join(aliases)}." if aliases else "It has no fields."


def _models(place: Sequence[str | int], root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yields the possible models of the object at a place. It yields nothing if the object is no model of the spec."""
    models: list[type[BaseModel]] = [root]
    for name in place:
        if isinstance(name, str):
            fields = [field for model in models for field in model.model_fields.values() if field.alias == name]
            further = [hint for model in models if model.model_config["extra"] == "allow" for hint in _further(model)]
            models = [found for field in fields for found in _within(field.annotation)] or further or models
    yield from models


def _further(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yields the models of those fields that a user may give any name."""
    return _within(get_type_hints(model)["__pydantic_extra__"])


def _inner(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for field in model.model_fields.values():
        yield from ((str(field.alias), found) for found in _within(field.annotation))


def _within(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _within(part)


def _aliases(model: type[BaseModel]) -> list[str]:
    return [str(field.alias) for field in model.model_fields.values()]
