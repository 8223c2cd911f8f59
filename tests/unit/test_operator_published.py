"""Whole runs that begin with the published program, on a cluster in memory."""

import asyncio
from typing import Any

import pytest

from support import fake_cluster
from support.fake_cluster import LOST, NAMESPACE, PROGRAM, FakeCluster, Killed
from support.operator_specs import spec
from swarm_operator.cluster import errors
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS
from swarm_operator.compilation.api import COMPILATIONS, RERUN_AT
from swarm_operator.compilation.apply import config_maps
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.reconcile import Reconciler
from swarm_operator.compilation.status import Status
from swarm_operator.settings import Settings
from swarm_wire.messages import RunRequest

pytestmark = pytest.mark.whole_runs

SETTINGS = Settings(status_interval=0, retry_delay=2, log_deadline=5, concurrent_logs=100)
OTHER = '{"predict": {"demos": [3]}}'
"""The program of the second run, which replaces PROGRAM while its own run has PROGRAM as the published one."""


class Operator:
    """Simulates the operator's process. After a kill, the next process inherits no memory."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.process = self._started()

    def _started(self) -> Reconciler:
        return Reconciler(self.cluster, SETTINGS, clock=lambda: self.cluster.now)

    def look(self) -> None:
        """Runs passes until none asks for another pass at once."""
        (found,) = self.cluster.of(COMPILATIONS)
        key = Key(NAMESPACE, "triage", found["metadata"]["uid"])

        async def one() -> float | None:
            return await self.process(key)

        for _ in range(30):
            try:
                if asyncio.run(one()) != 0:
                    return
            except Killed:
                self.process = self._started()
            except errors.ApiError:
                return
        raise AssertionError("passes without end")

    def run(self) -> Status:
        """Steps until the run is over, with all repetitions after a fault."""
        for _ in range(25):
            self.look()
            self.cluster.step()
        found = status(self.cluster)
        assert found.completion_time
        return found


def status(cluster: FakeCluster) -> Status:
    return Status.of(cluster.of(COMPILATIONS)[0]["status"])


def messages(cluster: FakeCluster) -> list[str]:
    return [event["message"] for event in cluster.of(EVENTS)]


def published_once() -> Operator:
    """Returns an operator after a first run, which has published PROGRAM."""
    cluster = FakeCluster()
    cluster.config_map("triage-program", **{"triage.py": "..."})
    cluster.config_map("triage-data", **{"train.jsonl": "{}", "val.jsonl": "{}"})
    program = {**spec()["program"], "state": {"published": True}}
    cluster.compilation(spec(program=program, gate={"against": "published"}))
    operator = Operator(cluster)
    assert operator.run().artifact is not None
    assert "published.json" not in run_map(cluster)["data"], "nothing was published when the first run began"
    return operator


def run_map(cluster: FakeCluster) -> dict[str, Any]:
    """Returns the ConfigMap with the request of the current run."""
    [found] = cluster.of(CONFIG_MAPS, f"triage-{status(cluster).run_id}-run")
    return found


def request_run(cluster: FakeCluster) -> None:
    cluster.of(COMPILATIONS)[0]["metadata"].setdefault("annotations", {})[RERUN_AT] = "now"


def assert_began_with(cluster: FakeCluster, program: str) -> None:
    found = run_map(cluster)
    assert found["immutable"]
    assert found["data"]["published.json"] == program
    assert RunRequest.model_validate_json(found["data"]["request.json"]).unpublished is None


def test_a_run_keeps_the_program_that_was_published_when_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = published_once()
    monkeypatch.setattr(fake_cluster, "PROGRAM", OTHER)
    request_run(operator.cluster)
    operator.run()
    [artifact] = operator.cluster.of(CONFIG_MAPS, "*-artifact")
    assert artifact["data"]["program.json"] == OTHER
    assert_began_with(operator.cluster, PROGRAM)


def test_a_run_takes_the_program_from_the_config_map_that_the_status_names() -> None:
    operator = published_once()
    found = operator.cluster.of(COMPILATIONS)[0]
    found["spec"]["artifact"] = {"configMap": {"name": "another-name"}}
    found["metadata"]["generation"] = 2
    operator.run()
    assert_began_with(operator.cluster, PROGRAM)


def writes_of_a_beginning() -> range:
    """Returns the numbers of the first writes of the second run. One of them opens the run."""
    operator = published_once()
    first = len(operator.cluster.writes)
    request_run(operator.cluster)
    operator.look()
    assert any("-run" in text for text in operator.cluster.writes[first:])
    return range(first, len(operator.cluster.writes))


@pytest.mark.parametrize("fault", ["before", "after", "lost"])
@pytest.mark.parametrize("number", writes_of_a_beginning())
def test_a_fault_around_any_write_of_the_beginning_loses_no_published_program(number: int, fault: str) -> None:
    operator = published_once()
    request_run(operator.cluster)
    if fault == "lost":
        operator.cluster.answers = {number: LOST}
    else:
        operator.cluster.kill_at = (number, fault == "after")
    operator.run()
    assert not operator.cluster.answers
    assert operator.cluster.kill_at is None
    assert_began_with(operator.cluster, PROGRAM)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"program.json": "{}"}, "somebody has edited ConfigMap 'triage-artifact'"),
        ({}, "somebody has edited ConfigMap 'triage-artifact'"),
        (None, "the ConfigMap of the published artifact is gone"),
    ],
    ids=["another program", "no program", "no ConfigMap"],
)
def test_a_run_says_why_it_does_not_use_the_published_program(data: dict[str, str] | None, says: str) -> None:
    operator = published_once()
    cluster = operator.cluster
    if data is None:
        cluster.remove(CONFIG_MAPS, "triage-artifact")
    else:
        cluster.of(CONFIG_MAPS, "*-artifact")[0]["data"] = data
    request_run(cluster)
    operator.run()
    found = run_map(cluster)["data"]
    assert "published.json" not in found
    assert says in (RunRequest.model_validate_json(found["request.json"]).unpublished or "")
    assert any(says in message for message in messages(cluster))


def test_a_program_that_changes_between_read_and_write_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = published_once()
    cluster, get = operator.cluster, operator.cluster.get
    reads = []

    async def changing(resource: Any, namespace: str, name: str, *, metadata_only: bool = False) -> Any:
        found = await get(resource, namespace, name, metadata_only=metadata_only)
        if name == "triage-artifact" and not metadata_only:
            reads.append(name)
            if len(reads) == 1:
                cluster.of(CONFIG_MAPS, name)[0]["metadata"]["resourceVersion"] += "0"
        return found

    monkeypatch.setattr(cluster, "get", changing)
    request_run(cluster)
    operator.look()
    assert len(reads) == 2
    assert not cluster.of(CONFIG_MAPS, "*-run")[1:], "the run has not begun"
    operator.run()
    assert_began_with(cluster, PROGRAM)


def test_a_published_program_too_large_for_the_request_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = published_once()
    monkeypatch.setattr(config_maps, "CONFIG_MAP_BYTES", 100)
    request_run(operator.cluster)
    found = operator.run()
    [ready] = [condition for condition in found.conditions if condition.type == "Ready"]
    assert (ready.status, ready.reason) == ("False", "ArtifactTooLarge")
    assert "Remove spec.program.state.published, and write spec.gate.against: baseline." in ready.message
