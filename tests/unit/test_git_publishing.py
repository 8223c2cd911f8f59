"""How an artifact gets into a repository: one commit for each run, above what others have pushed."""

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support import git_pods
from support.git_server import Authority, GitServer, Repository
from swarm_git import publishing
from swarm_git.commits import read_artifact
from swarm_git.errors import GitError
from swarm_git.publishing import Clock, Publisher, own_branch
from swarm_wire.messages import Pushed, PushOutcome
from swarm_wire.names import WorkerReason
from swarm_wire.spec.git import GitDestination

AT_ONCE = Clock(sleep=lambda _: None)
Publish = Callable[..., Pushed]


@pytest.fixture
def repository(git_server: GitServer) -> Repository:
    return git_server.repository()


@pytest.fixture
def publisher(git_server: GitServer, authority: Authority, tmp_path: Path) -> Callable[..., Publisher]:
    secret = git_pods.write_files(tmp_path / "secret", {"ca.crt": authority.ca.read_text()})
    number = iter(range(100))

    def made(run: str = "3f2a91c0", program: Any = git_pods.PROGRAM, clock: Clock = AT_ONCE, **more: Any) -> Publisher:
        spec: dict[str, Any] = {
            "url": git_server.url(),
            "secret": {"name": "git"},
            "branch": "main",
            "path": "out/triage",
        }
        changed = more.pop("report", {})
        markdown = more.pop("markdown", git_pods.MARKDOWN)
        destination = GitDestination.model_validate({**spec, **more})
        folder = git_pods.artifact(tmp_path / f"artifact-{next(number)}", program, markdown, **changed)
        artifact = read_artifact(destination, git_pods.parsed(git_pods.request(run=run)), folder)
        return Publisher(git_pods.opened(destination, secret), destination, artifact, clock=clock)

    return made


@pytest.fixture
def publish(publisher: Callable[..., Publisher]) -> Publish:
    return lambda **more: publisher(**more).publish()


def refused(publish: Publish, **more: Any) -> GitError:
    with pytest.raises(GitError) as error:
        publish(**more)
    return error.value


def test_only_the_files_of_the_artifact_change(repository: Repository, publish: Publish) -> None:
    before = repository.commit(
        {"a.py": b"a", "out/other.txt": b"b", "run.sh": ("100755", b"c"), "l": ("120000", b"a.py")}
    )
    pushed = publish()
    changed = repository.git("diff-tree", "-r", "--name-status", before, "main").splitlines()
    assert changed == [f"A\tout/triage/{name}" for name in ("program.json", "report.json", "report.md")]
    assert (pushed.outcome, pushed.branch, pushed.commit) == (PushOutcome.PUSHED, "main", repository.tip())
    assert repository.git("rev-parse", "main^") == before
    assert repository.git("fsck", "--full") == ""


def test_the_program_has_the_bytes_of_the_config_map(repository: Repository, publish: Publish) -> None:
    repository.commit({"a.py": b"a"})
    # DSPy writes a demonstration's dict into the prompt in the order of its keys.
    program = {"b": {"demos": [{"question": {"z": "naïve?", "a": 1}}]}, "a": 1}
    pushed = publish(program=program)
    text = repository.read("out/triage/program.json")
    assert text == json.dumps(program)
    assert pushed.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert f"Artifact-SHA256: {pushed.sha256}" in repository.messages()[0]


def test_the_report_has_sorted_keys_so_that_differences_are_differences_of_values(
    repository: Repository, publish: Publish
) -> None:
    repository.commit({"a.py": b"a"})
    publish(report={"notes": ["naïve"]})
    told = git_pods.report(notes=["naïve"])
    assert repository.read("out/triage/report.json") == json.dumps(told, sort_keys=True, indent=2, ensure_ascii=False)
    assert repository.read("out/triage/report.md") == git_pods.MARKDOWN.strip()


@pytest.mark.parametrize(
    ("template", "subject"),
    [
        pytest.param({}, "Compile triage: 85.00", id="the default"),
        pytest.param(
            {"message": "{namespace}/{run}: {baseline} -> {score}"}, "team/3f2a91c0: 60.00 -> 85.00", id="fields"
        ),
        pytest.param({"message": "{other} {}"}, "{other} {}", id="other braces stay"),
    ],
)
def test_the_message_is_the_template_and_trailers(
    repository: Repository, publish: Publish, template: Any, subject: str
) -> None:
    repository.commit({"a.py": b"a"})
    pushed = publish(**template)
    assert repository.messages()[0].strip().split("\n") == [
        subject,
        "",
        "DSPyCompilation: team/triage",
        "Run-Id: 3f2a91c0",
        "Score: 85.00",
        "Baseline: 60.00",
        "Cost-USD: 0.1235",
        f"Artifact-SHA256: {pushed.sha256}",
    ]
    assert len(repository.git("log", "-1", "--format=%(trailers:only)").splitlines()) == 6


def test_people_of_a_commit(repository: Repository, publish: Publish) -> None:
    repository.commit({"a.py": b"a"})
    publish(author={"name": "Ann B", "email": "ann@example.com"})
    assert repository.git("log", "-1", "--format=%an <%ae>, %cn") == "Ann B <ann@example.com>, dspy-swarm"


def test_scores_of_the_test_set_come_first(repository: Repository, publish: Publish) -> None:
    repository.commit({"a.py": b"a"})
    publish(report={"scores": {"baseline": 60, "best": 90, "testBaseline": 50, "testWinner": 70}, "usage": {}})
    assert "Score: 70.00\nBaseline: 50.00\nArtifact" in repository.messages()[0]


@pytest.mark.parametrize("markdown", ["", None], ids=["empty", "missing"])
def test_an_old_report_for_people_is_removed_if_there_is_no_new_one(
    repository: Repository, publisher: Callable[..., Publisher], markdown: str | None
) -> None:
    before = repository.commit(
        {"out/triage/report.md": b"old", "out/triage/README.md": b"stays", "report.md": b"stays"}
    )
    publisher(markdown=markdown).publish()
    changed = repository.git("diff-tree", "-r", "--name-status", before, "main").splitlines()
    assert changed == ["A\tout/triage/program.json", "A\tout/triage/report.json", "D\tout/triage/report.md"]


def test_without_a_report_for_people_nothing_is_removed(
    repository: Repository, publisher: Callable[..., Publisher]
) -> None:
    before = repository.commit({"a.py": b"a"})
    publisher(markdown=None).publish()
    changed = repository.git("diff-tree", "-r", "--name-status", before, "main").splitlines()
    assert changed == ["A\tout/triage/program.json", "A\tout/triage/report.json"]


def test_the_same_bytes_make_no_commit(repository: Repository, publish: Publish) -> None:
    repository.commit({"a.py": b"a"})
    first = publish()
    again = publish(run="00000000")
    assert (again.outcome, again.commit) == (PushOutcome.UNCHANGED, first.commit)
    assert len(repository.messages()) == 2


def test_a_run_makes_one_commit_even_after_others(repository: Repository, publish: Publish) -> None:
    repository.commit({"a.py": b"a"})
    first = publish()
    for number in range(3):
        repository.commit({f"{number}.py": b"later", "out/triage/program.json": b"edited by hand"})
    again = publish()
    assert (again.outcome, again.commit) == (PushOutcome.PUSHED, first.commit)
    assert len(repository.messages()) == 5


def test_another_artifact_of_the_same_run_makes_another_commit(repository: Repository, publish: Publish) -> None:
    repository.commit({"a.py": b"a"})
    partial = publish(program={"partial": 1})
    winner = publish(program={"winner": 1})
    assert (winner.outcome, winner.commit) == (PushOutcome.PUSHED, repository.tip())
    assert winner.commit != partial.commit
    assert json.loads(repository.read("out/triage/program.json")) == {"winner": 1}
    assert publish(program={"winner": 1}) == winner
    assert len(repository.messages()) == 3


def test_the_first_commit_of_an_empty_repository_makes_the_branch(repository: Repository, publish: Publish) -> None:
    pushed = publish(branch="results")
    assert repository.tip("results") == pushed.commit
    assert repository.git("ls-tree", "-r", "--name-only", "results").splitlines()[0] == "out/triage/program.json"


def test_a_missing_branch_is_not_made(repository: Repository, publish: Publish) -> None:
    repository.commit({"a.py": b"a"}, "trunk")
    error = refused(publish)
    assert (error.reason, error.terminal) == (WorkerReason.GIT_NOT_FOUND, True)
    assert "has no branch main. It has: trunk." in str(error)


@pytest.mark.parametrize(
    ("there", "told"),
    [
        pytest.param({"out": b"file"}, "out in https", id="a file in a folder's place"),
        pytest.param({"out/triage": ("120000", b"../x")}, "is a symbolic link", id="a link in a folder's place"),
        pytest.param({"out": ("160000", "1" * 40)}, "is a submodule", id="a submodule in a folder's place"),
        pytest.param({"out/triage/report.md/x": b""}, "is a folder", id="a folder in a file's place"),
        pytest.param({"out/triage/program.json": ("120000", b"/etc/passwd")}, "symbolic link", id="a link in a file's"),
    ],
)
def test_nothing_is_replaced_by_something_of_another_kind(
    repository: Repository, publish: Publish, there: Any, told: str
) -> None:
    before = repository.commit(there)
    error = refused(publish)
    assert (error.reason, error.terminal) == (WorkerReason.GIT_REFUSED, True)
    assert told in str(error)
    assert repository.tip() == before


def test_a_protected_branch_is_refused_with_the_servers_words(repository: Repository, publish: Publish) -> None:
    before = repository.commit({"a.py": b"a"})
    repository.hook("pre-receive", "echo 'GitLab: You are not allowed to push code to protected branches' >&2; exit 1")
    error = refused(publish)
    assert (error.reason, error.terminal) == (WorkerReason.GIT_REFUSED, True)
    assert "not allowed to push code to protected branches" in str(error)
    assert "spec.artifact.git.pullRequest" in str(error)
    assert repository.tip() == before


def test_a_push_that_comes_too_late_is_made_again_above_the_others(
    git_server: GitServer, repository: Repository, publish: Publish
) -> None:
    repository.commit({"a.py": b"a"})
    others: list[str] = []

    def push(handler: Any) -> None:
        # Others push after the fetch, and between the beginning of a push and its end.
        if len(others) < 6 and ("upload-pack" in handler.path) == (handler.command == "POST"):
            others.append(repository.commit({f"{len(others)}.py": b"other"}))

    git_server.after = push
    pushed = publish()
    assert repository.tip() == pushed.commit
    assert len(repository.messages()) == 8
    assert repository.git("rev-list", "--merges", "main") == ""


def test_a_branch_that_never_rests_ends_the_pod_so_that_another_begins_again(
    git_server: GitServer, repository: Repository, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MOST_TRIES", 4)
    repository.commit({"a.py": b"a"})
    number = iter(range(1000))
    pauses: list[float] = []

    def push(handler: Any) -> None:
        if "service=git-receive-pack" in handler.path:
            repository.commit_tree(
                repository.git("rev-parse", "main^{tree}"), message=f"{next(number)}", parent=repository.tip()
            )

    clock = Clock(sleep=pauses.append, chance=lambda: 1.0)
    git_server.after = push
    error = refused(publish, clock=clock)
    assert (error.reason, error.terminal) == (WorkerReason.GIT_UNREACHABLE, False)
    assert pauses == [0.1, 0.2, 0.4]
    assert "git says: " in str(error)
    assert "refs/heads/main" in str(error)
    assert "Run-Id" not in "".join(repository.messages())


def test_two_publishers_of_one_branch_lose_no_commit_and_make_none_twice(
    repository: Repository, publisher: Callable[..., Publisher]
) -> None:
    repository.git("config", "receive.denyNonFastForwards", "true")
    repository.commit({"a.py": b"a"})
    runs = [(f"{number:08x}", f"out/{who}") for who in range(2) for number in range(who * 16, who * 16 + 10)]
    made = [
        [publisher(run=run, path=path, program={"run": run}) for run, path in runs if path == f"out/{who}"]
        for who in range(2)
    ]
    begun = threading.Barrier(2)

    def work(publishers: list[Publisher]) -> list[Pushed]:
        begun.wait()
        return [each.publish() for each in publishers]

    with ThreadPoolExecutor(2) as pool:
        pushed = [each for found in pool.map(work, made) for each in found]
    found = repository.git("log", "--format=%(trailers:key=Run-Id,valueonly,separator=)", "main").split()
    assert sorted(found) == sorted(run for run, _ in runs)
    assert {each.commit for each in pushed} <= set(repository.git("rev-list", "main").split())
    assert {each.outcome for each in pushed} == {PushOutcome.PUSHED}
    assert json.loads(repository.read("out/0/program.json")) == {"run": runs[9][0]}


OWN = "dspy/team/triage"
REQUEST = {"pull_request": {"provider": "gitea"}}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The pull requests that were opened or updated, in place of those of a real API."""
    import sys
    from types import ModuleType

    found: list[tuple[Any, ...]] = []

    def open_or_update(destination: GitDestination, token: str, head: str, title: str, body: str, **_: Any) -> str:
        found.append((destination.branch, head, title, body))
        return "https://git.example.com/pulls/1"

    module = ModuleType("swarm_git.pull_requests")
    module.open_or_update = open_or_update  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "swarm_git.pull_requests", module)
    return found


def test_a_pull_request_has_one_commit_above_its_base(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]]
) -> None:
    base = repository.commit({"a.py": b"a"})
    pushed = publish(**REQUEST)
    assert repository.tip() == base
    assert repository.git("rev-parse", f"{OWN}^") == base
    assert (pushed.branch, pushed.commit) == (OWN, repository.tip(OWN))
    assert pushed.pull_request == "https://git.example.com/pulls/1"
    assert opened == [("main", OWN, "Compile triage: 85.00", git_pods.MARKDOWN)]


def test_a_later_run_replaces_the_commit_of_the_pull_request(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]]
) -> None:
    repository.commit({"a.py": b"a"})
    publish(**REQUEST)
    base = repository.commit({"b.py": b"b"})
    pushed = publish(run="00000000", program={"second": 2}, **REQUEST)
    assert repository.git("rev-parse", f"{OWN}^") == base
    assert repository.tip(OWN) == pushed.commit
    assert len(opened) == 2


def test_a_run_that_is_published_again_keeps_its_commit_and_asks_for_its_pull_request(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]]
) -> None:
    repository.commit({"a.py": b"a"})
    first, second = publish(**REQUEST), publish(**REQUEST)
    assert first == second
    assert len(opened) == 2


def test_another_artifact_of_the_same_run_replaces_the_commit_of_the_pull_request(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]]
) -> None:
    repository.commit({"a.py": b"a"})
    publish(program={"partial": 1}, **REQUEST)
    winner = publish(program={"winner": 1}, **REQUEST)
    assert winner.commit == repository.tip(OWN)
    assert json.loads(repository.read("out/triage/program.json", OWN)) == {"winner": 1}


def test_a_request_follows_for_the_winner_after_the_partial_one_is_merged(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]]
) -> None:
    repository.commit({"a.py": b"a"})
    repository.git("update-ref", "refs/heads/main", publish(program={"partial": 1}, **REQUEST).commit)
    winner = publish(program={"winner": 1}, **REQUEST)
    assert (winner.branch, winner.commit) == (OWN, repository.tip(OWN))
    assert repository.git("rev-parse", f"{OWN}^") == repository.tip()


def test_no_pull_request_is_made_for_what_the_base_has(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]]
) -> None:
    repository.commit({"a.py": b"a"})
    publish()
    again = publish(run="00000000", **REQUEST)
    merged = publish(**REQUEST)
    assert (again.outcome, again.branch) == (PushOutcome.UNCHANGED, "main")
    assert (merged.outcome, merged.branch, merged.pull_request) == (PushOutcome.PUSHED, "main", None)
    assert opened == []


def test_a_commit_of_somebody_else_on_the_own_branch_is_not_dropped(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]]
) -> None:
    repository.commit({"a.py": b"a"})
    publish(**REQUEST)
    theirs = repository.commit({"fix.py": b""}, OWN)
    error = refused(publish, run="00000000", **REQUEST)
    assert (error.reason, error.terminal) == (WorkerReason.GIT_REFUSED, True)
    assert theirs[:12] in str(error)
    assert repository.tip(OWN) == theirs


@pytest.mark.parametrize("there", ["dspy", "dspy/team", f"{OWN}/fix"])
def test_a_branch_in_the_way_of_the_own_branch_is_named(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]], there: str
) -> None:
    repository.commit({"a.py": b"a"})
    repository.commit({"a.py": b"a"}, there)
    error = refused(publish, **REQUEST)
    assert (error.reason, error.terminal) == (WorkerReason.GIT_REFUSED, True)
    assert f"has a branch {there}, so git cannot make the branch {OWN}" in str(error)
    assert f"Rename or delete the branch {there}." in str(error)


def test_a_pull_request_needs_a_branch_to_be_merged_into(
    repository: Repository, publish: Publish, opened: list[tuple[Any, ...]]
) -> None:
    assert refused(publish, **REQUEST).reason is WorkerReason.GIT_NOT_FOUND
    assert repository.messages("--all") == []


@pytest.mark.parametrize(
    ("compilation", "branch"),
    [("team/a.b", "dspy/team/a.b"), ("team/a.lock", "dspy/team/a.lock_"), ("triage", "dspy/triage")],
)
def test_own_branches_have_names_that_git_accepts(compilation: str, branch: str) -> None:
    assert own_branch(compilation) == branch
