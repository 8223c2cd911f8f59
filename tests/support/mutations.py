"""Makes specs with a mistake, for every field of the CRD's schema and in every way that its type allows.

Each call returns the same mistakes.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT = Path(__file__).parents[2]
Schema = dict[str, Any]
GONE: Final = object()
"""Stands for a missing field."""
ODD_TEXTS: Final = ("", " ", "a" * 300, "ä/☃", "-", "../etc/passwd", "{{ x }}", "a\nb", "null", "0")
ODD_NUMBERS: Final = (-1, 0, 1, 2**31, 2**63, 1e308, 0.5)
OTHERS: Final[dict[str, Any]] = {"a text": "x", "a number": 7, "a list": [1], "an object": {"a": 1}, "true": True}


@dataclass(frozen=True)
class Mutation:
    """A spec with a single mistake.

    Attributes:
        field: the path of the changed field.
        what: a description of the change.
    """

    field: str
    what: str
    spec: dict[str, Any]


def mutations(base: dict[str, Any]) -> list[Mutation]:
    """Returns all specs with a single mistake.

    Args:
        base: a spec that works, with every object to be mutated.
    """
    file = ROOT / "crds" / "dspycompilations.dspy-swarm.dev.yaml"
    versions = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["versions"]
    schema = versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    found: dict[str, Mutation] = {}
    for path, field, required in _fields(schema, ()):
        for what, value in _values(field, required, _get(base, path)):
            spec = _with(base, path, value)
            if spec is not None and spec != base:
                found.setdefault(json.dumps(spec, sort_keys=True), Mutation(".".join(path), what, spec))
    return list(found.values())


def with_room(spec: dict[str, Any]) -> dict[str, Any]:
    """Returns the spec with its optional objects, so that their fields are mutated, too."""
    made = copy.deepcopy(spec)
    made["metric"]["range"] = {"min": 0, "max": 1}
    made["limits"], made["swarm"]["resources"] = {"cellSeconds": 600}, {"requests": {"cpu": "20m"}}
    made["models"]["student"] |= {
        "parameters": {"maxTokens": 200},
        "limits": {"concurrency": 16},
        "price": {"prompt": 1, "completion": 1},
    }
    return made


def _fields(schema: Schema, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Schema, bool]]:
    for name, field in schema.get("properties", {}).items():
        yield (*path, name), field, name in schema.get("required", ())
        yield from _fields(field, (*path, name))


def _values(field: Schema, required: bool, now: Any) -> Iterator[tuple[str, Any]]:
    """Yields descriptions and values of changes of a field."""
    kind = field.get("type", "object")
    if required:
        yield "left out", GONE
    yield "null", None
    own = {"string": "a text", "integer": "a number", "number": "a number", "array": "a list", "object": "an object"}
    for name, value in OTHERS.items():
        if name != own.get(kind, "true"):
            yield f"{name} instead", value
    if kind == "string":
        yield from ((f"text {text[:12]!r}", text) for text in field.get("enum", ODD_TEXTS))
        if "enum" in field:
            yield "none of its words", "nonsense"
    elif kind in ("integer", "number"):
        yield from ((f"number {number:g}", number) for number in ODD_NUMBERS if kind == "number" or number % 1 == 0)
        yield from ((f"its {bound}", field[bound]) for bound in ("minimum", "maximum") if bound in field)
    elif kind == "array":
        yield "an empty list", []
        yield "a long list", [now[0] if now else {}] * 100
    elif kind == "object":
        yield "an empty object", {}
        yield "a field that is not known", {**(now if isinstance(now, dict) else {}), "unheardOf": 1}


def _get(spec: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        spec = spec.get(name) if isinstance(spec, dict) else None
    return spec


def _with(spec: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any] | None:
    """Returns the spec with a value at the path, or None if a parent of the field is missing."""
    made = copy.deepcopy(spec)
    place: Any = made
    for name in path[:-1]:
        place = place.get(name)
        if not isinstance(place, dict):
            return None
    if value is GONE:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return made
