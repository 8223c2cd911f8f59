"""Pull requests and pushes on a real Gitea."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support import git_pods
from support.git_dialects import FakeGitea
from support.git_hosts import OF_A_STRANGER, READS_ONLY
from support.pull_request_table import TABLE, Host, new_branch, publish
from support.real_gitea import RealGitea
from swarm_git.commits import read_artifact
from swarm_git.errors import GitError
from swarm_git.publishing import Publisher
from swarm_git.pull_requests import open_or_update
from swarm_wire.messages import PushOutcome
from swarm_wire.names import WorkerReason
from testbed.gitea import ADMIN


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.__name__)
def test_the_decision_table(host: RealGitea, row: Callable[[Host], None]) -> None:
    row(host)


def test_a_request_from_a_branch_of_the_same_name_in_a_fork_stays_as_it_is(host: RealGitea) -> None:
    host.add_user("forker", "read")
    head = new_branch(host)
    host.call("POST", f"{host.path}/forks", {}, "forker")
    theirs = {"title": "theirs", "head": f"forker:{head}", "base": "main"}
    number = host.call("POST", f"{host.path}/pulls", theirs, "forker")["number"]
    publish(host, head, "ours")
    assert host.call("GET", f"{host.path}/pulls/{number}")["title"] == "theirs"
    assert [pull.title for pull in host.open_pulls(head)] == ["ours"]


def failure(host: Host, token: str, head: str) -> GitError:
    with pytest.raises(GitError) as raised:
        open_or_update(host.destination(), token, head, "title", "body", ca_file=host.ca_file)
    assert token not in str(raised.value)
    return raised.value


def words(error: GitError) -> str:
    """Returns what the server has said."""
    return str(error).partition("The server says: ")[2].partition(". ")[0]


@pytest.fixture(scope="module")
def tokens(host: RealGitea) -> Mapping[str, str]:
    """Returns tokens that do not suffice, by those of the fake server that stand for them."""
    host.add_user("stranger")
    return {
        "wrong": "0123456789abcdef0123456789abcdef01234567",
        READS_ONLY: host.token_of(ADMIN, "read:repository"),
        OF_A_STRANGER: host.token_of("stranger", "write:repository"),
    }


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("wrong", WorkerReason.GIT_CREDENTIALS_REJECTED),
        (READS_ONLY, WorkerReason.GIT_CREDENTIALS_REJECTED),
        (OF_A_STRANGER, WorkerReason.GIT_NOT_FOUND),
    ],
    ids=["wrong", "may only read", "sees no such repository"],
)
def test_a_token_that_does_not_suffice_is_told_in_the_words_of_the_fake_server(
    host: RealGitea, tokens: Mapping[str, str], kind: str, reason: WorkerReason
) -> None:
    head = new_branch(host)
    error = failure(host, tokens[kind], head)
    assert (error.reason, error.terminal) == (reason, True)
    with FakeGitea().running() as fake:
        fake.add_branch(head)
        assert words(error) == words(failure(fake, kind, head))


def test_a_user_who_may_only_read_cannot_change_our_request(host: RealGitea) -> None:
    host.add_user("reader", "read")
    head = new_branch(host)
    publish(host, head)
    error = failure(host, host.token_of("reader", "write:repository"), head)
    assert (error.reason, error.terminal) == (WorkerReason.GIT_REFUSED, True)
    assert "the right to write code and pull requests" in str(error)


def test_a_branch_that_is_not_there_is_named(host: RealGitea) -> None:
    error = failure(host, host.token, "dspy/team/none")
    assert (error.reason, error.terminal) == (WorkerReason.GIT_NOT_FOUND, True)
    assert "dspy/team/none" in str(error)


def test_a_branch_without_a_commit_of_its_own_gets_a_request_all_the_same(host: RealGitea) -> None:
    host.call("POST", f"{host.path}/branches", {"new_branch_name": "equal", "old_branch_name": "main"})
    publish(host, "equal")
    assert len(host.open_pulls("equal")) == 1


def test_an_archived_repository_is_refused_in_the_servers_words(host: RealGitea) -> None:
    host.call("POST", "/user/repos", {"name": "old", "auto_init": True})
    old = RealGitea(host.gitea, host.token, name="old", passwords=host.passwords)
    old.add_branch("work")
    old.call("PATCH", old.path, {"archived": True})
    error = failure(old, host.token, "work")
    assert (error.reason, error.terminal) == (WorkerReason.GIT_REFUSED, True)
    assert "archived" in str(error)


def test_a_renamed_repository_is_found(host: RealGitea) -> None:
    host.call("POST", "/user/repos", {"name": "before", "auto_init": True})
    before = RealGitea(host.gitea, host.token, name="before", passwords=host.passwords)
    before.add_branch("work")
    before.call("PATCH", before.path, {"name": "after"})
    publish(before, "work")
    after = RealGitea(host.gitea, host.token, name="after", passwords=host.passwords)
    assert len(after.open_pulls("work")) == 1


Make = Callable[..., Publisher]


@pytest.fixture
def publisher(host: RealGitea, tmp_path: Path) -> Make:
    """Makes publishers of a Compilation, each with a repository of its own on this machine."""
    ca = host.ca_file.read_text()
    secret = git_pods.write_files(tmp_path / "secret", {"username": ADMIN, "password": host.token, "ca.crt": ca})
    number = iter(range(100))

    def made(run: str, program: Any, name: str = "triage", **changed: Any) -> Publisher:
        destination = host.destination(**changed)
        folder = git_pods.artifact(tmp_path / f"artifact-{next(number)}", program)
        request = git_pods.request(run=run) | {"name": name}
        return Publisher(
            git_pods.opened(destination, secret),
            destination,
            read_artifact(destination, git_pods.parsed(request), folder),
        )

    return made


def file_at(host: RealGitea, branch: str) -> str:
    return str(host.call("GET", f"{host.path}/contents/prompts/triage/program.json?ref={branch}")["sha"])


class TestPullRequestMode:
    def test_each_run_gives_the_request_its_program_and_its_text(self, host: RealGitea, publisher: Make) -> None:
        first = publisher("run-1", {"a": 1}, "modes").publish()
        before = file_at(host, first.branch)
        second = publisher("run-2", {"a": 2}, "modes", message="Compile again").publish()
        assert first.outcome == second.outcome == PushOutcome.PUSHED
        assert first.branch == second.branch == "dspy/team/modes"
        assert first.pull_request == second.pull_request
        [pull] = host.open_pulls(second.branch)
        assert (pull.title, pull.body) == ("Compile again", git_pods.MARKDOWN)
        assert file_at(host, second.branch) != before

    def test_a_run_that_publishes_again_changes_nothing(self, host: RealGitea, publisher: Make) -> None:
        first, second = (publisher("run-1", {"a": 3}, "again").publish() for _ in range(2))
        assert (first.commit, first.pull_request) == (second.commit, second.pull_request)

    def test_after_the_merge_the_next_run_opens_another(self, host: RealGitea, publisher: Make) -> None:
        first = publisher("run-1", {"a": 4}, "merged").publish()
        number = host.open_pulls(first.branch)[0].number
        host.call("POST", f"{host.path}/pulls/{number}/merge", {"Do": "merge"})
        assert publisher("run-1", {"a": 4}, "merged").publish().branch == "main"
        second = publisher("run-2", {"a": 5}, "merged").publish()
        assert second.pull_request != first.pull_request
        assert len(host.open_pulls(second.branch)) == 1

    def test_two_publishers_at_once_end_with_one_request(self, host: RealGitea, publisher: Make) -> None:
        both = [publisher(f"run-{number}", {"a": number}, "racing") for number in (6, 7)]
        with ThreadPoolExecutor(2) as pool:
            pushed = list(pool.map(lambda each: each.publish(), both))
        assert len({each.pull_request for each in pushed}) == 1
        [pull] = host.open_pulls(pushed[0].branch)
        assert str(pushed[0].pull_request).endswith(f"/pulls/{pull.number}")


class TestPush:
    def test_two_publishers_at_once_both_get_their_commit(self, host: RealGitea, publisher: Make) -> None:
        host.add_branch("shared")
        both = [
            publisher(f"run-{path}", {"a": path}, branch="shared", path=path, pullRequest=None)
            for path in ("one", "two")
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda each: each.publish(), both))
        for path in ("one", "two"):
            assert host.call("GET", f"{host.path}/contents/{path}/program.json?ref=shared")["type"] == "file"

    def test_a_protected_branch_is_refused_in_the_servers_words(self, host: RealGitea, publisher: Make) -> None:
        host.add_branch("guarded")
        host.call("POST", f"{host.path}/branch_protections", {"rule_name": "guarded", "enable_push": False})
        with pytest.raises(GitError) as raised:
            publisher("run-1", {"a": 8}, branch="guarded", pullRequest=None).publish()
        assert (raised.value.reason, raised.value.terminal) == (WorkerReason.GIT_REFUSED, True)
        assert "Not allowed to push to protected branch guarded" in str(raised.value)
        assert "pullRequest" in str(raised.value)

    def test_a_request_into_a_protected_branch_is_opened(self, host: RealGitea, publisher: Make) -> None:
        host.add_branch("release")
        host.call("POST", f"{host.path}/branch_protections", {"rule_name": "release", "enable_push": False})
        pushed = publisher("run-1", {"a": 9}, "guarded", branch="release").publish()
        assert [pull.base for pull in host.open_pulls(pushed.branch)] == ["release"]
