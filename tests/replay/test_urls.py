"""On a laptop, a run takes its data from URLs, and finds the winner that the same files give."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.compiles import ROOT, LocalRun, run_file
from support.data_server import DataServer, serving, status
from support.git_server import Authority

TRIAGE = ROOT / "examples" / "triage"
FILES = {
    name: b"".join((TRIAGE / "data" / f"{name}.jsonl").read_bytes().splitlines(keepends=True)[:12])
    for name in ("train", "validation")
}
CANARY = "canary-5d1c07e9b4"
OPTIONS = '{"client_kwargs": {"headers": {"Authorization": "Bearer %s"}}}' % CANARY  # noqa: UP031


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DataServer]:
    folder = tmp_path / "authority"
    folder.mkdir()
    with serving(Authority.made(folder)) as server:
        server.files = {f"/{name}.jsonl": content for name, content in FILES.items()}
        server.accepts = f"Bearer {CANARY}"
        yield server


def documents(endpoint: str, data: dict[str, Any]) -> str:
    compilation = {
        "apiVersion": "dspy-swarm.dev/v1alpha1",
        "kind": "DSPyCompilation",
        "metadata": {"name": "triage"},
        "spec": {
            "program": {"entrypoint": "triage:Triage"},
            "metric": {"entrypoint": "triage:metric"},
            "data": {"inputs": ["ticket"], **data},
            "models": {"student": {"model": "openai/small", "endpoint": endpoint}},
            "optimizer": {"bootstrapFewShotWithRandomSearch": {"numCandidatePrograms": 1, "maxLabeledDemos": 2}},
        },
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "data"}, "stringData": {"options": OPTIONS}}
    return yaml.safe_dump_all([compilation, secret])


def compiled(folder: Path, provider: Any, server: DataServer | None, query: str = "", **env: str) -> LocalRun:
    folder.mkdir(exist_ok=True)
    (folder / "triage.py").write_bytes((TRIAGE / "triage.py").read_bytes())
    if server is None:
        for name, content in FILES.items():
            (folder / f"{name}.jsonl").write_bytes(content)
        data: dict[str, Any] = {name: {"path": f"{name}.jsonl"} for name in FILES}
    else:
        options = {"options": {"secret": {"name": "data", "key": "options"}}}
        data = {name: {"url": f"{server.url}/{name}.jsonl{query}", **options} for name in FILES}
        env = {"SSL_CERT_FILE": str(server.ca), **env}
    (folder / "compilation.yaml").write_text(documents(provider.url, data), encoding="utf-8")
    return run_file(folder, provider, **env)


def test_data_at_urls_compile_as_the_same_files_in_a_folder(providers: Any, tmp_path: Path, server: DataServer) -> None:
    provider = providers(3)
    beside = compiled(tmp_path / "folder", provider, None)
    ours = compiled(tmp_path / "urls", provider, server, query=f"?q={CANARY}")
    assert (beside.status, ours.status) == (0, 0), ours.output
    assert (ours.program, ours.ranking, ours.scores) == (beside.program, beside.ranking, beside.scores)
    assert ours.requests == beside.requests
    assert ours.report["origin"]["data"] == beside.report["origin"]["data"]
    files = ours.report["origin"]["files"]
    assert {name: file["url"] for name, file in files.items()} == {name: f"{server.url}/{name}.jsonl" for name in FILES}
    assert CANARY not in ours.output
    for path in (tmp_path / "urls").rglob("*"):
        if path.is_file() and path.name not in ("compilation.yaml", "request.json"):
            assert CANARY.encode() not in path.read_bytes(), path


def test_a_changed_file_is_noticed_only_by_a_new_run_which_pays_only_for_what_changed(
    providers: Any, tmp_path: Path, server: DataServer
) -> None:
    provider, folder = providers(3), tmp_path / "urls"
    first = compiled(folder, provider, server)
    assert first.status == 0, first.output
    before, program = first.report["origin"], first.program
    again = compiled(folder, provider, server)
    assert (again.requests, again.program) == (0, program)
    assert again.report["origin"]["runId"] == before["runId"]
    lines = FILES["validation"].splitlines(keepends=True)
    asked = len(server.asked)
    server.files["/validation.jsonl"] = b"".join(lines[:-1])
    changed = compiled(folder, provider, server)
    assert changed.status == 0, changed.output
    after = changed.report["origin"]
    assert after["runId"] != before["runId"]
    assert after["files"]["validation"]["sha256"] != before["files"]["validation"]["sha256"]
    assert after["files"]["train"] == before["files"]["train"]
    assert changed.requests < first.requests
    assert len([path for method, path, _ in server.asked[asked:] if method == "GET"]) == len(FILES), "once in a run"


def test_a_missing_file_ends_the_run_before_the_first_call(providers: Any, tmp_path: Path, server: DataServer) -> None:
    server.always = status(404)
    ours = compiled(tmp_path / "urls", providers(3), server)
    assert (ours.status, ours.requests) == (1, 0)
    assert "DataInvalid" in ours.output
    assert "there is no file" in ours.output
    assert CANARY not in ours.output
