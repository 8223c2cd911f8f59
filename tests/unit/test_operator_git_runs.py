"""The operator passes whole runs whose program comes from git and whose artifact goes to git."""

from typing import Any

import pytest

from support.fake_cluster import CELLS, COMMIT, ROUNDS, FakeCluster, Faults
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS, JOBS
from swarm_wire.names import ExitCode
from unit.test_operator_runs import Operator, assert_published, conditions, edit, prepared, run, status

pytestmark = pytest.mark.whole_runs

GIT = {"url": "https://git/app", "secret": {"name": "git"}}
CHANGES: dict[str, Any] = {
    "program": {"entrypoint": "triage:Triage", "source": {"git": GIT}},
    "artifact": {"git": {**GIT, "branch": "main", "path": "prompts"}},
}


def git_run() -> tuple[FakeCluster, Operator]:
    return prepared(**CHANGES)


def writes_for_git() -> list[int]:
    """Returns the numbers of a run's writes of Jobs and ConfigMaps for git, each with the write after it."""
    cluster, operator = git_run()
    run(cluster, operator)
    found = (n for n, text in enumerate(cluster.writes) if any(mark in text for mark in ("-f0-", "-s0-", "-g3-")))
    return sorted({number for first in found for number in (first, first + 1) if number < len(cluster.writes)})


def assert_committed(cluster: FakeCluster) -> None:
    assert_published(cluster)
    assert list(cluster.commits.values()) == [COMMIT]
    found = status(cluster)
    assert found.source is not None
    assert found.source.commit == COMMIT
    assert found.artifact is not None
    assert found.artifact.git is not None
    assert found.artifact.git.commit == COMMIT
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS


def test_a_run_fetches_first_and_publishes_last() -> None:
    cluster, operator = git_run()
    run(cluster, operator)
    assert_committed(cluster)
    told = [
        event["reason"] for event in sorted(cluster.of(EVENTS), key=lambda event: int(event["metadata"]["uid"][4:]))
    ]
    assert told == ["Fetching", *["Planning", "Scattering"] * ROUNDS, "Planning", "Publishing", "Published"]
    created = [text.rpartition("-")[0].rpartition("-")[2] for text in cluster.writes if "create jobs/" in text]
    assert created == ["f0", "p0", "w0", "p1", "w1", "p2", "g3"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", writes_for_git())
def test_an_operator_that_is_killed_before_or_after_a_write_for_git_makes_one_commit(number: int, after: bool) -> None:
    cluster, operator = git_run()
    cluster.kill_at = (number, after)
    run(cluster, operator)
    assert_committed(cluster)


@pytest.mark.parametrize("role", ["f", "g"], ids=["fetch", "publish"])
def test_a_pod_that_fails_for_a_reason_that_passes_is_tried_again(role: str) -> None:
    cluster, operator = git_run()
    cluster.faults = Faults(
        exit_code=lambda job, index: int(ExitCode.FAILED) if f"-{role}" in job and job.endswith(("-1", "-2")) else 0
    )
    run(cluster, operator, steps=120)
    assert_committed(cluster)


@pytest.mark.parametrize("role", ["f", "g"], ids=["fetch", "publish"])
def test_output_that_nobody_can_read_is_made_again(role: str) -> None:
    cluster, operator = git_run()
    cluster.faults = Faults(silent=lambda job, index: f"-{role}" in job and job.endswith("-1"))
    run(cluster, operator, steps=120)
    assert_committed(cluster)


def test_a_push_that_is_refused_ends_the_run_and_a_new_run_pays_for_nothing() -> None:
    cluster, operator = git_run()
    cluster.faults = Faults(
        exit_code=lambda job, index: int(ExitCode.BAD_INPUT) if "-g" in job else 0,
        commit_reason="GitRefused",
        commit_message="main is protected",
    )
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "GitRefused")
    (artifact,) = cluster.of(CONFIG_MAPS, "*-artifact")
    assert "program.json" in artifact["data"]
    paid = len(cluster.paid)
    cluster.faults = Faults()
    edit(cluster, artifact={"git": {**GIT, "branch": "prompts", "path": "prompts"}})
    run(cluster, operator)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert len(cluster.paid) == paid
    assert len(cluster.commits) == 1


def test_a_suspended_run_has_no_fetch_and_fetches_when_it_is_resumed() -> None:
    cluster, operator = git_run()
    operator.look()
    edit(cluster, suspend=True)
    run(cluster, operator, steps=5)
    assert not cluster.of(JOBS)
    edit(cluster, suspend=False)
    run(cluster, operator)
    assert list(cluster.commits.values()) == [COMMIT]
