"""Describes every field of Compilations and triggers in tables of Markdown."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from crd import structural
from swarm_operator.compilation.status import Status
from swarm_operator.trigger.spec import TriggerSpec
from swarm_operator.trigger.status import TriggerStatus
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.schema import HIGHEST

Schema = dict[str, Any]


def compilation() -> str:
    """Returns a section for each object of a Compilation's spec, then for each object of its status."""
    found = _collected(CompilationSpec, Status)
    return "\n".join(_section(model, paths, _anchors(found)) for model, paths in found.items())


def trigger() -> str:
    """Returns the same for a trigger, with links to the page with the Compilation's objects."""
    others, found = _collected(CompilationSpec, Status), _collected(TriggerSpec, TriggerStatus)
    links = {**_anchors(found), **_anchors(others, "reference.md")}
    return "\n".join(_section(model, paths, links) for model, paths in found.items() if model not in others)


def _collected(spec: type[BaseModel], status: type[BaseModel]) -> dict[type[BaseModel], list[str]]:
    """Returns the models in a spec and a status, with the paths at which they are."""
    found: dict[type[BaseModel], list[str]] = {}
    _collect(spec, "spec", found)
    _collect(status, "status", found)
    return found


def _anchors(found: Mapping[type[BaseModel], list[str]], page: str = "") -> dict[type[BaseModel], str]:
    return {model: f"{page}#{_anchor(paths[0])}" for model, paths in found.items()}


def table(schema: Schema, links: Mapping[str, str] | None = None, head: str = "field") -> str:
    """Returns a table with a row for each field of an object.

    Args:
        head: heading of the first column.
        links: field -> link to the section that describes its object.
    """
    required = schema.get("required", ())
    rows = [
        f"| `{name}` | {_linked(_type(given), (links or {}).get(name))} | {_default(given, name in required)} | "
        f"{_cell(given.get('description', ''))} |\n"
        for name, given in schema["properties"].items()
    ]
    return "".join([f"| {head} | | default | |\n", "|---|---|---|---|\n", *rows])


def _collect(model: type[BaseModel], path: str, found: dict[type[BaseModel], list[str]]) -> None:
    """Adds the paths of a model and of the models in it. A model at several paths adds its inner models only once."""
    new = model not in found
    found.setdefault(model, []).append(path)
    for field in model.model_fields.values() if new else ():
        for inner, more in _models(field.annotation):
            _collect(inner, f"{path}.{field.alias}{more}", found)


def _models(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    more = {list: "[]", dict: ".*"}.get(get_origin(annotation), "")
    for part in get_args(annotation):
        for model, path in _models(part):
            yield model, more + path


def _section(model: type[BaseModel], paths: list[str], anchors: Mapping[type[BaseModel], str]) -> str:
    schema, (first, *others) = structural(model), paths
    also = f"The same fields are in {', '.join(f'`{path}`' for path in others)}.\n\n" if others else ""
    rules = "".join(f"Rule: {rule['message']}.\n\n" for rule in schema.get("x-kubernetes-validations", ()))
    links = {
        field.alias or "": anchors[inner]
        for field in model.model_fields.values()
        for inner, _ in _models(field.annotation)
    }
    about = " ".join((model.__doc__ or "").split())
    if "properties" not in schema:  # the object is a map, and its model names only some of the keys
        known = {
            str(field.alias): {"type": "object", "description": field.description or ""}
            for field in model.model_fields.values()
        }
        required = [str(field.alias) for field in model.model_fields.values() if field.is_required()]
        schema = {"properties": known, "required": required}
    return f"### {first}\n\n{about}\n\n{rules}{also}{table(schema, links)}"


def _type(given: Schema) -> str:
    if "enum" in given:
        return ", ".join(each if isinstance(each, str) else json.dumps(each) for each in given["enum"])
    if given["type"] == "string" and (rules := given.get("x-kubernetes-validations")):
        form = str(rules[0]["message"]).removeprefix("must be ")
        return form.partition(", for example")[0].partition(": ")[0]
    if given["type"] == "array":
        return f"list of {_type(given['items'])}"
    if isinstance(given.get("additionalProperties"), dict):
        return f"map to {_type(given['additionalProperties'])}"
    low, high = (
        f"{bound:g}" if isinstance(bound, float) else bound for bound in map(given.get, ("minimum", "maximum"))
    )
    high = None if high == HIGHEST else high
    bounds = f" {low} .. {high}" if high is not None else f" ≥ {low}" if low is not None else ""
    return f"{given['type']}{bounds}"


def _linked(type_: str, link: str | None) -> str:
    return type_ if link is None else type_.replace("object", f"[object]({link})")


def _default(given: Schema, required: bool) -> str:
    if required:
        return "required"
    return f"`{json.dumps(given['default'])}`" if "default" in given else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _anchor(heading: str) -> str:
    """Returns the anchor that GitHub makes of a heading."""
    return "".join(sign for sign in heading.lower() if sign.isalnum() or sign in "-_")
