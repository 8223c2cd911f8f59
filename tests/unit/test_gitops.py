"""GitOps tools see the state of a Compilation: Flux by kstatus, Argo CD by the shipped health script."""

from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml

from support.kstatus import kstatus
from swarm_operator.compilation.decide.conditions import CONDITIONS, State
from swarm_operator.compilation.status import Status
from swarm_wire.spec.problems import parse

ARGOCD = Path(__file__).parents[2] / "examples" / "gitops" / "argocd"
FOLDER = ARGOCD / "resource_customizations" / "dspy-swarm.dev"
KSTATUS = {
    "DSPyCompilation": {
        "new": "InProgress",
        "running": "InProgress",
        "suspended": "InProgress",
        "changed": "InProgress",
        "published": "Current",
        "kept": "Current",
        "failed": "Failed",
        "stuck": "Failed",
    },
    "DSPyCompilationTrigger": {
        "new": "InProgress",
        "changed": "InProgress",
        "waiting": "Current",
        "suspended": "Current",
        "stalled": "Failed",
    },
}
"""kstatus of the objects in Argo CD's test data."""


def rows(kind: str) -> list[dict[str, Any]]:
    text = (FOLDER / kind / "health_test.yaml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = yaml.safe_load(text)["tests"]
    return found


def script(kind: str) -> str:
    return (FOLDER / kind / "health.lua").read_text(encoding="utf-8")


def seen(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / kind / "testdata" / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def health(found: dict[str, Any]) -> dict[str, str]:
    """Runs the script as Argo CD does: with the object as the global variable `obj`."""
    lua = lupa.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    lua.globals().obj = lua.table_from(found, recursive=True)
    return dict(lua.execute(script(found["kind"])))


STATES = [(kind, name) for kind, states in KSTATUS.items() for name in states]


@pytest.mark.parametrize(("kind", "name"), STATES)
def test_argo_cd_and_kstatus_show_every_state(kind: str, name: str) -> None:
    [row] = [each for each in rows(kind) if Path(each["inputPath"]).stem == name]
    assert health(seen(kind, name)) == row["healthStatus"]
    assert kstatus(seen(kind, name)) == KSTATUS[kind][name]


@pytest.mark.parametrize("state", State)
def test_the_test_data_have_the_conditions_that_the_operator_writes(state: State) -> None:
    found = seen("DSPyCompilation", state.value)
    status = Status.of(found["status"])
    assert {condition.type: condition.status for condition in status.conditions} == CONDITIONS[state]
    assert parse(found["spec"]).suspend == (state is State.SUSPENDED)


@pytest.mark.parametrize("kind", KSTATUS)
def test_every_state_is_in_argo_cds_test_data(kind: str) -> None:
    named = {Path(row["inputPath"]).stem for row in rows(kind)}
    assert named == {path.stem for path in (FOLDER / kind / "testdata").iterdir()} == {*KSTATUS[kind]}


def test_each_state_of_a_run_is_in_argo_cds_test_data() -> None:
    assert {state.value for state in State} <= {*KSTATUS["DSPyCompilation"]}


def test_the_patch_for_argo_cd_has_the_same_scripts() -> None:
    data = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text(encoding="utf-8"))["data"]
    assert data == {f"resource.customizations.health.dspy-swarm.dev_{kind}": script(kind) for kind in KSTATUS}
