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
KIND = ARGOCD / "resource_customizations" / "dspy-swarm.dev" / "DSPyCompilation"
SCRIPT = (KIND / "health.lua").read_text(encoding="utf-8")
TESTS: list[dict[str, Any]] = yaml.safe_load((KIND / "health_test.yaml").read_text(encoding="utf-8"))["tests"]
KSTATUS = {
    "new": "InProgress",
    "running": "InProgress",
    "suspended": "InProgress",
    "changed": "InProgress",
    "published": "Current",
    "kept": "Current",
    "failed": "Failed",
    "stuck": "Failed",
}


def seen(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KIND / "testdata" / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def health(compilation: dict[str, Any]) -> dict[str, str]:
    """Runs the script as Argo CD does: with the object as the global variable `obj`."""
    lua = lupa.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    lua.globals().obj = lua.table_from(compilation, recursive=True)
    return dict(lua.execute(SCRIPT))


@pytest.mark.parametrize("row", TESTS, ids=lambda row: Path(row["inputPath"]).stem)
def test_argo_cd_shows_the_health_of_every_state(row: dict[str, Any]) -> None:
    assert health(seen(Path(row["inputPath"]).stem)) == row["healthStatus"]


@pytest.mark.parametrize(("name", "wanted"), KSTATUS.items())
def test_kstatus_shows_the_progress_of_every_state(name: str, wanted: str) -> None:
    assert kstatus(seen(name)) == wanted


@pytest.mark.parametrize("state", State)
def test_the_test_data_have_the_conditions_that_the_operator_writes(state: State) -> None:
    found = seen(state.value)
    status = Status.of(found["status"])
    assert {condition.type: condition.status for condition in status.conditions} == CONDITIONS[state]
    assert parse(found["spec"]).suspend == (state is State.SUSPENDED)


def test_every_state_is_in_argo_cds_test_data() -> None:
    named = {Path(row["inputPath"]).stem for row in TESTS}
    assert named == {path.stem for path in (KIND / "testdata").iterdir()} == {*KSTATUS}
    assert {state.value for state in State} <= named


def test_the_patch_for_argo_cd_has_the_same_script() -> None:
    data = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text(encoding="utf-8"))["data"]
    assert data == {"resource.customizations.health.dspy-swarm.dev_DSPyCompilation": SCRIPT}
