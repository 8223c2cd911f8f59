"""Finds a value for every output field of a prompt."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulated_provider import agents, chance, writing
from simulated_provider.brain import Model, Verdict, Weighing
from simulated_provider.prompts import Field, Prompt, Schema

Value = Any
"""Any value that JSON can hold."""

_CATEGORY = re.compile(r"(^|_)(category|class|label|intent|topic|kind|type|department|team)($|_)")
_SURE = re.compile(r"confiden|probab|certain|likelihood|^noul$")


def answer(model: Model, prompt: Prompt, draw: tuple[object, ...] = ()) -> dict[str, Value]:
    """Decides every output field, in the order of the prompt.

    Choices are decided first, so that the texts before them can give reasons for them.

    Args:
        draw: what the answer depends on besides the prompt (temperature, index of the completion, ...).
    """
    if prompt.task.adapter == "plain":
        return {field.name: writing.fenced(model, prompt, None, draw) for field in prompt.task.outputs}
    if tool := agents.next_tool(model, prompt):
        return _step(model, prompt, tool, draw)
    options = {field.name: _options(model, field, prompt) for field in prompt.task.outputs}
    parts = {name: values for field in prompt.task.outputs for name, values in _parts(field.schema, field)}
    verdicts = {
        name: Weighing(model, prompt, [str(value) for value in values], name, draw).verdict()
        for name, values in {**parts, **options}.items()
        if values
    }
    chief = max(verdicts.values(), key=lambda verdict: len(verdict.words), default=None)
    composer = _Composer(model, prompt, chief, draw)
    return {
        field.name: _chosen(options[field.name], verdicts[field.name])
        if options[field.name]
        else composer.value(field.name, field.schema, field)
        for field in prompt.task.outputs
    }


def _step(model: Model, prompt: Prompt, tool: str, draw: tuple[object, ...]) -> dict[str, Value]:
    """Returns an agent's step. The tool is decided first.

    The arguments depend on the question, not on the steps so far.
    """
    composer = _Composer(model, agents.question(prompt), None, draw)
    fields = {field.name: field for field in prompt.task.outputs}
    arguments = {
        name: composer.value(name, schema, fields[agents.ARGUMENTS])
        for name, schema in agents.parameters(prompt, tool).items()
    }
    decided = {agents.TOOL: tool, agents.ARGUMENTS: arguments}
    return {
        name: decided[name] if name in decided else composer.value(name, field.schema, field)
        for name, field in fields.items()
    }


def _options(model: Model, field: Field, prompt: Prompt) -> Sequence[Value]:
    """Returns the options of a field that is a choice, according to its type, its demonstrations or its name."""
    if "enum" in field.schema:
        return list(field.schema["enum"])
    if field.schema.get("type") == "boolean":
        return [True, False]
    if field.schema.get("type") != "string":
        return []
    shown = Counter(demo.outputs[field.name] for demo in prompt.demos if field.name in demo.outputs)
    known = model.memory.corpus.labels
    if _CATEGORY.search(field.name) and set(shown) <= set(known):
        return known
    if len(shown) < shown.total() and all(len(value.split()) <= 3 for value in shown):
        return list(shown)
    return []


def _parts(schema: Schema, field: Field) -> Iterator[tuple[str, Sequence[Value]]]:
    """Yields the choices within a structure, with the name and the options of each choice."""
    if "$ref" in schema:
        schema = _resolved(schema["$ref"], field.schema)
    for name, part in schema.get("properties", {}).items():
        if "enum" in part:
            yield name, part["enum"]
        yield from _parts(part, field)


def _chosen(options: Sequence[Value], verdict: Verdict) -> Value:
    return next(option for option in options if str(option) == verdict.label)


@dataclass(frozen=True)
class _Composer:
    """Makes values for fields that are no choice: numbers, texts, and structures of them."""

    model: Model
    prompt: Prompt
    verdict: Verdict | None
    draw: tuple[object, ...]

    def value(self, name: str, schema: Schema, field: Field) -> Value:
        """Returns a value for `schema`, which is the schema of `field`, or of its part called `name`."""
        if "$ref" in schema:
            return self.value(name, _resolved(schema["$ref"], field.schema), field)
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                some = [part for part in schema[key] if part.get("type") != "null"]
                return self.value(name, some[0], field) if some else None
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            options = schema["enum"]
            labels = [str(option) for option in options]
            return _chosen(options, Weighing(self.model, self.prompt, labels, name, self.draw).verdict())
        match schema.get("type", "object" if "properties" in schema else "string"):
            case "boolean":
                return Weighing(self.model, self.prompt, ["True", "False"], name, self.draw).verdict().label == "True"
            case "integer":
                return round(self._number(name, schema))
            case "number":
                return self._number(name, schema)
            case "array":
                return self._list(name, schema, field)
            case "object":
                return self._object(name, schema, field)
            case "null":
                return None
        return writing.write(name, field.description, self.model, self.prompt, self.verdict, self.draw)

    def _number(self, name: str, schema: Schema) -> float:
        low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
        if _SURE.search(name):
            sure = self.verdict.confidence if self.verdict else 0.5
            return round(sure * high, 2) if high and high > 1 else sure
        written = re.search(r"-?\d+(?:\.\d+)?", self.prompt.text)
        value = (
            float(written[0]) if written else float(chance.below(10, self.model.memory.seed, name, self.prompt.text))
        )
        if low is not None:
            value = max(value, low)
        return min(value, high) if high is not None else value

    def _list(self, name: str, schema: Schema, field: Field) -> list[Value]:
        items = schema.get("items") or {"type": "string"}
        if items.get("type") == "string" and "enum" not in items:
            words = self.verdict.words if self.verdict else ()
            return list(words[:3]) or [self.value(name, items, field)]
        return [self.value(name, items, field)]

    def _object(self, name: str, schema: Schema, field: Field) -> dict[str, Value]:
        if "properties" in schema:
            return {key: self.value(key, part, field) for key, part in schema["properties"].items()}
        values = schema.get("additionalProperties")
        values = values if isinstance(values, Mapping) else {"type": "string"}
        return {key: self.value(name, values, field) for key in _keys(self.prompt)}


def _resolved(ref: str, schema: Schema) -> Schema:
    found: Any = schema
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found if isinstance(found, Mapping) else {"type": "string"}


def _keys(prompt: Prompt) -> list[str]:
    """Returns keys for a mapping whose type names no keys: the last list of names among the prompt's inputs."""
    for value in reversed(list(prompt.query.values())):
        try:
            names = json.loads(value)
        except ValueError:
            names = re.findall(r"^\[\d+\] «(.*)»$", value, re.MULTILINE)
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return names
    return ["value"]
