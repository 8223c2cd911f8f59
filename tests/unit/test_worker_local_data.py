"""Where the local driver finds the options for URLs of data, and what it gives to its processes."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from support.wire_spec import a_spec
from swarm_wire import names
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.local import documents
from swarm_worker.local.documents import Manifest
from swarm_worker.local.fetching import with_data
from swarm_worker.local.folder import JournalFolder, fingerprint
from swarm_worker.local.processes import Processes
from swarm_worker.user import fetched
from swarm_worker.user.urls import Fetched

OPTIONS, OTHER = '{"key": "of the secret"}', '{"key": "of the shell"}'
URL = "https://example.com/train.jsonl"
TRAIN = {"url": URL, "options": {"secret": {"name": "data", "key": "options"}}}


def manifest(folder: Path, secret: str = "", **environment: str) -> Manifest:
    spec = a_spec(**{"data": {"inputs": ["q"], "train": TRAIN}, "program": {"entrypoint": "a:A"}})
    spec["models"]["student"].pop("apiKey", None)
    found = [
        {"apiVersion": "dspy-swarm.dev/v1alpha1", "kind": "DSPyCompilation", "metadata": {"name": "t"}, "spec": spec}
    ]
    if secret:
        found.append({"kind": "Secret", "metadata": {"name": "data"}, "stringData": {"options": secret}})
    (folder / "c.yaml").write_text(yaml.safe_dump_all(found))
    return documents.read(folder / "c.yaml", environment)


def file(folder: Path, content: bytes, of: str = "train") -> Fetched:
    path = folder / "content"
    path.write_bytes(content)
    return Fetched(of, URL, path, len(content), hashlib.sha256(content).hexdigest(), "v1")


def test_options_come_from_the_secret_the_shell_or_the_env_file(tmp_path: Path) -> None:
    variable = names.url_options_env("train")
    assert manifest(tmp_path).url_options == {}, "fsspec finds the credentials of the machine's user"
    assert manifest(tmp_path, OPTIONS).url_options == {"train": OPTIONS}
    assert manifest(tmp_path, OPTIONS, **{variable: OTHER}).url_options == {"train": OTHER}
    (tmp_path / ".env").write_text(f"{variable}='{OTHER}'\n")
    assert manifest(tmp_path).url_options == {"train": OTHER}


def test_plans_and_workers_get_no_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.url_options_env("train"), OTHER)
    processes = Processes(JournalFolder(tmp_path / "journal"), manifest(tmp_path, OPTIONS))
    assert not [value for value in processes._environment.values() if value in (OPTIONS, OTHER)]
    assert os.environ[names.url_options_env("train")] == OTHER


def test_a_manifest_without_urls_fetches_nothing(tmp_path: Path) -> None:
    given = manifest(tmp_path)
    spec = CompilationSpec.model_validate(a_spec())
    without = replace(given, spec=spec)
    with with_data(without, tmp_path / "nowhere") as complete:
        assert complete is without


def test_other_content_is_another_run_and_the_journals_folder_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = manifest(tmp_path)
    one, other = (replace(given, data=(file(tmp_path, content),)) for content in (b"1\n", b"2\n"))
    assert len({fingerprint(each) for each in (given, one, other)}) == 3
    folder = JournalFolder(tmp_path / "journal")
    for complete in (one, other):
        file(tmp_path, b"1\n" if complete is one else b"2\n")
        request = folder.open(complete)
        assert request.run_id.startswith(fingerprint(complete))
    monkeypatch.setenv(names.ENV_DATA_DIR, str(folder.data))
    monkeypatch.setenv(names.ENV_UNPACKED_DIR, str(folder.unpacked))
    assert fetched.fetched_file("train", URL, None).read_bytes() == b"2\n"
