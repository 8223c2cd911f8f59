"""What a run fetches of a git repository: one commit, without anything that the repository could have git do."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import git_pods
from support.git_server import Authority, GitServer, Repository
from swarm_git import snapshot, tree
from swarm_git.command import Access
from swarm_git.errors import GitError
from swarm_git.snapshot import Archive, fetch
from swarm_wire.messages import Snapshot
from swarm_wire.names import WorkerReason
from swarm_wire.snapshots import PART_BYTES
from swarm_wire.spec.git import GitSource

FILES = {"triage.py": b"program", "app/search.py": b"search", "app/data/train.jsonl": b"{}\n"}
LINK, MODULE = "120000", "160000"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 4711\n"

Fetch = Callable[..., Archive]


@pytest.fixture
def repository(git_server: GitServer) -> Repository:
    return git_server.repository()


@pytest.fixture
def fetched(git_server: GitServer, authority: Authority, tmp_path: Path) -> Fetch:
    """Fetches what the spec names from the test's server."""
    secret = git_pods.write_files(tmp_path / "secret", {"ca.crt": authority.ca.read_text()})

    def run(**source: Any) -> Archive:
        spec = GitSource.model_validate({"url": git_server.url(), "secret": {"name": "git"}, **source})
        return fetch(git_pods.opened(spec, secret), spec)

    return run


def refused(fetched: Fetch, **source: Any) -> GitError:
    with pytest.raises(GitError) as error:
        fetched(**source)
    assert error.value.terminal
    return error.value


@pytest.mark.parametrize(
    ("ref", "content"),
    [
        pytest.param(None, b"main", id="no ref: the default branch"),
        pytest.param({"branch": "main"}, b"main", id="a branch"),
        pytest.param({"branch": "same"}, b"branch", id="a branch that has a tag's name"),
        pytest.param({"tag": "same"}, b"tag", id="a tag that has a branch's name"),
        pytest.param({"tag": "annotated"}, b"tag", id="an annotated tag"),
    ],
)
def test_a_ref_names_a_commit(repository: Repository, fetched: Fetch, ref: Any, content: bytes) -> None:
    tagged = repository.commit({"a.py": b"tag"})
    repository.git("tag", "same", tagged)
    repository.git("tag", "-a", "-m", "a tag", "annotated", tagged)
    repository.commit({"a.py": b"branch"}, "same")
    repository.commit({"a.py": b"main"})
    archive = fetched(ref=ref)
    assert git_pods.unpacked(archive) == {"a.py": content}
    assert repository.git("show", f"{archive.commit}:a.py") == content.decode()


def test_a_commit_is_named_by_its_id_even_if_no_branch_has_it(repository: Repository, fetched: Fetch) -> None:
    old = repository.commit({"a.py": b"old"}, "gone")
    repository.git("update-ref", "-d", "refs/heads/gone")
    repository.commit({"a.py": b"new"})
    assert git_pods.unpacked(fetched(ref={"commit": old})) == {"a.py": b"old"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param(
            {"ref": {"branch": "missing"}},
            "the branch missing (ref.branch). It has: main. Correct",
            id="no such branch",
        ),
        pytest.param({"ref": {"tag": "v9"}}, "the tag v9 (ref.tag). It has: blob. Correct", id="no such tag"),
        pytest.param({"ref": {"commit": "1" * 40}}, f"the commit {'1' * 40} (ref.commit)", id="no such commit"),
        pytest.param({"ref": {"tag": "blob"}}, "is no commit", id="a tag of a file"),
        pytest.param({"path": "app/missing"}, "app has data, search.py", id="no such folder"),
        pytest.param({"path": "missing"}, "the repository has app, link, triage.py", id="no such folder at the top"),
        pytest.param({"path": "triage.py"}, "triage.py in https", id="a file in the folder's place"),
        pytest.param({"path": "link"}, "is a symbolic link, not a folder", id="a link in the folder's place"),
    ],
)
def test_what_is_not_there_is_named(repository: Repository, fetched: Fetch, source: Any, told: str) -> None:
    repository.commit({**FILES, "link": (LINK, b"app")})
    repository.git("tag", "blob", repository.blob(b"text"))
    error = refused(fetched, **source)
    assert error.reason is WorkerReason.GIT_NOT_FOUND
    assert told in str(error)


def test_an_empty_repository_has_no_default_branch(repository: Repository, fetched: Fetch) -> None:
    error = refused(fetched)
    assert error.reason is WorkerReason.GIT_NOT_FOUND


def test_paths_are_relative_to_the_folder_of_the_spec(repository: Repository, fetched: Fetch) -> None:
    repository.commit(FILES)
    assert git_pods.unpacked(fetched(path="app")) == {"search.py": b"search", "data/train.jsonl": b"{}\n"}


@pytest.mark.parametrize(
    ("setting", "fetches"),
    [
        pytest.param("uploadpack.allowFilter=true", {"search.py", "train.jsonl"}, id="only the folder's files travel"),
        pytest.param(
            "uploadpack.allowFilter=false", {"search.py", "train.jsonl", "large.bin"}, id="a server without it"
        ),
        pytest.param("protocol.version=0", {"search.py", "train.jsonl", "large.bin"}, id="a server without ids"),
    ],
)
def test_of_a_large_repository_only_the_folder_is_fetched(
    git_server: GitServer, repository: Repository, authority: Authority, setting: str, fetches: set[str]
) -> None:
    repository.commit({**FILES, "large.bin": b"large"})
    repository.git("config", *setting.split("="))
    spec = GitSource.model_validate({"url": git_server.url(), "path": "app"})
    config = {"http.sslCAInfo": str(authority.ca)}
    if setting.startswith("protocol"):
        config["protocol.version"] = "0"
    git = git_pods.opened(spec, access=Access(config=config))
    assert git_pods.unpacked(fetch(git, spec)) == {"search.py": b"search", "data/train.jsonl": b"{}\n"}
    here = git.text("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    ids = {"search.py": FILES["app/search.py"], "train.jsonl": FILES["app/data/train.jsonl"], "large.bin": b"large"}
    assert {name for name, data in ids.items() if repository.blob(data) in here} == fetches


def test_the_same_files_make_the_same_archive(repository: Repository, fetched: Fetch) -> None:
    repository.commit({**FILES, "run.sh": ("100755", b"#!/bin/sh")})
    first = fetched()
    repository.commit({}, message="nothing changes")
    second = fetched()
    assert (first.data, first.files) == (second.data, 4)
    assert first.commit != second.commit
    assert [*git_pods.members(first.data)] == sorted([*FILES, "run.sh"])
    assert git_pods.members(first.data)["run.sh"][0] == 0o755
    assert git_pods.members(first.data)["triage.py"][0] == 0o644


def test_records_carry_an_archive_in_parts(repository: Repository, fetched: Fetch) -> None:
    repository.commit({"noise": b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(40_000))})
    archive = fetched()
    records = list(archive.records())
    headers = [Snapshot.model_validate(record.header) for record in records]
    assert [(header.part, header.parts) for header in headers] == [(0, 3), (1, 3), (2, 3)]
    assert b"".join(record.body for record in records) == archive.data
    assert {header.sha256 for header in headers} == {hashlib.sha256(archive.data).hexdigest()}
    assert max(len(record.body) for record in records) == PART_BYTES


LINKS: dict[str, tuple[bytes, bytes | None]] = {
    "a file elsewhere in the repository is copied": (b"../triage.py", b"program"),
    "a file beside it is copied": (b"data/../search.py", b"search"),
    "a chain of links is followed": (b"a file beside it is copied", b"search"),
    "a path out of the repository is left out": (b"../../etc/passwd", None),
    "an absolute path is left out": (b"/etc/passwd", None),
    "a folder is left out": (b"data", None),
    "a missing file is left out": (b"missing\nmissing", None),
    "a path through a file is left out": (b"search.py/x", None),
    "a circle is left out": (b"a circle is left out", None),
    "the last file is copied": (b"search.py", b"search"),
}


def test_symbolic_links(repository: Repository, fetched: Fetch) -> None:
    repository.commit({**FILES, **{f"app/{name}": (LINK, target) for name, (target, _) in LINKS.items()}})
    archive = fetched(path="app")
    content = git_pods.unpacked(archive)
    assert {name: content.get(name) for name in LINKS} == {name: wanted for name, (_, wanted) in LINKS.items()}
    assert [note.split(":")[0] for note in archive.notes] == [
        "Symbolic links to anything but a file of the repository are left out"
    ]
    assert "a circle is left out, a folder is left out" in archive.notes[0]


def test_submodules_and_files_of_lfs_are_left_out_with_a_note(repository: Repository, fetched: Fetch) -> None:
    modules = b'[submodule "x"]\n\tpath = lib\n\turl = --upload-pack=touch${IFS}/tmp/owned\n'
    lib = {f"lib{number}": (MODULE, "1" * 40) for number in range(7)}
    repository.commit({".gitmodules": modules, "model.bin": POINTER, "near.txt": POINTER[1:], **lib})
    archive = fetched()
    assert set(git_pods.unpacked(archive)) == {".gitmodules", "near.txt"}
    assert archive.notes == [
        "Submodules are not fetched: lib0, lib1, lib2, lib3, lib4 and 2 more.",
        "Files of Git LFS are not fetched: model.bin.",
    ]


def test_nothing_of_the_repository_changes_a_file_or_runs(
    repository: Repository, fetched: Fetch, tmp_path: Path
) -> None:
    owned = tmp_path / "owned"
    attributes = b"* text eol=crlf filter=lfs ident export-subst\nhidden.py export-ignore\n"
    files: dict[str, bytes | tuple[str, bytes]] = {
        ".gitattributes": attributes,
        "a.py": b"$Id$ $Format:%H$\n",
        "hidden.py": b"",
        "hooks/post-checkout": ("100755", f"#!/bin/sh\ntouch {owned}\n".encode()),
        ".lfsconfig": b"[lfs]\n\turl = http://127.0.0.1:1/\n",
        "config": f"[core]\n\tfsmonitor = touch {owned}\n".encode(),
    }
    repository.commit(files)
    content = {path: data[1] if isinstance(data, tuple) else data for path, data in files.items()}
    assert git_pods.unpacked(fetched()) == content
    assert not owned.exists()


NAMES = [
    pytest.param("..", id="two dots"),
    pytest.param("..data", id="two dots at the beginning"),
    pytest.param(".", id="one dot"),
    pytest.param(".git", id="git's folder"),
    pytest.param(".GIT", id="git's folder, elsewhere"),
    pytest.param("a\\b", id="a backslash"),
    pytest.param("a\nb", id="a line end"),
    pytest.param("a\x1b[31m", id="a code of terminals"),
    pytest.param("a\u202eb", id="text from right to left"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_may_lead_elsewhere_are_refused(repository: Repository, fetched: Fetch, name: str) -> None:
    repository.commit_tree(repository.tree(("100644", repository.blob(b"evil"), name)))
    error = refused(fetched)
    assert error.reason is WorkerReason.SOURCE_INVALID
    assert str(error).isprintable()


@pytest.mark.parametrize("name", ["..", ".git"])
def test_folders_with_such_names_are_refused(repository: Repository, fetched: Fetch, name: str) -> None:
    inner = repository.tree(("100644", repository.blob(b"evil"), "evil.py"))
    repository.commit_tree(repository.tree(("40000", inner, name)))
    assert refused(fetched).reason is WorkerReason.SOURCE_INVALID


def test_a_name_that_is_there_twice_is_refused(repository: Repository, fetched: Fetch) -> None:
    blob = repository.blob(b"evil")
    folder = repository.tree(("100644", blob, "x"))
    for entries in (
        (("100644", blob, "a"), ("100644", blob, "a")),
        (("100644", blob, "a"), ("40000", folder, "a")),
        (("40000", folder, "a"), ("100644", blob, "a")),
    ):
        repository.commit_tree(repository.tree(*entries))
        assert "twice" in str(refused(fetched))


def nested(repository: Repository, entry: tuple[str, str, str], wide: int, deep: int) -> str:
    """Returns a tree of a few bytes that has wide ** deep files."""
    for _ in range(deep):
        found = repository.tree(*[(entry[0], entry[1], f"{number:03}") for number in range(wide)])
        entry = ("40000", found, "")
    return entry[1]


def test_too_many_files_are_refused_before_all_are_listed(repository: Repository, fetched: Fetch) -> None:
    repository.commit_tree(nested(repository, ("100644", repository.blob(b""), ""), 100, 6))  # 10 ** 12 files
    error = refused(fetched)
    assert error.reason is WorkerReason.SOURCE_INVALID
    assert "more than 10,000 files" in str(error)
    assert "spec.program.source.git.path" in str(error)


@pytest.mark.parametrize(
    ("limit", "told"), [("MOST_BYTES", "The largest: large.bin (0.1 MiB)"), ("MOST_PACKED", "when packed")]
)
def test_files_that_are_too_large_are_named(
    repository: Repository, fetched: Fetch, monkeypatch: pytest.MonkeyPatch, limit: str, told: str
) -> None:
    repository.commit({**FILES, "large.bin": bytes(100_000)})
    monkeypatch.setattr(tree if limit == "MOST_BYTES" else snapshot, limit, 100)
    error = refused(fetched)
    assert error.reason is WorkerReason.SOURCE_INVALID
    assert told in str(error)


def test_many_copies_of_one_file_count_as_many_files(repository: Repository, fetched: Fetch) -> None:
    blob = repository.blob(bytes(2**20))
    repository.commit_tree(nested(repository, ("100644", blob, ""), 65, 1))
    assert "65.0 MiB" in str(refused(fetched))


@pytest.mark.parametrize("forgotten", [False, True], ids=["kept", "deleted at once"])
def test_a_branch_that_moves_meanwhile_gives_one_commit_or_the_other(
    git_server: GitServer, repository: Repository, fetched: Fetch, forgotten: bool
) -> None:
    repository.commit({"a.py": b"old", "old.py": b""})
    moves: list[str] = []

    def move(handler: Any) -> None:
        # The first POST asks for the branches. The second one asks for the commit.
        if handler.command == "POST" and not moves:
            repository.git("update-ref", "-d", "refs/heads/main")
            moves.append(repository.commit({"a.py": b"new", "new.py": b""}))
            if forgotten:
                repository.git("prune", "--expire=now")

    git_server.after = move
    archive = fetched(ref={"branch": "main"})
    found = git_pods.unpacked(archive)
    assert found in ({"a.py": b"old", "old.py": b""}, {"a.py": b"new", "new.py": b""})
    assert len(moves) == 1
    if forgotten:
        assert archive.commit == moves[0]


def test_only_the_newest_commit_is_fetched(git_server: GitServer, repository: Repository, authority: Authority) -> None:
    for number in range(3):
        repository.commit({"a.py": f"{number}".encode()})
    spec = GitSource.model_validate({"url": git_server.url()})
    git = git_pods.opened(spec, access=Access(ca_file=authority.ca, config={"http.sslCAInfo": str(authority.ca)}))
    fetch(git, spec)
    assert git.text("rev-list", "--count", "--all") == "1"
