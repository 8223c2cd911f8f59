"""Makes up values of a type. A value depends on its seed alone, so it is the same in every process."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.adapters.types.code import Code
from pydantic import TypeAdapter

_LENGTHS = (
    (re.compile(r"instruction|prompt|observation|summary|description|rules|advice|feedback|guideline"), 100),
    (re.compile(r"reason|rationale|thought|explanation|discussion"), 30),
    (re.compile(r""), 8),
)
"""Approximate number of words of a text, by its field's name."""
_WORDS = (
    *("about", "after", "again", "always", "before", "both", "case", "change", "clear", "could", "each", "early"),
    *("even", "every", "fact", "far", "few", "find", "first", "form", "full", "good", "half", "here", "high", "hold"),
    *("just", "keep", "kind", "last", "later", "less", "line", "list", "little", "long", "made", "more", "most"),
)
_DEPTH = 4
"""Depth limit for recursive structures."""

Schema = Mapping[str, Any]


class Draw:
    """Makes choices that look random, by hashing a seed."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def below(self, limit: int, *about: object) -> int:
        """Returns a number from 0 to limit - 1. It is always the same for the same seed and `about`."""
        text = "\0".join([self._seed, *map(str, about)])
        return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) % limit

    def one(self, options: Sequence[Any], *about: object) -> Any:
        return options[self.below(len(options), *about)]

    def text(self, name: str) -> str:
        """Returns a text about as long as texts in a field of this name usually are."""
        length = next(words for pattern, words in _LENGTHS if pattern.search(name.lower()))
        count = max(1, length * 3 // 4 + self.below(length // 2, name, "length"))
        words = [self.one(_WORDS, name, number) for number in range(count)]
        return " ".join(words).capitalize() + "."


def of_type(annotation: Any, name: str, draw: Draw) -> Any:
    """Returns a JSON value that pydantic accepts for the annotation.

    Raises pydantic's error if the annotation has no JSON schema.
    """
    if annotation is str or (isinstance(annotation, type) and issubclass(annotation, dspy.Reasoning | Code)):
        return draw.text(name)
    return of_schema(TypeAdapter(annotation).json_schema(), name, draw)


def of_schema(schema: Schema, name: str, draw: Draw) -> Any:
    """Returns a JSON value that the schema allows."""
    return _of_schema(schema, name, draw, schema.get("$defs", {}), 0)


def _of_schema(schema: Schema, name: str, draw: Draw, definitions: Mapping[str, Schema], depth: int) -> Any:
    def part(inner: Schema, more: object = "") -> Any:
        return _of_schema(inner, f"{name}.{more}" if more != "" else name, draw, definitions, depth + 1)

    if "$ref" in schema:
        return part(definitions[schema["$ref"].rsplit("/", 1)[-1]])
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw.one(schema["enum"], name)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            options = [option for option in schema[key] if option.get("type") != "null"]
            deep = depth >= _DEPTH and len(options) < len(schema[key])
            return None if deep or not options else part(options[0])
    match schema.get("type"):
        case "null":
            return None
        case "boolean":
            return bool(draw.below(2, name))
        case "integer" | "number" as kind:
            return _number(schema, kind == "integer", draw, name)
        case "array":
            return _array(schema, draw, name, depth, part)
        case "object":
            wanted = schema.get("properties", {})
            required = schema.get("required", []) if depth >= _DEPTH else wanted
            return {key: part(wanted[key], key) for key in wanted if key in required}
    return _string(schema, draw, name)


def _number(schema: Schema, whole: bool, draw: Draw, name: str) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 0) + (10 if whole else 1)))
    if whole:
        first = int(low) + ("exclusiveMinimum" in schema)
        last = int(high) - ("exclusiveMaximum" in schema)
        return first + draw.below(max(1, last - first + 1), name)
    return float(low + (high - low) * (1 + draw.below(98, name)) / 100)


def _array(schema: Schema, draw: Draw, name: str, depth: int, part: Any) -> list[Any]:
    if "prefixItems" in schema:
        return [part(inner, number) for number, inner in enumerate(schema["prefixItems"])]
    least = schema.get("minItems", 0)
    most = max(least, min(schema.get("maxItems", 3), 3))
    count = least if depth >= _DEPTH else max(least, min(most, 1 + draw.below(3, name, "items")))
    return [part(schema.get("items", {}), number) for number in range(count)]


_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "somebody@example.org",
    "uri": "https://example.org/",
}


def _string(schema: Schema, draw: Draw, name: str) -> str:
    text = _FORMATS.get(schema.get("format", "")) or draw.text(name)
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
