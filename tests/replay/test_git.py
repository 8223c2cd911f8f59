"""On a laptop, a run takes its program from a git repository, and finds the winner that the same files give."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.compiles import ROOT, LocalRun, run_file
from support.git_server import PASSWORD, USER, Authority, GitServer, Repository, basic, https

TRIAGE = ROOT / "examples" / "triage"
ROWS = {name: (TRIAGE / "data" / f"{name}.jsonl").read_bytes() for name in ("train", "validation")}
FILES = {
    "programs/triage.py": (TRIAGE / "triage.py").read_bytes(),
    **{f"programs/data/{name}.jsonl": b"".join(rows.splitlines(keepends=True)[:12]) for name, rows in ROWS.items()},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    folder = tmp_path / "authority"
    folder.mkdir()
    with https(tmp_path / "server", Authority.made(folder)) as server:
        server.accepts = {basic(USER, PASSWORD)}
        yield server


@pytest.fixture
def repository(server: GitServer) -> Repository:
    made = server.repository()
    made.commit(FILES)
    return made


def documents(url: str, endpoint: str, source: dict[str, Any] | None, secret: dict[str, str] | None) -> str:
    """Returns the user's file: a Compilation, and the Secret if there is one."""
    source = None if source is None else {"git": {"url": url, "secret": {"name": "git"}, **source}}
    compilation = {
        "apiVersion": "dspy-swarm.dev/v1alpha1",
        "kind": "DSPyCompilation",
        "metadata": {"name": "triage"},
        "spec": {
            "program": {
                "entrypoint": "triage:Triage",
                **({"source": source} if source is not None else {}),
            },
            "metric": {"entrypoint": "triage:metric"},
            "data": {
                "inputs": ["ticket"],
                "train": {"path": "data/train.jsonl"},
                "validation": {"path": "data/validation.jsonl"},
            },
            "models": {"student": {"model": "openai/small", "endpoint": endpoint}},
            "optimizer": {"bootstrapFewShotWithRandomSearch": {"numCandidatePrograms": 1, "maxLabeledDemos": 2}},
        },
    }
    found = [compilation]
    if secret is not None:
        found.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": secret})
    return yaml.safe_dump_all(found)


def compiled(
    folder: Path, server: GitServer, provider: Any, source: dict[str, Any], *, with_secret: bool = True, **env: str
) -> LocalRun:
    folder.mkdir(exist_ok=True)
    ca = (server.root.parent / "authority" / "ca.crt").read_text()
    secret = {"username": USER, "password": PASSWORD, "ca.crt": ca} if with_secret else None
    text = documents(server.url(), provider.url, {"path": "programs", **source}, secret)
    (folder / "compilation.yaml").write_text(text, encoding="utf-8")
    return run_file(folder, provider, **env)


def test_a_program_in_git_compiles_as_the_same_files_in_a_folder(
    providers: Any, tmp_path: Path, server: GitServer, repository: Repository
) -> None:
    folder = tmp_path / "folder"
    for path, data in FILES.items():
        file = folder / Path(path).relative_to("programs")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    provider = providers(3)
    (folder / "compilation.yaml").write_text(documents("", provider.url, None, None), encoding="utf-8")
    beside = run_file(folder, provider)
    ours = compiled(tmp_path / "git", server, provider, {})
    assert (beside.status, ours.status) == (0, 0), ours.output
    assert (ours.program, ours.ranking, ours.scores) == (beside.program, beside.ranking, beside.scores)
    assert ours.report["origin"]["commit"] == repository.tip()
    assert PASSWORD not in ours.output


def test_a_new_commit_pays_only_for_what_it_changes(
    providers: Any, tmp_path: Path, server: GitServer, repository: Repository
) -> None:
    provider, folder = providers(3), tmp_path / "git"

    def run(**source: Any) -> tuple[int, dict[str, str]]:
        ours = compiled(folder, server, provider, source)
        assert ours.status == 0, ours.output
        return ours.requests, ours.report["origin"]

    paid, first = run()
    repository.commit({"README.md": b"elsewhere"})
    nothing, second = run()
    assert (nothing, second["program"], second["commit"]) == (0, first["program"], repository.tip())
    repository.commit({"programs/triage.py": FILES["programs/triage.py"] + b"\nANOTHER = 1\n"})
    nothing, third = run()
    assert (nothing, third["commit"]) == (0, repository.tip()), "the journal answers the same LM calls"
    assert third["program"] != first["program"]
    nothing, pinned = run(ref={"commit": first["commit"]})
    assert paid > nothing == 0
    assert pinned["commit"] == first["commit"]


@pytest.mark.parametrize("scope", ["", ' "{}"'], ids=["a helper", "a helper of one host, as gh auth setup-git"])
@pytest.mark.parametrize("file", [".gitconfig", ".config/git/config"])
def test_without_the_secret_in_the_file_git_uses_the_credentials_of_the_machines_user(
    providers: Any, tmp_path: Path, server: GitServer, repository: Repository, scope: str, file: str
) -> None:
    home = tmp_path / "home"
    (home / file).parent.mkdir(parents=True)
    helper = f"!f() {{ echo username={USER}; echo password='{PASSWORD}'; }}; f"
    ca = tmp_path / "authority" / "ca.crt"
    section = f"[credential{scope.format(server.address)}]"
    (home / file).write_text(f'[http]\n\tsslCAInfo = {ca}\n{section}\n\thelper = "{helper}"\n')
    ours = compiled(tmp_path / "git", server, providers(3), {}, with_secret=False, HOME=str(home))
    assert ours.status == 0, ours.output
    assert ours.report["origin"]["commit"] == repository.tip()


def test_what_the_snapshot_leaves_out_is_a_note_of_the_report(
    providers: Any, tmp_path: Path, server: GitServer, repository: Repository
) -> None:
    repository.commit({"programs/big.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"})
    ours = compiled(tmp_path / "git", server, providers(3), {})
    assert ours.status == 0, ours.output
    assert any("big.bin" in note for note in ours.report["notes"])


@pytest.mark.parametrize(
    ("source", "reason", "says"),
    [
        ({"ref": {"branch": "nowhere"}}, "GitNotFound", "the branch nowhere"),
        ({"path": "nothing"}, "GitNotFound", "programs"),
    ],
    ids=["branch", "folder"],
)
def test_what_git_cannot_fetch_ends_the_run_before_the_first_call(
    providers: Any,
    tmp_path: Path,
    server: GitServer,
    repository: Repository,
    source: dict[str, Any],
    reason: str,
    says: str,
) -> None:
    ours = compiled(tmp_path / "git", server, providers(3), source)
    assert (ours.status, ours.requests) == (1, 0)
    assert reason in ours.output
    assert says in ours.output


def test_data_in_lfs_are_missed_by_name(
    providers: Any, tmp_path: Path, server: GitServer, repository: Repository
) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
    repository.commit({"programs/data/train.jsonl": pointer})
    ours = compiled(tmp_path / "git", server, providers(3), {})
    assert (ours.status, ours.requests) == (1, 0)
    assert "there is no train.jsonl" in ours.output
    assert "LFS" in ours.output


def test_a_laptop_that_lacks_the_secret_says_so_and_promises_no_other_attempt(
    providers: Any, tmp_path: Path, server: GitServer, repository: Repository
) -> None:
    ours = compiled(tmp_path / "git", server, providers(3), {}, with_secret=False, HOME=str(tmp_path))
    assert ours.status == 1
    assert "The Secret 'git' is not in these files" in " ".join(ours.output.split())
    assert "nother attempt" not in ours.output
