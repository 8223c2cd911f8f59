"""Makes kustomize's name references: the fields of both kinds that name a ConfigMap or Secret.

Source of the format: kustomize's documentation of transformer configurations, `nameReference`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from crd import structural
from swarm_operator.compilation import api
from swarm_operator.trigger import api as trigger
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.models import Models

HOLDERS: Final = {
    "ConfigMap": ("configMap", "configMapRef", "configMapKeyRef"),
    "Secret": ("secret", "secretRef", "secretKeyRef", "imagePullSecrets"),
}
"""Kind -> names of the fields that refer to an object of it."""
KINDS: Final = {api.KIND: "", trigger.KIND: "spec/template/"}
"""Kind -> path of the object with the Compilation's spec."""
MADE_BY_THE_OPERATOR = "spec/artifact/configMap/name"
HEAD = """\
# Generated from the models by `make docs`. In a kustomization.yaml:
#   configurations: [kustomize-name-references.yaml]
# With it, kustomize writes the names of generated ConfigMaps and Secrets into Compilations and triggers.
# If you name a model yourself, add the path spec/models/<name>/apiKey/secret/name.
"""


def text() -> str:
    found = list(_names(structural(CompilationSpec), ("spec",)))
    references = [
        {
            "kind": kind,
            "version": "v1",
            "fieldSpecs": [
                {"path": f"{prefix}{path}", "group": api.GROUP, "kind": of}
                for of, prefix in KINDS.items()
                for path in found
                if path.split("/")[-2] in holders and path != MADE_BY_THE_OPERATOR
            ],
        }
        for kind, holders in HOLDERS.items()
    ]
    return HEAD + yaml.safe_dump({"nameReference": references}, sort_keys=False)


def _names(schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yields the paths of all fields `name`. A list adds nothing to a path."""
    for name, inner in schema.get("properties", {}).items():
        if name == "name":
            yield "/".join((*path, name))
        yield from _names(inner, (*path, name))
    if "items" in schema:
        yield from _names(schema["items"], path)
    if isinstance(further := schema.get("additionalProperties"), Mapping):
        # kustomize knows no wildcards, so a path names the role of a model.
        for role in Models.model_fields:
            yield from _names(further, (*path, role))
