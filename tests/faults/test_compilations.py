"""A run survives users who edit, delete or recreate its Compilation, and people who delete its namespace or the CRD."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from faults.kinds import case
from faults.stage import A_POD, ENDING, PODS, THREADS, Stage
from support.cluster import condition, is_over
from support.e2e import triage_namespace
from support.sampling import of_the_day, paired, sample
from testbed import Cluster

Moment = Callable[[Stage], object]

MOMENTS: dict[str, Moment] = {
    "at once": lambda stage: stage.when(stage.find),
    "before the plan runs": lambda stage: stage.pod("plan", "Pending"),
    "planning": lambda stage: stage.pod("plan"),
    "planned": lambda stage: stage.config_map("tasks"),
    "working": lambda stage: stage.pod("work"),
    "nearly done": lambda stage: stage.paid(50),
    "published": lambda stage: stage.over(),
}


def moments(*names: str) -> Any:
    return pytest.mark.parametrize("moment", [MOMENTS[name] for name in names], ids=names)


@pytest.mark.parametrize(
    ("policy", "moment"),
    [
        *(case("Compilation deleted", "Background", MOMENTS[name], id=name) for name in sample([*MOMENTS], 3)),
        case("Compilation deleted in the foreground", "Foreground", MOMENTS["working"]),
    ],
)
def test_a_deleted_compilation_leaves_nothing(stage: Stage, policy: str, moment: Moment) -> None:
    stage.slow(0.3)
    stage.begin()
    moment(stage)
    stage.delete(policy)
    stage.gone()
    stage.rests()


@moments(*of_the_day(["planning", "working", "published"]))
@pytest.mark.fault("Compilation deleted and made anew")
def test_a_recreated_compilation_reuses_nothing_of_its_deleted_namesake(stage: Stage, moment: Moment) -> None:
    """The new Compilation has the same name as the deleted one, but another uid, so it uses none of its results."""
    stage.slow(0.3)
    stage.begin()
    moment(stage)
    stage.delete()
    stage.when(lambda: stage.find() is None)
    stage.begin()
    # Pods of the old Compilation go on with cells until Kubernetes deletes the pods.
    stage.holds(lost=ENDING + PODS * A_POD, unseen=True)


def change(stage: Stage) -> None:
    stage.merge(stage.path(), {"spec": {"swarm": {"threadsPerPod": 3}}})


def there_and_back(stage: Stage) -> None:
    stage.merge(stage.path(), {"spec": {"swarm": {"pods": 1}}})
    stage.merge(stage.path(), {"spec": {"swarm": {"pods": 2}}})


def ask(stage: Stage) -> None:
    stage.merge(stage.path(), {"metadata": {"annotations": {"dspy-swarm.dev/requested-at": "now"}}})


def pause(stage: Stage) -> None:
    stage.merge(stage.path(), {"spec": {"suspend": True}})
    time.sleep(3)
    stage.merge(stage.path(), {"spec": {"suspend": False}})


def pause_shortly(stage: Stage) -> None:
    stage.merge(stage.path(), {"spec": {"suspend": True}})
    stage.merge(stage.path(), {"spec": {"suspend": False}})


def wipe_status(stage: Stage) -> None:
    stage.merge(f"{stage.path()}/status", {"status": None})


def annotate(stage: Stage) -> None:
    stage.merge(stage.path(), {"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}})


@pytest.mark.parametrize(
    ("edit", "moment"),
    [
        case(kind, edit, MOMENTS[name], id=f"{kind}, {name}", some=edit is wipe_status)
        for (kind, edit), name in [
            *paired(
                [("spec changed", change), ("new run asked for", ask), ("suspended and resumed", pause)],
                ["planning", "working"],
            ),
            *paired(
                [
                    ("spec changed and changed back", there_and_back),
                    ("suspended and resumed at once", pause_shortly),
                    ("status wiped", wipe_status),
                    ("labels and annotations changed", annotate),
                ],
                ["working"],
            ),
        ]
    ],
)
def test_an_edited_compilation_publishes_the_artifact_of_its_newest_generation(
    stage: Stage, edit: Callable[[Stage], None], moment: Moment
) -> None:
    """Only a requested rerun pays again for results. Other edits reuse them."""
    assert stage.reference
    stage.slow(0.3)
    stage.begin()
    moment(stage)
    edit(stage)
    # A plan that must end does not wait for its calls in flight. A worker that must end finishes its cells.
    in_flight = THREADS if edit in (change, there_and_back, pause, pause_shortly) else 0
    stage.holds(lost=stage.reference.requests if edit is ask else in_flight)


NewStage = Callable[..., AbstractContextManager[Stage]]


@pytest.mark.fault("namespace deleted")
@pytest.mark.parametrize("role", ["work"])
def test_a_namespace_can_be_deleted_during_a_run(
    cluster: Cluster, new_stage: NewStage, worker_id: str, tmp_path: Path, role: str
) -> None:
    with (
        triage_namespace(cluster, f"faults-short-lived-{worker_id}") as namespace,
        new_stage(namespace, tmp_path) as stage,
    ):
        stage.slow()
        stage.begin()
        stage.pod(role)
        namespace.delete(wait=False)
        stage.when(lambda: stage.api.get(f"/api/v1/namespaces/{namespace.name}") is None)
        stage.rests()


@pytest.mark.alone
@pytest.mark.fault("kind of Compilations deleted and brought back")
@pytest.mark.parametrize("role", ["work"])
def test_the_crd_can_be_deleted_during_a_run(stage: Stage, cluster: Cluster, role: str) -> None:
    """Kubernetes deletes all Compilations and their objects. The operator restarts, and serves later Compilations."""
    stage.slow()
    stage.begin()
    stage.pod(role)
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    kind = stage.api.get(f"{path}/dspycompilations.dspy-swarm.dev")
    stage.api.send("DELETE", f"{path}/dspycompilations.dspy-swarm.dev")
    try:
        for plural in ("pods", "jobs", "configmaps"):
            # Kubernetes' garbage collector may need minutes to find out that the owners' kind is gone.
            stage.when(lambda plural=plural: not stage.ours(plural), seconds=300)  # type: ignore[misc]
    finally:
        metadata = {key: kind["metadata"][key] for key in ("name", "labels", "annotations") if key in kind["metadata"]}
        stage.when(lambda: stage.api.get(f"{path}/dspycompilations.dspy-swarm.dev") is None)
        stage.api.send("POST", path, {**kind, "metadata": metadata, "status": None})
        stage.when(lambda: stage.api.get(stage.path("")) is not None)
    stage.begin()
    stage.holds(restarts=True)


@pytest.mark.alone
@pytest.mark.fault("rights taken for a while")
def test_a_run_survives_a_temporary_loss_of_rights(stage: Stage) -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    binding = stage.api.get(f"{path}/dspy-swarm")
    stage.slow()
    stage.begin()
    stage.pod("work")
    stage.api.send("DELETE", f"{path}/dspy-swarm")
    try:
        time.sleep(15)
    finally:
        metadata = {key: binding["metadata"][key] for key in ("name", "labels", "annotations")}
        stage.api.send("POST", path, {**binding, "metadata": metadata})
    stage.holds()


@pytest.mark.alone
@pytest.mark.fault("no node takes pods for a while")
def test_a_run_survives_a_node_that_accepts_no_pods_for_a_while(stage: Stage) -> None:
    stage.slow()
    stage.begin()
    stage.pod("plan")
    (node,) = stage.api.get("/api/v1/nodes")["items"]
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    stage.merge(path, {"spec": {"unschedulable": True}})
    try:

        def told() -> bool:
            found = stage.find()
            assert found is not None
            assert not is_over(found)
            return (condition(found, "Reconciling") or {}).get("reason") == "Unschedulable"

        stage.when(told)
    finally:
        stage.merge(path, {"spec": {"unschedulable": None}})
    stage.holds()
