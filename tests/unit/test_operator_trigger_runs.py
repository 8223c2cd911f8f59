"""Passes over a trigger in memory write its Compilation and its status, whenever the operator dies."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from support.fake_cluster import NAMESPACE, FakeCluster, Killed, Object
from support.operator_specs import spec
from swarm_operator.cluster import errors
from swarm_operator.compilation.api import API_VERSION, COMPILATIONS, REQUESTED_AT, RERUN_AT
from swarm_operator.compilation.model.world import Key
from swarm_operator.settings import Settings
from swarm_operator.trigger.api import BEGUN, CAUSE, KIND, TRIGGERS
from swarm_operator.trigger.read import key_of
from swarm_operator.trigger.reconcile import Reconciler

NOON = "schedule 2026-11-21T12:00:00Z"
ONE = "schedule 2026-11-21T13:00:00Z"


def prepared(**fields: Any) -> tuple[FakeCluster, Key]:
    """Returns a cluster at 11:50 with a trigger for each full hour."""
    cluster = FakeCluster()
    cluster.now -= timedelta(minutes=10)
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "nightly", "generation": 1},
        "spec": {"schedules": [{"cron": "0 * * * *"}], "template": {"spec": spec()}, **fields},
    }
    found = cluster.put(TRIGGERS, body)
    return cluster, Key(NAMESPACE, "nightly", found["metadata"]["uid"])


def look(cluster: FakeCluster, key: Key) -> float | None:
    """Makes one pass in a new process, since the operator may have died before."""
    reconciler = Reconciler(cluster, Settings(), lambda: cluster.now)
    return asyncio.run(_pass(reconciler, key))


async def _pass(reconciler: Reconciler, key: Key) -> float | None:
    return await reconciler(key)


def owned(cluster: FakeCluster) -> Object:
    [found] = cluster.of(COMPILATIONS)
    return found


def status(cluster: FakeCluster) -> Object:
    found: Object = cluster.of(TRIGGERS)[0]["status"]
    return found


def ended(cluster: FakeCluster, run_id: str) -> None:
    """Gives the Compilation the status of a run that has begun now and published its artifact."""
    now = f"{cluster.now:%Y-%m-%dT%H:%M:%SZ}"
    condition = {"observedGeneration": 1, "lastTransitionTime": now, "reason": "Published", "message": "m"}
    owned(cluster)["status"] = {
        "runId": run_id,
        "startTime": now,
        "completionTime": now,
        "observedGeneration": 1,
        "scores": {"best": 80.0},
        "usage": {"calls": 3, "promptTokens": 1, "completionTokens": 1, "costUSD": 0.5},
        "conditions": [
            {"type": "Ready", "status": "True", **condition},
            {"type": "Succeeded", "status": "True", **condition},
        ],
    }


def test_a_trigger_makes_its_compilation_when_the_first_cause_is_due() -> None:
    cluster, key = prepared()
    assert look(cluster, key) == 600
    assert not cluster.of(COMPILATIONS)
    assert status(cluster)["nextTime"] == "2026-11-21T12:00:00Z"
    cluster.now += timedelta(minutes=11)
    assert look(cluster, key) == 59 * 60
    found = owned(cluster)
    assert found["metadata"]["annotations"] == {RERUN_AT: NOON, CAUSE: NOON, BEGUN: "{}"}
    assert found["spec"]["metric"] == spec()["metric"]
    assert key_of(found) == key
    assert status(cluster)["last"]["outcome"] == "Started"


def test_the_status_lists_the_run_and_the_next_cause_begins_another() -> None:
    cluster, key = prepared(reuse="none")
    cluster.now += timedelta(minutes=11)
    look(cluster, key)
    ended(cluster, "r1")
    look(cluster, key)
    [run] = status(cluster)["runs"]
    assert (run["runId"], run["cause"], run["reason"], run["score"], run["costUSD"]) == (
        "r1",
        NOON,
        "Published",
        80.0,
        0.5,
    )
    cluster.now += timedelta(hours=1)
    look(cluster, key)
    assert owned(cluster)["metadata"]["annotations"] == {REQUESTED_AT: ONE, RERUN_AT: ONE, CAUSE: ONE, BEGUN: "{}"}


def test_a_run_under_way_is_left_alone_and_the_status_says_so() -> None:
    cluster, key = prepared()
    cluster.now += timedelta(minutes=11)
    look(cluster, key)
    cluster.now += timedelta(hours=1)
    look(cluster, key)
    assert owned(cluster)["metadata"]["annotations"][CAUSE] == NOON
    assert status(cluster)["last"]["outcome"] == "StillRunning"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(3))
def test_an_operator_that_is_killed_before_or_after_any_write_begins_one_run(number: int, after: bool) -> None:
    cluster, key = prepared()
    cluster.now += timedelta(minutes=11)
    cluster.kill_at = len(cluster.writes) + number, after
    with pytest.raises(Killed):
        look(cluster, key)
    cluster.kill_at = None
    look(cluster, key)
    ended(cluster, "r1")
    for _ in range(3):
        look(cluster, key)
    writes = [text for text in cluster.writes if text.startswith("apply dspycompilations/")]
    assert len(writes) == 1
    assert status(cluster)["last"] == {
        "cause": NOON,
        "time": "2026-11-21T12:00:00Z",
        "outcome": "Started",
        "message": "its run has begun.",
    }


def test_a_compilation_of_somebody_else_is_not_overwritten() -> None:
    cluster, key = prepared()
    cluster.compilation(spec(), name="nightly")
    cluster.now += timedelta(minutes=11)
    look(cluster, key)
    assert "annotations" not in owned(cluster)["metadata"]
    assert {(each["type"], each["status"]) for each in status(cluster)["conditions"]} == {
        ("Ready", "False"),
        ("Stalled", "True"),
    }


def test_a_write_that_the_api_server_refuses_is_tried_again_and_begins_one_run() -> None:
    cluster, key = prepared()
    cluster.now += timedelta(minutes=11)
    cluster.denied, cluster.denial = "apply dspycompilations/", errors.Unavailable("503")
    with pytest.raises(errors.Unavailable):
        look(cluster, key)
    assert "status" not in cluster.of(TRIGGERS)[0]
    cluster.denied = ""
    look(cluster, key)
    assert owned(cluster)["metadata"]["annotations"][CAUSE] == NOON


def test_a_compilation_that_the_api_server_forbids_stalls_the_trigger_until_it_is_allowed() -> None:
    cluster, key = prepared()
    cluster.now += timedelta(minutes=11)
    cluster.denied, cluster.denial = "apply dspycompilations/nightly", errors.Forbidden("a webhook denies it")
    with pytest.raises(errors.Forbidden):
        look(cluster, key)
    told = {(each["type"], each["status"], each["reason"]) for each in status(cluster)["conditions"]}
    assert told == {("Ready", "False", "NotAllowed"), ("Stalled", "True", "NotAllowed")}
    cluster.denied = ""
    look(cluster, key)
    assert owned(cluster)["metadata"]["annotations"][CAUSE] == NOON
    assert [each["type"] for each in status(cluster)["conditions"]] == ["Ready"]
