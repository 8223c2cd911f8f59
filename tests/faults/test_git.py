"""A run whose program comes from git and whose winner goes there makes one commit, whatever fails on the way."""

from collections.abc import Callable
from typing import Any

import pytest

from faults import harm
from faults.kinds import case
from faults.proxy import Call, Fault
from faults.stage import A_PLAN, Stage, conditions
from support.cluster import Namespace
from support.e2e import TRIAGE
from support.git_in_cluster import URL, down, git, start_git, trailers

SECRET = {"secret": {"name": "git"}}
SOURCE: dict[str, Any] = {"entrypoint": "triage:Triage", "source": {"git": {"url": URL, "path": "programs", **SECRET}}}


@pytest.fixture(scope="module")
def repository(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    program = (TRIAGE / "triage.py").read_text(encoding="utf-8")
    start_git(namespace, tmp_path_factory.mktemp("tls"), {"programs/triage.py": program})
    return namespace


def begin(stage: Stage) -> None:
    target = {"url": URL, "branch": "main", "path": f"prompts/{stage.name}", **SECRET}
    stage.begin(program=SOURCE, artifact={"git": target})


def holds_with_one_commit(stage: Stage, repository: Namespace) -> None:
    """Asserts what must hold after any fault, and that the branch has the run's commit, once."""
    status = stage.over()["status"]
    assert "git" in status.get("artifact", {}), status
    commits = git(repository, "log", "--format=%H", "main", "--", f"prompts/{stage.name}").split()
    assert commits == [status["artifact"]["git"]["commit"]]
    message = git(repository, "log", "-1", "--format=%B", commits[0])
    assert trailers(message)["Run-Id"] == status["runId"]
    stage.holds()


FAULTS: dict[str, Callable[[Stage], Fault]] = {
    "operator killed before a write for git": lambda stage: harm.before(stage.operator.kill),
    "operator killed after a write for git": lambda stage: harm.after(stage.operator.kill),
    "answer to a write for git lost": lambda stage: harm.unanswered,
    "write for git sent twice": lambda stage: harm.twice,
}
WRITES = {"fetch Job": ("jobs", "-f0-"), "fetched files": ("configmaps", "-s0-"), "publish Job": ("jobs", "-g")}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(make, marks=[pytest.mark.fault(kind), *[pytest.mark.some] * (number == 1)], id=kind)
        for number, (kind, make) in enumerate(FAULTS.items())
    ],
)
def test_a_run_makes_one_commit_with_a_fault_at_every_write_for_git(
    stage: Stage, repository: Namespace, fault: Callable[[Stage], Fault]
) -> None:
    rules = {}
    for name, (resource, mark) in WRITES.items():

        def fits(call: Call, resource: str = resource, mark: str = mark) -> bool:
            return (call.verb, call.resource) == ("create", resource) and mark in call.name

        rules[name] = stage.proxy.add(fits, fault(stage))
    begin(stage)
    holds_with_one_commit(stage, repository)
    assert [name for name, rule in rules.items() if not rule.hit] == []


@pytest.mark.parametrize(
    ("role", "grace"),
    [
        case("fetch pod deleted at once", "fetch", 0),
        case("fetch pod deleted", "fetch", 30),
        case("publish pod deleted at once", "publish", 0),
        case("publish pod deleted", "publish", 30),
    ],
)
def test_a_run_makes_one_commit_although_a_pod_with_git_is_deleted(
    stage: Stage, repository: Namespace, role: str, grace: int
) -> None:
    begin(stage)
    stage.drop("pods", stage.pod(role)["metadata"]["name"], gracePeriodSeconds=grace)
    holds_with_one_commit(stage, repository)


@pytest.mark.fault("git server down for a while")
def test_a_run_waits_for_a_git_server_that_is_down(stage: Stage, repository: Namespace) -> None:
    with down(repository):
        begin(stage)
        stage.when(lambda: "Retrying" in str(conditions(stage.find() or {})))
    stage.pod("work")
    with down(repository):
        stage.when(lambda: stage.attempts("publish") > 1)
    holds_with_one_commit(stage, repository)


@pytest.mark.fault("fetched files deleted during a run")
def test_a_run_whose_fetched_files_are_deleted_ends(stage: Stage, repository: Namespace) -> None:
    stage.slow(0.3)
    begin(stage)
    stage.pod("work")
    stage.drop("configmaps", stage.config_map("snapshot")["metadata"]["name"])
    stage.ends("JournalDamaged", "were deleted or altered", more=A_PLAN)
