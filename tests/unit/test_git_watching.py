"""A watch pod tells whether the watched files of a branch have changed, and which commit has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import git_pods
from support.git_pods import PodFolder
from support.git_server import PASSWORD, USER, Authority, GitServer, Repository, basic
from swarm_git import watching
from swarm_git.errors import GitError
from swarm_wire import names
from swarm_wire.looks import Watch, Watched
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.spec.git import GitSource

FILES = {"app/triage.py": b"program", "app/data/train.jsonl": b"{}\n", "README.md": b"hello"}
OURS = ["prompts/program.json", "prompts/report.json", "prompts/report.md"]
FIELD = "spec.template.spec.program.source.git"

Look = Callable[..., Watched]


@pytest.fixture
def repository(git_server: GitServer) -> Repository:
    repository = git_server.repository()
    repository.commit(FILES)
    return repository


@pytest.fixture
def look(git_server: GitServer, authority: Authority, tmp_path: Path) -> Look:
    secret = git_pods.write_files(tmp_path / "secret", {"ca.crt": authority.ca.read_text()})

    def run(**watch: Any) -> Watched:
        given = {"url": git_server.url(), "secret": {"name": "git"}, "ref": watch.pop("ref", None)}
        source = GitSource.model_validate(given)
        return watching.look(git_pods.opened(source, secret), Watch(field=FIELD, source=source, **watch))

    return run


@pytest.mark.parametrize(
    ("paths", "changed", "differs"),
    [
        pytest.param([], "README.md", True, id="without paths, each file is watched"),
        pytest.param(["app"], "app/triage.py", True, id="a file in a watched folder"),
        pytest.param(["app"], "README.md", False, id="a file beside a watched folder"),
        pytest.param(["app"], "application.py", False, id="a file whose name begins as the folder's"),
        pytest.param(["app/triage.py"], "app/triage.py", True, id="a watched file"),
        pytest.param(["app/triage.py"], "app/data/train.jsonl", False, id="a file that is not watched"),
        pytest.param(["app", "README.md"], "README.md", True, id="one of several paths"),
        pytest.param(["app/*.py", "README.md"], "app/triage.py", False, id="a star is a character"),
        pytest.param([], "prompts/program.json", False, id="a file that a run has published"),
        pytest.param([], "prompts/other.json", True, id="a file beside those that runs publish"),
    ],
)
def test_a_commit_changes_the_digest_if_it_changes_a_watched_file(
    repository: Repository, look: Look, paths: list[str], changed: str, differs: bool
) -> None:
    before = look(paths=paths, without=OURS)
    commit = repository.commit({changed: b"changed"})
    after = look(paths=paths, without=OURS)
    assert (before.commit, after.commit) == (repository.git("rev-parse", "main~1").strip(), commit)
    assert (after.digest != before.digest) == differs


def test_a_removed_file_and_a_changed_mode_are_changes_and_going_back_is_the_same_content(
    repository: Repository, look: Look
) -> None:
    first = look(paths=["app"])
    kept = repository.blob(FILES["app/triage.py"])
    tree = repository.tree(("100755", kept, "triage.py"))
    repository.commit_tree(repository.tree(("040000", tree, "app")))
    second = look(paths=["app"])
    repository.commit(FILES)
    assert second.digest != first.digest == look(paths=["app"]).digest


def test_a_branch_that_is_pushed_by_force_is_looked_at_as_it_is(repository: Repository, look: Look) -> None:
    first = look()
    repository.commit_tree(repository.tree(("100644", repository.blob(b"new"), "a.py")), parent=None)
    assert look().digest != first.digest


@pytest.mark.parametrize(
    ("watch", "says"),
    [
        ({"paths": ["lib"]}, "has no lib in commit"),
        ({"ref": {"branch": "next"}}, "does not have the branch next"),
    ],
)
def test_a_path_or_branch_that_does_not_exist_is_named(
    repository: Repository, look: Look, watch: dict[str, Any], says: str
) -> None:
    with pytest.raises(GitError) as error:
        look(**watch)
    assert error.value.reason is WorkerReason.GIT_NOT_FOUND
    assert says in str(error.value)


def pod(tmp_path: Path, server: GitServer, secret: dict[str, str]) -> PodFolder:
    watch = Watch(field=FIELD, source=GitSource.model_validate({"url": server.url(), "secret": {"name": "git"}}))
    return PodFolder.made(tmp_path / "pod", {}, secret, **{names.ENV_WATCH: watch.to_json()})


def test_the_pod_says_what_it_has_found_in_its_termination_message(
    repository: Repository, git_server: GitServer, authority: Authority, tmp_path: Path
) -> None:
    git_server.accepts = {basic(USER, PASSWORD)}
    secret = {"username": USER, "password": PASSWORD, "ca.crt": authority.ca.read_text()}
    ended = pod(tmp_path, git_server, secret).run("watch")
    assert ended.code == ExitCode.DONE
    assert ended.commit.watched is not None
    assert ended.commit.watched.commit == repository.tip()
    assert ended.records == []


def test_a_pod_whose_credentials_are_refused_says_so(
    repository: Repository, git_server: GitServer, authority: Authority, tmp_path: Path
) -> None:
    git_server.accepts = {basic(USER, PASSWORD)}
    secret = {"username": USER, "password": "wrong", "ca.crt": authority.ca.read_text()}
    ended = pod(tmp_path, git_server, secret).run("watch")
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.commit.reason == WorkerReason.GIT_CREDENTIALS_REJECTED
    assert FIELD in str(ended.commit.message)
    assert ended.commit.watched is None
