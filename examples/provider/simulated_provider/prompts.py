"""Reads the task, its demonstrations and the query from chat messages (pure).

It understands the prompts of DSPy's Chat, JSON and XML adapters. Any other prompt is a plain prompt with one text to
answer. Equal tasks and demonstrations become the same object, because a compile sends them thousands of times. So other
modules may use this object as a key of a cache.
"""

from __future__ import annotations

import ast
import html
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal
from xml.etree import ElementTree

Adapter = Literal["chat", "json", "xml", "plain"]
Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}


class PromptError(ValueError):
    """The messages do not fit the chat completions API. The text says why."""


@dataclass(frozen=True, eq=False)
class Field:
    """A field of the task. `schema` is the JSON schema of its values, however the prompt describes them."""

    name: str
    description: str
    schema: Schema


@dataclass(frozen=True, eq=False)
class Task:
    """The part that all requests of a predictor share: the format, the instruction and the fields."""

    adapter: Adapter
    instruction: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    whole: bool = False
    """Whether the user's message as a whole is the only input, without an adapter's frame."""


@dataclass(frozen=True, eq=False)
class Demo:
    """A solved example in the prompt: field name -> value as text. Fields without a value are absent.

    If an output is a structure, its parts are outputs, too.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def text(self) -> str:
        """Returns the inputs as one text."""
        return "\n".join(self.inputs.values())


@dataclass(frozen=True, eq=False)
class Prompt:
    """One request as the provider has understood it. `query` is field name -> value as text."""

    task: Task
    demos: tuple[Demo, ...]
    query: Mapping[str, str]

    @property
    def text(self) -> str:
        """Returns the query's inputs as one text."""
        return "\n".join(self.query.values())


def parse(messages: Sequence[Mapping[str, Any]], response_format: Mapping[str, Any] | None = None) -> Prompt:
    """Reads a request.

    Args:
        messages: messages of the chat completions API. Content is a text, or a list of parts of which only texts count.
        response_format: as in the API. A JSON schema gives fields to a plain prompt.

    Raises:
        PromptError: there are no messages, or a message lacks a role or a content of a known kind.
    """
    turns = [_turn(message) for message in messages]
    if not turns:
        raise PromptError("'messages' must not be empty.")
    system = "\n".join(text for role, text in turns if role == "system")
    talk = [(role, text) for role, text in turns if role in ("user", "assistant")]
    task = _task(system) or _plain_task(system, _format_schema(response_format))
    demos = tuple(
        _demo(task, asked, answered)
        for (role, asked), (next_role, answered) in pairwise(talk)
        if (role, next_role) == ("user", "assistant")
    )
    last = next((text for role, text in reversed(talk) if role == "user"), "")
    return Prompt(task, demos, _query(task, last))


def _turn(message: Mapping[str, Any]) -> tuple[str, str]:
    role, content = message.get("role"), message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    if not isinstance(role, str) or not isinstance(content, str | None):
        raise PromptError("Every message needs a 'role' and a text 'content'.")
    return ("system" if role == "developer" else role), content or ""


# --- the system message -------------------------------------------------------------------------------------------

_SYSTEM = re.compile(
    r"Your input fields are:\n(?P<inputs>.*?)\nYour output fields are:\n(?P<outputs>.*?)\n"
    r"All interactions will be structured in the following way[^\n]*\n(?P<structure>.*?)\n"
    r"In adhering to this structure, your objective is:[^\n]*(?:\n(?P<instruction>.*))?\Z",
    re.DOTALL,
)
_FIELD = re.compile(
    r"^\d+\. `(?P<name>\w+)` \((?P<type>(?:'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[^'\"\n])*?)\):"
    r"(?P<description>[^\n]*)(?P<more>(?:\n(?!\d+\. `\w+` \().*)*)",
    re.MULTILINE,
)
_NOTE = re.compile(r"^\{(?P<name>\w+)\} {8}# note: the value you produce (?P<note>.*)$", re.MULTILINE)
_JSON_OUTPUTS = "Outputs will be a JSON object with the following fields.\n\n"


@lru_cache(maxsize=1024)
def _task(system: str) -> Task | None:
    found = _SYSTEM.search(system)
    if found is None:
        return None
    structure = found["structure"]
    notes = structure
    adapter: Adapter = "chat" if "[[ ## completed ## ]]" in structure else "xml"
    if _JSON_OUTPUTS in structure:
        adapter = "json"
        notes = _values_of_json(structure.split(_JSON_OUTPUTS, 1)[1])
    told = {note["name"]: note["note"] for note in _NOTE.finditer(notes)}
    return Task(
        adapter,
        textwrap.dedent(found["instruction"] or "").strip(),
        tuple(_field(field, {}, "") for field in _FIELD.finditer(found["inputs"])),
        tuple(_field(field, told, structure) for field in _FIELD.finditer(found["outputs"])),
    )


def _values_of_json(text: str) -> str:
    try:
        values = json.loads(text)
    except ValueError:
        return ""
    return "\n".join(str(value) for value in values.values()) if isinstance(values, dict) else ""


def _field(found: re.Match[str], notes: Mapping[str, str], structure: str) -> Field:
    name, more = found["name"], found["more"]
    schema = _of_type(found["type"]) or _of_note(notes.get(name, "")) or _of_skeleton(name, structure) or dict(TEXT)
    return Field(name, f"{found['description']}{more}".strip(), {**schema, **_bounds(more)})


_BOUND = re.compile(r"(greater|less) than(?: or equal to)?: (-?[\d.]+)")


def _bounds(text: str) -> dict[str, float]:
    return {("minimum" if side == "greater" else "maximum"): float(at) for side, at in _BOUND.findall(text)}


_PRIMITIVES: dict[str, Schema] = {
    "str": TEXT,
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "NoneType": {"type": "null"},
}


def _of_type(text: str) -> Schema | None:
    """Returns the schema of a Python annotation as DSPy prints it; None if the annotation only names a class."""
    try:
        return _of_node(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError):
        return None


def _of_node(node: ast.expr) -> Schema | None:
    if isinstance(node, ast.Name):
        return _PRIMITIVES.get(node.id)
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        return None
    args = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if node.value.id == "Literal":
        return {"enum": [ast.literal_eval(arg) for arg in args]}
    parts = [_of_node(arg) for arg in args]
    if any(part is None for part in parts):
        return None
    match node.value.id:
        case "list" | "List" | "set" | "Sequence":
            return {"type": "array", "items": parts[0]}
        case "dict" | "Dict" | "Mapping":
            return {"type": "object", "additionalProperties": parts[-1]}
        case "Union" | "Optional":
            return {"anyOf": parts}
    return None


def _of_note(note: str) -> Schema | None:
    for start in ("must exactly match (no extra characters) one of: ", "must be one of: "):
        if note.startswith(start):
            return {"enum": note.removeprefix(start).split("; ")}
    start = "must adhere to the JSON schema: "
    if note.startswith(start):
        try:
            schema = json.loads(note.removeprefix(start))
        except ValueError:
            return None
        return schema if isinstance(schema, dict) else None
    return None


_INTEGERS = re.compile(r"(^|_)(age|amount|count|number|n|num|total|year|index)($|_)")
_NUMBERS = re.compile(r"(^|_)(score|rating|confidence|probability|price)($|_)")


def _of_skeleton(name: str, structure: str) -> Schema | None:
    """Returns the schema of a nested XML structure.

    Such a structure names no types, so the name of a part suggests one.
    """
    found = re.search(rf"^<{name}><.*></{name}>$", structure, re.MULTILINE)
    try:
        return _of_element(ElementTree.fromstring(found[0])) if found else None
    except ElementTree.ParseError:
        return None


def _of_element(element: ElementTree.Element) -> Schema:
    schemas = {part.tag: _of_element(part) for part in element}
    if list(schemas) == ["item"]:
        return {"type": "array", "items": schemas["item"]}
    if schemas:
        return {"type": "object", "properties": schemas, "required": list(schemas)}
    if _INTEGERS.search(element.tag):
        return {"type": "integer"}
    return {"type": "number"} if _NUMBERS.search(element.tag) else TEXT


def _format_schema(response_format: Mapping[str, Any] | None) -> Schema | None:
    if not response_format or response_format.get("type") != "json_schema":
        return None
    schema = (response_format.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, Mapping) and schema.get("properties") else None


def _plain_task(system: str, schema: Schema | None) -> Task:
    inputs = (Field("text", "", TEXT),)
    if schema is None:
        return Task("plain", system, inputs, (Field("text", "", TEXT),), whole=True)
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    outputs = (
        Field(name, part.get("description", ""), {**part, **shared}) for name, part in schema["properties"].items()
    )
    return Task("json", system, inputs, tuple(outputs), whole=True)


# --- the turns ----------------------------------------------------------------------------------------------------

_NOT_SUPPLIED = "Not supplied for this particular example."
_REQUIREMENTS = re.compile(
    r"(?:\A|\n\n)Respond with (?:the corresponding output fields|a JSON object)(?!.*\n\nRespond with ).*\Z", re.DOTALL
)


@lru_cache(maxsize=16384)
def _demo(task: Task, asked: str, answered: str) -> Demo:
    inputs = _inputs(task, asked)
    match task.adapter:
        case "plain":
            outputs = {task.outputs[0].name: answered}
        case "json":
            outputs = _json_outputs(answered)
        case "xml":
            outputs = {name: html.unescape(value) for name, value in _elements(task.outputs, answered)}
        case "chat":
            outputs = dict(_sections(task.outputs, answered))
    return Demo(
        {name: value for name, value in inputs.items() if not value.startswith(_NOT_SUPPLIED)},
        _with_parts({name: value for name, value in outputs.items() if not value.startswith(_NOT_SUPPLIED)}),
    )


def _with_parts(outputs: Mapping[str, str]) -> dict[str, str]:
    parts: dict[str, str] = {}
    for value in outputs.values():
        if value.startswith("{"):
            parts.update(_json_outputs(value))
    return {**parts, **outputs}


def _query(task: Task, asked: str) -> Mapping[str, str]:
    return _inputs(task, asked if task.whole else _REQUIREMENTS.sub("", asked))


def _inputs(task: Task, text: str) -> dict[str, str]:
    if task.whole:
        return {task.inputs[0].name: text}
    parts = _elements(task.inputs, text) if task.adapter == "xml" else _sections(task.inputs, text)
    return dict(parts)


def _sections(fields: Sequence[Field], text: str) -> Iterable[tuple[str, str]]:
    names = "|".join(re.escape(field.name) for field in fields)
    heads = list(re.finditer(rf"^\[\[ ## ({names}|completed) ## \]\][ \t]*\n?", text, re.MULTILINE)) if names else []
    for head, following in pairwise([*heads, None]):
        if head and head[1] != "completed":
            yield head[1], text[head.end() : following.start() if following else len(text)].strip()


def _elements(fields: Sequence[Field], text: str) -> Iterable[tuple[str, str]]:
    for field in fields:
        found = re.search(rf"^<{field.name}>(.*?)</{field.name}>$", text, re.DOTALL | re.MULTILINE)
        if found:
            yield field.name, found[1].strip()


def _json_outputs(text: str) -> dict[str, str]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
