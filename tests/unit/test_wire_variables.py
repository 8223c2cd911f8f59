"""spec.env and spec.envFrom act as in a pod, but never replace variables that our processes need."""

from typing import Any

import pytest
from pydantic import ValidationError

from support.wire_spec import a_spec
from swarm_wire.names import variable_prefix
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.variables import RESERVED, Value, bound, is_reserved, placed

SECRET = {"secretKeyRef": {"name": "judge", "key": "api-key"}}
CONFIG = {"configMapKeyRef": {"name": "settings", "key": "level"}}


def parsed(**changes: Any) -> CompilationSpec:
    return CompilationSpec.model_validate(a_spec(**changes))


def named(name: str, **value: Any) -> dict[str, Any]:
    return {"name": name, **(value or {"value": "v"})}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"env": [named("A", valueFrom={})]}, "exactly one of secretKeyRef, configMapKeyRef must be set"),
        ({"env": [{"name": "A"}]}, "exactly one of value, valueFrom must be set"),
        ({"env": [named("A", value="1", valueFrom=SECRET)]}, "exactly one of value, valueFrom must be set"),
        ({"env": [named("A"), named("B"), named("A")]}, "env sets A more than once"),
        ({"env": [named("a-b")]}, "String should match pattern"),
        ({"envFrom": [{}]}, "exactly one of secretRef, configMapRef must be set"),
        ({"envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]}, "exactly one of secretRef"),
        *(({"env": [named(name.replace("*", "X"))]}, "may not be set: the pods set SWARM_*") for name in RESERVED),
    ],
    ids=lambda given: str(given)[:60],
)
def test_invalid_variables_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says.replace("*", r"\*")):
        parsed(**changes)


@pytest.mark.parametrize("name", ["SWARM", "PYTHONIC_NO", "MY_PATH", "PATHS", "XLD_A", "HOMEPAGE"])
def test_a_name_that_only_resembles_a_reserved_variable_is_allowed(name: str) -> None:
    assert is_reserved(name) == name.startswith("PYTHON")


def test_variables_are_written_back_unchanged() -> None:
    given = {"env": [named("A"), named("B", valueFrom=SECRET)]}
    given["envFrom"] = [{"secretRef": {"name": "a"}, "prefix": "T_"}, {"configMapRef": {"name": "b"}}]
    written = parsed(**given).as_written()
    assert {name: written[name] for name in given} == given


A, B, C = (variable_prefix(number) for number in range(3))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {}),
        ({"OTHER": "1"}, {}),
        ({f"{A}X": "1"}, {"X": Value("1", True)}),
        ({f"{B}X": "1"}, {"X": Value("1", False)}),
        ({f"{A}X": "1", f"{B}X": "2"}, {"X": Value("2", False)}),
        ({f"{A}X": "1", f"{B}X": "2", f"{C}X": "3"}, {"X": Value("3", False)}),
        ({f"{C}K": "3"}, {"K": Value("3", True)}),
        ({f"{C}UNKNOWN": "3"}, {}),
    ],
    ids=["no variable", "an unrelated variable", "a variable of a Secret", "a variable of a ConfigMap",
         "the later source counts", "env counts", "env with a Secret", "a variable that env does not name"],
)  # fmt: skip
def test_references_between_variables_are_expanded_as_kubernetes_expands_them(
    given: dict[str, str], found: dict[str, Value]
) -> None:
    sources = [{"secretRef": {"name": "a"}}, {"configMapRef": {"name": "b"}}]
    spec = parsed(envFrom=sources, env=[named("X"), named("K", valueFrom=SECRET)])
    assert placed(spec.env, spec.env_from, given) == found


def test_a_source_of_variables_cannot_set_a_variable_that_our_processes_need() -> None:
    spec = parsed(envFrom=[{"secretRef": {"name": "a"}}])
    with pytest.raises(ValueError, match=r"spec\.envFrom: PYTHONPATH may not be set: .* the source a prefix\."):
        placed(spec.env, spec.env_from, {f"{A}PYTHONPATH": "/tmp"})


def test_the_binding_of_a_run_contains_names_of_variables_and_values_that_are_not_secret() -> None:
    assert bound({"B": Value("1", False), "A": Value("sk-1", True)}) == ["A", "B=1"]


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, {}),
        ({"env": [named("A"), named("B", valueFrom=SECRET)]}, {}),
        ({"env": [named("A", valueFrom=CONFIG)]}, {"settings": {"level"}}),
        ({"envFrom": [{"configMapRef": {"name": "all"}}, {"secretRef": {"name": "s"}}]}, {"all": set()}),
        ({"env": [named("A", valueFrom=CONFIG)], "program.source": {"configMap": {"name": "settings"}}},
         {"settings": {"level"}}),
        ({"env": [named("A", valueFrom=CONFIG)], "data.train": {"configMap": {"name": "settings", "key": "t"}}},
         {"settings": {"level", "t"}}),
    ],
)  # fmt: skip
def test_a_spec_names_the_config_maps_that_must_exist_for_variables_program_and_data(
    changes: dict[str, Any], needed: dict[str, set[str]]
) -> None:
    assert parsed(**changes).needed_config_maps() == needed
