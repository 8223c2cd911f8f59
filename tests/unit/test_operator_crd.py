"""The CRD and the chart's copy of it follow the pydantic models and the rules of Kubernetes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

import crd
from support.operator_specs import SPEC
from swarm_operator.compilation.status import Status
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.optimizers import Optimizer, PromptOptimizer
from swarm_wire.spec.references import ConfigMapRef
from swarm_wire.spec.schema import ENTRYPOINT, FORMS, NAME, Union

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "dspy-swarm"
DEFINITION = crd.definition()
VERSION = DEFINITION["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]["properties"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the path and content of every schema within a schema."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from nodes(schema[word], f"{path}[]")


ALL = [*nodes(SCHEMA["spec"], "spec"), *nodes(SCHEMA["status"], "status")]


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize("folder", [ROOT / "crds", CHART / "files"], ids=["crds", "chart"])
def test_generated_crds_are_up_to_date(folder: Path, kind: crd.Described) -> None:
    assert (folder / kind.file).read_text(encoding="utf-8") == crd.text(kind), "run: make crds"


def test_the_check_of_generated_files_finds_a_file_that_is_not_up_to_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "crds"), str(tmp_path / "chart")]
    assert crd.main(arguments) == 0
    assert crd.main([*arguments, "--check"]) == 0
    (tmp_path / "crds" / crd.COMPILATION.file).write_text("other", encoding="utf-8")
    assert crd.main([*arguments, "--check"]) == 1
    assert "make crds" in capsys.readouterr().err


def test_the_crd_is_small_enough_for_kubectl_apply_on_the_client_side() -> None:
    assert len(json.dumps(DEFINITION)) < 256 * 1024


@pytest.mark.parametrize(("path", "schema"), ALL, ids=[path for path, _ in ALL])
def test_schemas_of_the_crd_are_structural(path: str, schema: dict[str, Any]) -> None:
    assert schema["type"] in ("object", "array", "string", "integer", "number", "boolean")
    assert not {"$ref", "anyOf", "allOf", "oneOf", "title", "const", "nullable", "propertyNames"} & set(schema)
    assert schema.get("additionalProperties") is not False
    assert not ("properties" in schema and "additionalProperties" in schema)


@pytest.mark.parametrize(("path", "schema"), ALL, ids=[path for path, _ in ALL])
def test_kubectl_and_helm_read_no_field_name_as_a_boolean(path: str, schema: dict[str, Any]) -> None:
    """kubectl and Helm read YAML 1.1, in which the key `n` means `false`."""
    assert not {"y", "n", "yes", "no", "on", "off", "true", "false"} & {
        name.lower() for name in schema.get("properties", ())
    }


@pytest.mark.parametrize(("path", "schema"), ALL, ids=[path for path, _ in ALL])
def test_every_object_in_the_schema_has_a_description_or_a_name_that_needs_none(
    path: str, schema: dict[str, Any]
) -> None:
    plain = path.endswith(("[]", ".name", ".key", ".operator", ".value", ".effect", ".tolerationSeconds"))
    if not plain and schema["type"] == "object" and "properties" in schema:
        assert schema.get("description"), path


@pytest.mark.parametrize(("path", "schema"), ALL, ids=[path for path, _ in ALL])
def test_the_error_about_a_malformed_text_explains_the_expected_form_in_words(
    path: str, schema: dict[str, Any]
) -> None:
    """An error shows the message of a rule, but of a pattern only the expression. `maxLength` bounds a rule's cost."""
    assert "pattern" not in schema
    for rule in schema.get("x-kubernetes-validations", ()) if schema["type"] == "string" else ():
        assert rule["message"].startswith("must be ")
        assert not set("^$\\*+") & set(rule["message"])
        assert schema["maxLength"] <= 1024


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        (
            ("metric", "entrypoint"),
            {
                "rule": f"self.matches(r'^{ENTRYPOINT}$')",
                "message": 'must be "module:attribute", for example "triage:Triage"',
            },
        ),
        (
            ("artifact", "configMap", "name"),
            {"rule": f"self.matches(r'{NAME}')", "message": f"must be {FORMS[NAME]}"},
        ),
    ],
    ids=lambda each: ".".join(each) if isinstance(each, tuple) else "",
)
def test_a_text_pattern_of_the_pydantic_models_is_a_rule_of_the_schema(
    field: tuple[str, ...], rule: dict[str, str]
) -> None:
    found = SCHEMA["spec"]
    for name in field:
        found = found["properties"][name]
    assert found["x-kubernetes-validations"] == [rule]


def test_every_rule_of_the_pydantic_models_is_a_rule_of_the_schema() -> None:
    messages = [
        rule["message"]
        for _, schema in ALL
        for rule in schema.get("x-kubernetes-validations", ())
        if "set" in rule["message"]
    ]
    assert sorted(set(messages)) == [
        "exactly one of auto, maxFullEvals, maxMetricCalls must be set",
        "exactly one of bestImprovement, topKImprovements must be set",
        f"exactly one of {', '.join(map(to_camel, PromptOptimizer.members))} must be set",
        f"exactly one of {', '.join(map(to_camel, Optimizer.members))} must be set",
        "exactly one of branch, tag, commit must be set",
        "exactly one of chat, json, xml, twoStep, entrypoint must be set",
        "exactly one of configMap, git must be set",
        "exactly one of configMap, path, published must be set",
        "exactly one of configMap, path, volume, url, entrypoint must be set",
        "exactly one of persistentVolumeClaim, url must be set",
        "exactly one of revision, volume, path must be set",
        "exactly one of sameParent, independent, pxN must be set",
        "exactly one of secretKeyRef, configMapKeyRef must be set",
        "exactly one of secretRef, configMapRef must be set",
        "exactly one of value, valueFrom must be set",
        "options may be set only with url",
        "set auto, or both of numCandidates and numTrials",
        "student must be set",
    ]


class Source(Union):
    """A union with another field beside its members, as a later version may have it."""

    others = ("limit",)
    config_map: ConfigMapRef | None = None
    git: str | None = None
    limit: int | None = None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "exactly one of configMap, git must be set"),
        ({"git": "a", "configMap": {"name": "b"}}, "exactly one of configMap, git must be set, not configMap, git"),
        ({"limit": 1}, "exactly one of configMap, git must be set"),
        ({"git": "a"}, None),
        ({"configMap": {"name": "b"}}, None),
    ],
)
def test_every_optional_field_of_a_union_is_a_member_unless_the_union_lists_it_as_another_field(
    given: dict[str, Any], says: str | None
) -> None:
    rules = crd.structural(Source)["x-kubernetes-validations"]
    assert rules == [
        {
            "rule": "[has(self.configMap), has(self.git)].exists_one(given, given)",
            "message": "exactly one of configMap, git must be set",
        }
    ]
    with pytest.raises(ValidationError, match=f"error, {says} \\[") if says else nullcontext():
        Source.model_validate(given)


def test_rules_of_the_pydantic_models_about_several_fields_are_rules_of_the_schema() -> None:
    optimizers = SCHEMA["spec"]["properties"]["optimizer"]["properties"]
    assert optimizers["gepa"]["x-kubernetes-validations"][0]["rule"] == (
        "[has(self.auto), has(self.maxFullEvals), has(self.maxMetricCalls)].exists_one(given, given)"
    )
    assert optimizers["miprov2"]["x-kubernetes-validations"][0]["rule"] == (
        "has(self.auto) ? !has(self.numCandidates) && !has(self.numTrials) "
        ": has(self.numCandidates) == has(self.numTrials)"
    )
    requests = SCHEMA["spec"]["properties"]["swarm"]["properties"]["resources"]["properties"]["requests"]
    assert (
        requests["x-kubernetes-validations"][0]["rule"]
        == "self.all(key, key in ['cpu', 'memory', 'ephemeral-storage'])"
    )
    assert requests["maxProperties"] == 3


def test_defaults_of_the_schema_are_those_of_the_pydantic_models() -> None:
    given = CompilationSpec.model_validate(SPEC)
    swarm = SCHEMA["spec"]["properties"]["swarm"]["properties"]
    assert swarm["maxAttempts"]["default"] == given.swarm.max_attempts
    assert SCHEMA["spec"]["properties"]["swarm"]["default"] == {}
    assert "default" not in swarm["resources"]["properties"]["requests"], "limits lower it"
    assert SCHEMA["status"]["default"] == {"observedGeneration": -1}


def test_the_schema_declares_conditions_as_a_map_with_the_key_type() -> None:
    conditions = SCHEMA["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_printer_columns_of_the_crd_name_existing_fields_of_the_status() -> None:
    columns = {column["name"]: column for column in VERSION["additionalPrinterColumns"]}
    assert [name for name, column in columns.items() if not column.get("priority")] == [
        "Ready",
        "Reason",
        "Progress",
        "Baseline",
        "Best",
        "Calls",
        "Age",
    ]
    fields = Status.model_json_schema(by_alias=True)["properties"]
    for column in columns.values():
        path = column["jsonPath"]
        assert path == ".metadata.creationTimestamp" or path.split(".")[2].split("[")[0] in fields


def test_the_pydantic_models_refuse_an_unknown_field_and_fill_in_defaults() -> None:
    with pytest.raises(ValidationError):
        CompilationSpec.model_validate({**SPEC, "swarm": {"podz": 1}})
    assert CompilationSpec.model_validate(SPEC).as_written()["swarm"]["pods"] == 3


# The chart.


def same_keys(values: Any, schema: Any, path: str = "") -> None:
    if isinstance(values, dict) and schema.get("additionalProperties") is False:
        assert set(values) == set(schema["properties"]) - {"global"}, path
        for key, value in values.items():
            same_keys(value, schema["properties"][key], f"{path}.{key}")


def test_the_values_of_the_chart_and_their_schema_have_the_same_keys() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert schema["additionalProperties"] is False
    same_keys(values, schema)


def test_the_chart_grants_no_rights_to_secrets_and_no_wildcards() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir())
    assert "resources: [secrets" not in text
    assert '"*"' not in text
    assert "finalizers" in (CHART / "templates" / "NOTES.txt").read_text(encoding="utf-8")


# The repository.


def test_the_operator_folder_does_not_hide_the_standard_library() -> None:
    code = "import collections, operator; print(operator.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not Path(found.stdout.strip()).is_relative_to(ROOT)
    assert not (ROOT / "operator" / "__init__.py").exists()
