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
    fields = [
        (found["kind"], field["kind"], field["path"].split("/")) for found in written for field in found["fieldSpecs"]
    ]
    given = {
        "DSPyCompilation": {"spec": copy.deepcopy(spec())},
        "DSPyCompilationTrigger": {
            "spec": {"schedules": [{"cron": "0 2 * * *"}], "template": {"spec": copy.deepcopy(spec())}}
        },
    }
    objects = {
        kind: {"apiVersion": "dspy-swarm.dev/v1alpha1", "kind": kind, "metadata": {"name": "triage"}, **body}
        for kind, body in given.items()
    }
    for kind, of, path in fields:
        _set(objects[of], path, "data" if kind == "ConfigMap" else "keys")
    kustomization = {
        "resources": ["objects.yaml"],
        "configMapGenerator": [{"name": "data", "literals": ["a=1"]}],
        "secretGenerator": [{"name": "keys", "literals": ["a=1"]}],
        "configurations": [REFERENCES.name],
    }
    (tmp_path / REFERENCES.name).write_bytes(REFERENCES.read_bytes())
    (tmp_path / "objects.yaml").write_text(yaml.safe_dump_all(objects.values()), encoding="utf-8")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")

    made = {each["kind"]: each for each in yaml.safe_load_all(installed.kubectl("kustomize", tmp_path))}
    assert len(fields) > 40
    for kind, of, path in fields:
        assert _get(made[of], path) == made[kind]["metadata"]["name"], (of, path)
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
