"""Generates the CustomResourceDefinitions from the pydantic models: `python tools/crd.py CRDS_FOLDER CHART`.

With `--check`, the script writes nothing, and fails if a file differs from what it would write.

Kubernetes accepts structural schemas only, so the script rewrites pydantic's JSON schema. It resolves references, and
an optional field may be absent, but never null. CEL rules express what a structural schema cannot express: exactly one
member of a union, and names of map keys. They also replace patterns, so that users read a message and not the pattern.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from swarm_operator.compilation import api
from swarm_operator.compilation.status import Status
from swarm_operator.trigger import api as trigger
from swarm_operator.trigger.spec import TriggerSpec
from swarm_operator.trigger.status import TriggerStatus
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.schema import FORMS, SpecModel

Schema = dict[str, Any]

HEADER: Final = "# Generated from the operator's models by `make crds`. Do not edit.\n"
KEPT: Final = frozenset(
    {
        "type",
        "description",
        "properties",
        "required",
        "items",
        "enum",
        "format",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
    }
)
"""Keywords that mean the same in pydantic's schema and in a structural schema."""

MOST_NAMES: Final = 32
"""Largest number of keys of a map that has some fixed keys and any number of free keys."""


@dataclass(frozen=True)
class Described:
    """A kind, with everything that its CustomResourceDefinition says.

    Attributes:
        columns: of `kubectl get`.
    """

    kind: str
    plural: str
    singular: str
    short_name: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: Callable[[], list[Schema]]

    @property
    def file(self) -> str:
        return f"{self.plural}.{api.GROUP}.yaml"


def definition(of: "Described | None" = None) -> Schema:
    """Returns the CustomResourceDefinition of a kind, without an argument that of DSPyCompilation."""
    of = of or COMPILATION
    spec, status = structural(of.spec), structural(of.status)
    status["default"] = {"observedGeneration": -1}
    status["properties"]["conditions"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{of.plural}.{api.GROUP}"},
        "spec": {
            "group": api.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": of.kind,
                "listKind": f"{of.kind}List",
                "plural": of.plural,
                "singular": of.singular,
                "shortNames": [of.short_name],
                "categories": [api.CATEGORY],
            },
            "versions": [
                {
                    "name": api.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": of.columns(),
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": _text(of.spec),
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": status,
                            },
                        }
                    },
                }
            ],
        },
    }


def structural(model: type[BaseModel]) -> Schema:
    """Returns a model's schema in the form that Kubernetes accepts."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    return _Rewriter(definitions).rewrite(schema, model.__name__)


class _Rewriter:
    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._rules = {model.__name__: model.rules for model in _descendants(SpecModel) if model.rules}

    def rewrite(self, schema: Schema, name: str = "") -> Schema:
        """Returns a schema without references and null. `name` is the name of the schema's model."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self.rewrite({**self._definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}, name)
        for keyword in ("anyOf", "allOf"):
            if keyword in schema:
                (only,) = [choice for choice in schema[keyword] if choice.get("type") != "null"]
                rest = {key: value for key, value in schema.items() if key != keyword}
                return self.rewrite({**only, **rest}, name)
        made: Schema = {key: value for key, value in schema.items() if key in KEPT}
        if "pattern" in schema:
            made["x-kubernetes-validations"] = [_words(schema["pattern"])]
        if "const" in schema:
            made["enum"] = [schema["const"]]
        if "description" in made:
            made["description"] = " ".join(str(made["description"]).split())
        if schema.get("default") is not None:
            made["default"] = schema["default"]
        if "properties" in made and isinstance(schema.get("additionalProperties"), dict):
            self._as_map(made)
        elif "properties" in made:
            made["properties"] = {key: self.rewrite(value) for key, value in made["properties"].items()}
            self._default_objects(made)
        if "items" in made:
            made["items"] = self.rewrite(made["items"])
            made["x-kubernetes-list-type"] = "atomic"
        if schema.get("additionalProperties") is True:
            made["x-kubernetes-preserve-unknown-fields"] = True
        if isinstance(schema.get("additionalProperties"), dict):
            made["additionalProperties"] = self.rewrite(schema["additionalProperties"])
            made["x-kubernetes-map-type"] = "atomic"
            self._key_names(made, schema.get("propertyNames"))
        if name in self._rules:
            made["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message} for rule in self._rules[name]
            ]
        return made

    @staticmethod
    def _as_map(made: Schema) -> None:
        """Turns an object with fixed and free keys into a map, since no structural schema allows such an object.

        CEL rules require the fixed keys.
        """
        del made["properties"]
        made["maxProperties"] = MOST_NAMES
        made["x-kubernetes-validations"] = [
            {"rule": f"'{key}' in self", "message": f"{key} must be set"} for key in made.pop("required", ())
        ]

    @staticmethod
    def _default_objects(made: Schema) -> None:
        """Gives an optional object without required members a default.

        So the defaults of the object's fields also hold if a user omits the object.
        """
        for key, value in made["properties"].items():
            optional = key not in made.get("required", ()) and value.get("type") == "object"
            complete = not value.get("required") and "x-kubernetes-validations" not in value
            has_defaults = any("default" in inner for inner in value.get("properties", {}).values())
            if optional and complete and has_defaults and key in ("swarm", "resources", "parameters"):
                value.setdefault("default", {})

    def _key_names(self, made: Schema, names: Schema | None) -> None:
        allowed = self.rewrite(names).get("enum") if names else None
        if allowed:
            made["maxProperties"] = len(allowed)
            made["x-kubernetes-validations"] = [
                {
                    "rule": f"self.all(key, key in {_cel(allowed)})",
                    "message": f"its keys must be among {', '.join(allowed)}",
                }
            ]


def _descendants(model: type[SpecModel]) -> Iterator[type[SpecModel]]:
    for child in model.__subclasses__():
        yield child
        yield from _descendants(child)


def _words(pattern: str) -> Schema:
    """Returns a rule that replaces a pattern, because the API server would show the pattern to people."""
    return {"rule": f"self.matches(r'{pattern}')", "message": f"must be {FORMS[pattern]}"}


def _cel(texts: list[str]) -> str:
    return "[" + ", ".join(f"'{text}'" for text in texts) + "]"


def _text(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


READY: Final = ".status.conditions[?(@.type=='Ready')]"


def _column(name: str, path: str, description: str, type_: str = "string", priority: int = 0) -> Schema:
    made = {"name": name, "type": type_, "jsonPath": path, "description": description}
    return made | ({"priority": priority} if priority else {})


def _columns() -> list[Schema]:
    return [
        _column("Ready", f"{READY}.status", "Whether the artifact of this spec is published."),
        _column("Reason", f"{READY}.reason", "Why."),
        _column("Progress", ".status.progress.text", "Cells done, of the rounds planned so far."),
        _column("Baseline", ".status.scores.baseline", "The student's score before.", "number"),
        _column("Best", ".status.scores.best", "The best score so far, or the winner's.", "number"),
        _column("Calls", ".status.usage.calls", "LM calls of the run.", "integer"),
        _column("Age", ".metadata.creationTimestamp", "Since its creation.", "date"),
        _column("USD", ".status.usage.costUSD", "What they cost, where their prices are known.", "number", 1),
        _column("Run", ".status.runId", "The current run.", priority=1),
        _column("Round", ".status.round", "The round under way, counted from 0.", "integer", 1),
        _column("Artifact", ".status.artifact.configMap.name", "Where the compiled program is.", priority=1),
        _column("Message", f"{READY}.message", "What is the case, for people.", priority=1),
    ]


def _trigger_columns() -> list[Schema]:
    return [
        _column("Ready", f"{READY}.status", "Whether the trigger works."),
        _column("Suspended", ".spec.suspend", "Whether no cause begins a run.", "boolean"),
        _column("Last", ".status.last.time", "The newest cause.", "date"),
        _column("Outcome", ".status.last.outcome", "What came of it."),
        _column("Next", ".status.nextTime", "The next time of the schedules."),
        _column("Run", ".status.runs[0].reason", "The state of the newest run."),
        _column("Age", ".metadata.creationTimestamp", "Since its creation.", "date"),
        _column("Message", f"{READY}.message", "What is the case, for people.", priority=1),
    ]


COMPILATION: Final = Described(api.KIND, api.PLURAL, api.SINGULAR, api.SHORT_NAME, CompilationSpec, Status, _columns)
TRIGGER: Final = Described(
    trigger.KIND,
    trigger.PLURAL,
    trigger.SINGULAR,
    trigger.SHORT_NAME,
    TriggerSpec,
    TriggerStatus,
    _trigger_columns,
)
KINDS: Final = (COMPILATION, TRIGGER)


class _Plain(yaml.SafeDumper):
    """Dumps YAML without anchors, so that equal parts are written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def text(of: Described = COMPILATION) -> str:
    """Returns the text of a CRD's file."""
    return HEADER + yaml.dump(definition(of), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tools/crd.py", description="Write the CRDs, or check them.")
    parser.add_argument("crds", type=Path, help="folder of the CRDs")
    parser.add_argument("chart", type=Path, help="the chart, which has copies in its files/ folder")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not as it should be")
    given = parser.parse_args(arguments)
    handle: Callable[[Path, str], bool] = _is_current if given.check else _write
    folders = given.crds, given.chart / "files"
    done = [handle(folder / kind.file, text(kind)) for kind in KINDS for folder in folders]
    return 0 if all(done) else 1


def _write(path: Path, wanted: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(wanted, encoding="utf-8")
    return True


def _is_current(path: Path, wanted: str) -> bool:
    if path.is_file() and path.read_text(encoding="utf-8") == wanted:
        return True
    sys.stderr.write(f"{path} is not what the models say. Run: make crds\n")
    return False


if __name__ == "__main__":
    sys.exit(main())
