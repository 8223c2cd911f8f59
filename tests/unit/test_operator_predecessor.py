"""Whole runs of a Compilation with a predecessor, on a cluster in memory."""

import asyncio
from typing import Any

import pytest

from support.fake_cluster import NAMESPACE, PROGRAM, FakeCluster
from support.operator_specs import spec
from swarm_operator.cluster.resources import CONFIG_MAPS, JOBS
from swarm_operator.compilation.api import COMPILATIONS, LABEL_UID, REQUESTED_AT, RERUN_AT
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.reconcile import Reconciler
from swarm_operator.compilation.status import Status
from swarm_operator.settings import Settings
from swarm_wire.messages import RunRequest

pytestmark = pytest.mark.whole_runs

SETTINGS = Settings(status_interval=0, retry_delay=2, log_deadline=5, concurrent_logs=100)


def made(name: str, cluster: FakeCluster, annotations: dict[str, str] | None = None, **changes: Any) -> None:
    found = cluster.compilation(spec(**changes), name)
    found["metadata"]["annotations"] = dict(annotations or {})


def run(cluster: FakeCluster) -> None:
    """Steps until all runs are over."""
    process = Reconciler(cluster, SETTINGS, clock=lambda: cluster.now)
    for _ in range(30):
        for found in cluster.of(COMPILATIONS):
            key = Key(NAMESPACE, found["metadata"]["name"], found["metadata"]["uid"])
            for _ in range(30):
                if asyncio.run(process(key)) != 0:
                    break
        cluster.step()


def first_ran(**changes: Any) -> FakeCluster:
    cluster = FakeCluster()
    cluster.config_map("triage-program", **{"triage.py": "..."})
    cluster.config_map("triage-data", **{"train.jsonl": "{}", "val.jsonl": "{}"})
    made("triage", cluster, **changes)
    run(cluster)
    assert status(cluster, "triage").artifact is not None
    return cluster


def status(cluster: FakeCluster, name: str) -> Status:
    [found] = cluster.of(COMPILATIONS, name)
    return Status.of(found["status"])


def request(cluster: FakeCluster, name: str) -> RunRequest:
    [found] = cluster.of(CONFIG_MAPS, f"{name}-{status(cluster, name).run_id}-run")
    return RunRequest.model_validate_json(found["data"]["request.json"])


def calls(cluster: FakeCluster, name: str) -> int:
    usage = status(cluster, name).usage
    assert usage is not None
    return usage.calls


def its_maps(cluster: FakeCluster, name: str) -> set[str]:
    [found] = cluster.of(COMPILATIONS, name)
    uid = found["metadata"]["uid"]
    maps = cluster.of(CONFIG_MAPS)
    return {each["metadata"]["name"] for each in maps if each["metadata"].get("labels", {}).get(LABEL_UID) == uid}


def test_a_successor_pays_for_no_cell_that_its_predecessor_has_paid_for() -> None:
    cluster = first_ran()
    before = its_maps(cluster, "triage")
    made("other", cluster, predecessor={"name": "triage"})
    run(cluster)
    assert status(cluster, "other").artifact is not None
    assert request(cluster, "other").inherited == [status(cluster, "triage").run_id]
    assert request(cluster, "other").not_inherited is None
    # The plan's own calls are not cells, and a simulated plan makes them anew.
    assert calls(cluster, "other") < calls(cluster, "triage") / 4
    assert not cluster.of(JOBS, "other-*-w*")
    assert its_maps(cluster, "triage") == before, "the predecessor keeps its journal"


def test_the_predecessors_program_counts_as_published_until_the_successor_has_published() -> None:
    cluster = first_ran()
    made("other", cluster, predecessor={"name": "triage"}, gate={"against": "published"})
    run(cluster)
    first = request(cluster, "other")
    assert first.published_by == status(cluster, "triage").run_id
    [found] = cluster.of(CONFIG_MAPS, f"other-{first.run_id}-run")
    assert found["data"]["published.json"] == PROGRAM
    cluster.of(COMPILATIONS, "other")[0]["metadata"]["annotations"][RERUN_AT] = "now"
    run(cluster)
    assert request(cluster, "other").published_by == first.run_id


@pytest.mark.parametrize(
    ("name", "annotations", "says"),
    [
        ("gone", {}, "Compilation 'gone', which spec.predecessor names, does not exist"),
        ("other", {}, "Compilation 'other', which spec.predecessor names, is this one itself"),
        ("triage", {REQUESTED_AT: "today"}, "requested-at asks the models anew"),
    ],
)
def test_a_run_says_why_it_reuses_nothing_of_its_predecessor(name: str, annotations: dict[str, str], says: str) -> None:
    cluster = first_ran()
    made("other", cluster, annotations, predecessor={"name": name})
    run(cluster)
    assert request(cluster, "other").not_inherited == says
    assert request(cluster, "other").inherited == []
    assert calls(cluster, "other") == calls(cluster, "triage")


def test_results_in_a_depot_are_not_reused_and_the_run_says_so() -> None:
    cluster = first_ran(journal={"persistentVolumeClaim": {"claimName": "journals"}})
    made("other", cluster, predecessor={"name": "triage"})
    run(cluster)
    assert request(cluster, "other").not_inherited == (
        "Compilation 'triage', which spec.predecessor names, keeps its results in spec.journal"
    )


def test_answers_that_the_predecessor_no_longer_uses_are_not_reused() -> None:
    cluster = first_ran()
    [found] = cluster.of(COMPILATIONS, "triage")
    found["metadata"]["annotations"] = {REQUESTED_AT: "today"}
    made("other", cluster, predecessor={"name": "triage"})
    process = Reconciler(cluster, SETTINGS, clock=lambda: cluster.now)
    [other] = cluster.of(COMPILATIONS, "other")
    asyncio.run(process(Key(NAMESPACE, "other", other["metadata"]["uid"])))
    asyncio.run(process(Key(NAMESPACE, "other", other["metadata"]["uid"])))
    [opened] = cluster.of(CONFIG_MAPS, "other-*-run")
    assert RunRequest.model_validate_json(opened["data"]["request.json"]).inherited == []


def test_a_run_goes_on_with_what_it_inherited_if_the_predecessor_is_deleted() -> None:
    cluster = first_ran()
    made("other", cluster, predecessor={"name": "triage"})
    process = Reconciler(cluster, SETTINGS, clock=lambda: cluster.now)
    [other] = cluster.of(COMPILATIONS, "other")
    key = Key(NAMESPACE, "other", other["metadata"]["uid"])
    while not cluster.of(CONFIG_MAPS, "other-*-run"):
        asyncio.run(process(key))
    cluster.remove(COMPILATIONS, "triage")
    run(cluster)
    assert status(cluster, "other").artifact is not None
