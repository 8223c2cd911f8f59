"""kustomize, which is a part of kubectl, writes the names of generated ConfigMaps and Secrets into a Compilation."""

import copy
from pathlib import Path
from typing import Any

import yaml

import testbed
from support.cluster import ROOT
from support.operator_specs import spec

REFERENCES = ROOT / "schema" / "kustomize-name-references.yaml"


def test_every_reference_gets_the_name_with_the_hash(installed: testbed.Cluster, tmp_path: Path) -> None:
    written = yaml.safe_load(REFERENCES.read_text(encoding="utf-8"))["nameReference"]
    paths = [(found["kind"], field["path"].split("/")) for found in written for field in found["fieldSpecs"]]
    compilation = {
        "apiVersion": "dspy-swarm.dev/v1alpha1",
        "kind": "DSPyCompilation",
        "metadata": {"name": "triage"},
        "spec": copy.deepcopy(spec()),
    }
    for kind, path in paths:
        _set(compilation, path, "data" if kind == "ConfigMap" else "keys")
    kustomization = {
        "resources": ["compilation.yaml"],
        "configMapGenerator": [{"name": "data", "literals": ["a=1"]}],
        "secretGenerator": [{"name": "keys", "literals": ["a=1"]}],
        "configurations": [REFERENCES.name],
    }
    (tmp_path / REFERENCES.name).write_bytes(REFERENCES.read_bytes())
    (tmp_path / "compilation.yaml").write_text(yaml.safe_dump(compilation), encoding="utf-8")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")

    made = {each["kind"]: each for each in yaml.safe_load_all(installed.kubectl("kustomize", tmp_path))}
    assert len(paths) > 20
    for kind, path in paths:
        assert _get(made["DSPyCompilation"], path) == made[kind]["metadata"]["name"], path
        assert made[kind]["metadata"]["name"] not in ("data", "keys")


def _set(parent: dict[str, Any], path: list[str], value: str) -> None:
    """Sets a field. Objects on its way that are missing are made; a list gets one object."""
    for name in path[:-1]:
        inner = parent.setdefault(name, [{}] if name in ("env", "envFrom", "imagePullSecrets") else {})
        parent = inner[0] if isinstance(inner, list) else inner
    parent[path[-1]] = value


def _get(parent: Any, path: list[str]) -> Any:
    for name in path:
        found = parent[name]
        parent = found[0] if isinstance(found, list) else found
    return parent
