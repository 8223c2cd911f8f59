"""Whole runs in which the result of a cell comes hours later, on a cluster in memory."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from support.fake_cluster import NAMESPACE, PROGRAM, FakeCluster, Killed, digest
from support.operator_specs import spec
from support.sampling import sample
from swarm_operator.cluster import errors
from swarm_operator.cluster.resources import CONFIG_MAPS, JOBS, PODS
from swarm_operator.compilation.api import COMPILATIONS
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.reconcile import Reconciler
from swarm_operator.compilation.status import Status
from swarm_operator.settings import Settings

pytestmark = pytest.mark.whole_runs

SETTINGS = Settings(status_interval=0, retry_delay=2, log_deadline=5, concurrent_logs=100)
SLOW = digest("cell", 1, 2)
HOURS = timedelta(hours=12)


def began(hours: timedelta = HOURS, **fields: Any) -> FakeCluster:
    cluster = FakeCluster()
    cluster.slow = lambda key: hours if key == SLOW else timedelta()
    cluster.config_map("triage-program", **{"triage.py": "..."})
    cluster.config_map("triage-data", **{"train.jsonl": "{}", "val.jsonl": "{}"})
    cluster.compilation(spec(**fields))
    return cluster


def status(cluster: FakeCluster) -> Status:
    return Status.of(cluster.of(COMPILATIONS)[0]["status"])


def look(cluster: FakeCluster, process: Reconciler) -> float | None:
    """Makes passes until none asks for another one at once. Returns the seconds until the next."""
    key = Key(NAMESPACE, "triage", cluster.of(COMPILATIONS)[0]["metadata"]["uid"])
    wake_up: float | None = 0
    for _ in range(40):
        wake_up = asyncio.run(_pass(process, key))
        if wake_up != 0:
            break
    return wake_up


async def _pass(process: Reconciler, key: Key) -> float | None:
    return await process(key)


def live(cluster: FakeCluster) -> list[str]:
    return [pod["metadata"]["name"] for pod in cluster.of(PODS) if pod["status"]["phase"] in ("Pending", "Running")]


def run(cluster: FakeCluster, kills: int = 0, seed: int = 0) -> tuple[int, int]:
    """Runs operator and pods to the end of the run. Operator and pods are killed at random moments.

    Returns the number of kills, and the number of hours in which no pod ran.
    """
    dice, left, idle = random.Random(seed), kills, timedelta()
    process = Reconciler(cluster, SETTINGS, clock=lambda: cluster.now)
    for _ in range(3000):
        if left and dice.random() < 0.2:
            left -= 1
            if cluster.running and dice.random() < 0.5:
                cluster.remove(PODS, dice.choice(sorted(cluster.running)))
            else:
                cluster.kill_at = len(cluster.writes) + dice.randrange(3), dice.random() < 0.5
        try:
            wake_up = look(cluster, process)
        except Killed:
            process, wake_up = Reconciler(cluster, SETTINGS, clock=lambda: cluster.now), 1
        except errors.ApiError:
            wake_up = 1
        if status(cluster).completion_time:
            return kills - left, idle // timedelta(hours=1)
        rests = wake_up is not None and wake_up > 60 and not live(cluster)
        if rests:
            idle += timedelta(seconds=wake_up or 0)
        cluster.step(wake_up if rests and wake_up else 1)
    raise AssertionError("it does not end")


def test_no_pod_runs_while_a_job_elsewhere_takes_twelve_hours() -> None:
    cluster = began()
    _, hours = run(cluster)
    assert hours >= 11
    assert status(cluster).artifact is not None
    looks = [text for text in cluster.writes if text.startswith("create jobs/")]
    assert 70 <= len(looks) <= 90
    assert len(cluster.paid) == len(set(cluster.paid))


def test_the_status_says_what_the_run_waits_for() -> None:
    cluster = began()
    process = Reconciler(cluster, SETTINGS, clock=lambda: cluster.now)
    for _ in range(40):
        wake_up = look(cluster, process)
        cluster.step()
    [ready] = [found for found in status(cluster).conditions if found.type == "Ready"]
    assert (ready.status, ready.reason) == ("Unknown", "WaitingForJob")
    assert "no pod runs while the run waits: j is queued. A pod looks again at " in ready.message
    assert wake_up is not None
    assert 0 < wake_up <= 600
    assert not live(cluster)


@pytest.mark.parametrize("seed", sample(range(6), 3))
def test_twenty_kills_of_operator_and_pods_repeat_no_call_and_change_no_artifact(seed: int) -> None:
    cluster = began()
    kills, _ = run(cluster, kills=20, seed=seed)
    assert kills == 20
    assert list(cluster.services) == [SLOW]
    assert len(cluster.paid) == len(set(cluster.paid))
    [artifact] = cluster.of(CONFIG_MAPS, "*-artifact")
    assert artifact["data"]["program.json"] == PROGRAM


def test_a_hundred_looks_leave_few_objects() -> None:
    cluster = began()
    process = Reconciler(cluster, SETTINGS, clock=lambda: cluster.now)
    for _ in range(160):
        wake_up = look(cluster, process)
        cluster.step(wake_up if wake_up and wake_up > 60 and not live(cluster) else 1)
    assert not status(cluster).completion_time
    assert len(cluster.of(JOBS)) <= 3
    assert len(cluster.of(PODS)) <= 6


def test_the_time_limit_of_a_run_holds_while_it_waits() -> None:
    cluster = began(limits={"wallClock": 7200})
    run(cluster)
    [ready] = [found for found in status(cluster).conditions if found.type == "Ready"]
    assert ready.reason == "LimitReached"


def test_a_suspended_run_does_not_look() -> None:
    cluster = began()
    process = Reconciler(cluster, SETTINGS, clock=lambda: cluster.now)
    for _ in range(40):
        look(cluster, process)
        cluster.step()
    cluster.of(COMPILATIONS)[0]["spec"]["suspend"] = True
    jobs = len([text for text in cluster.writes if text.startswith("create jobs/")])
    for _ in range(10):
        look(cluster, process)
        cluster.step(600)
    assert len([text for text in cluster.writes if text.startswith("create jobs/")]) == jobs
    cluster.of(COMPILATIONS)[0]["spec"]["suspend"] = False
    run(cluster)
    assert status(cluster).artifact is not None
