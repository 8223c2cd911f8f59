"""Data from URLs: what a real https server, other file systems and the depot do to a download."""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from support import git_pods
from support.data_server import DataServer, Handler, serving, status
from support.git_pods import PodFolder
from support.git_server import Authority
from swarm_wire import names
from swarm_wire.messages import STORED
from swarm_wire.names import ExitCode
from swarm_wire.spec.data import Data
from swarm_worker.errors import BadInput, DataUnreachable, Drift, SwarmError
from swarm_worker.journal.body_store import Depot
from swarm_worker.pod import download
from swarm_worker.user import fetched, urls
from swarm_worker.user.urls import Fetched, Urls
from unit.test_worker_fetched import OTHER, ROWS, placed

CANARY = "canary-7f3a9c51e2"
BEARER = {"client_kwargs": {"headers": {"Authorization": f"Bearer {CANARY}"}}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataServer]:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    monkeypatch.setattr(urls, "PAUSES", (0.0, 0.0, 0.0))
    with serving(authority) as server:
        server.files["/train.jsonl"] = ROWS
        yield server


def source(url: str, **options: Any) -> Data:
    return Data.model_validate({"inputs": ["question"], "train": {"url": url, **options}})


def fetch(folder: Path, url: str, options: Any = None) -> Fetched:
    given = {} if options is None else {"train": json.dumps(options)}
    return Urls(source(url), given).fetch(folder)[0]


def refused(folder: Path, url: str, options: Any = None) -> SwarmError:
    with pytest.raises(SwarmError) as raised:
        fetch(folder, url, options)
    assert CANARY not in str(raised.value)
    return raised.value


def test_a_file_comes_as_it_is_with_its_digest_and_what_the_server_calls_its_state(
    server: DataServer, tmp_path: Path
) -> None:
    found = fetch(tmp_path, f"{server.url}/train.jsonl?version=2#part")
    assert found.path.read_bytes() == ROWS
    assert (found.url, found.sha256) == (f"{server.url}/train.jsonl", hashlib.sha256(ROWS).hexdigest())
    assert found.revision == f'"{hash(ROWS)}"'


def test_a_server_that_names_no_state_and_no_size_is_trusted(server: DataServer, tmp_path: Path) -> None:
    server.has_etags = server.has_sizes = False
    found = fetch(tmp_path, f"{server.url}/train.jsonl")
    assert (found.path.read_bytes(), found.revision) == (ROWS, "")


def test_an_empty_file_travels(server: DataServer, tmp_path: Path) -> None:
    server.files["/train.jsonl"] = b""
    (record,) = fetch(tmp_path, f"{server.url}/train.jsonl").records()
    assert (record.body, record.header["parts"]) == (b"", 1)


def cut(handler: Handler) -> None:
    handler.file(ROWS, cut=100)
    handler.close_connection = True


@pytest.mark.parametrize(
    "faults",
    [
        [status(500), status(500)],
        [status(503)] * 4,
        [status(429), status(429)],
        [None, cut],
        [None, status(502)],
        [lambda handler: handler.connection.close()] * 2,
    ],
    ids=["500", "503 and again", "429", "cut", "502 in between", "closed"],
)
def test_a_failure_that_passes_is_tried_again(server: DataServer, tmp_path: Path, faults: list[Any]) -> None:
    server.faults = [*faults]
    assert fetch(tmp_path, f"{server.url}/train.jsonl").path.read_bytes() == ROWS
    assert not server.faults


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (status(500), "answers with status 500"),
        (cut, "cannot be read: "),
        (lambda handler: handler.connection.close(), "cannot be read: "),
    ],
    ids=["500", "cut", "closed"],
)
def test_a_failure_that_stays_is_left_to_another_pod(
    server: DataServer, tmp_path: Path, answer: Any, says: str
) -> None:
    server.always = answer
    error = refused(tmp_path, f"{server.url}/train.jsonl?token={CANARY}")
    assert isinstance(error, DataUnreachable)
    assert says in str(error)
    assert "spec.data.train.url" in str(error)


@pytest.mark.parametrize(
    ("code", "options", "says"),
    [
        (404, None, "there is no file"),
        (404, BEARER, "does not show it to the credentials in spec.data.train.options"),
        (410, None, "there is no file"),
        (401, None, "name it in spec.data.train.options"),
        (403, BEARER, "does not let the credentials in spec.data.train.options read"),
        (400, None, "refuses the request for"),
    ],
)
def test_a_failure_that_no_retry_changes_ends_the_run(
    server: DataServer, tmp_path: Path, code: int, options: Any, says: str
) -> None:
    server.always = status(code)
    error = refused(tmp_path, f"{server.url}/train.jsonl?token={CANARY}", options)
    assert isinstance(error, BadInput)
    assert error.reason == "DataInvalid"
    assert says in str(error)
    assert {method for method, _, _ in server.asked} == {"HEAD", "GET"}
    assert len(server.asked) == 2


def test_a_file_that_changes_between_the_questions_is_read_again(server: DataServer, tmp_path: Path) -> None:
    def change(handler: Handler) -> None:
        server.files["/train.jsonl"] = OTHER
        handler.file(ROWS)

    server.faults = [None, change]
    found = fetch(tmp_path, f"{server.url}/train.jsonl")
    assert (found.path.read_bytes(), found.revision) == (OTHER, f'"{hash(OTHER)}"')


def test_a_file_that_changes_all_the_time_is_left_to_another_pod(server: DataServer, tmp_path: Path) -> None:
    server.always = lambda handler: handler.file(ROWS + b" " * len(server.asked))
    error = refused(tmp_path, f"{server.url}/train.jsonl")
    assert isinstance(error, DataUnreachable)
    assert "changes again and again" in str(error)


@pytest.mark.parametrize("has_sizes", [True, False])
def test_a_file_that_is_too_large_ends_the_run(
    server: DataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_sizes: bool
) -> None:
    monkeypatch.setattr(urls, "MOST_BYTES", 100)
    server.has_sizes = has_sizes
    error = refused(tmp_path, f"{server.url}/train.jsonl")
    assert isinstance(error, BadInput)
    assert "data.train.volume" in str(error)


def test_a_certificate_that_nobody_trusts_ends_the_run(
    server: DataServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = refused(tmp_path, f"{server.url}/train.jsonl")
    assert isinstance(error, BadInput)
    assert "SSL_CERT_FILE" in str(error)
    assert not server.asked


def test_options_open_the_file_and_do_not_follow_to_another_host(
    server: DataServer, authority: Authority, tmp_path: Path
) -> None:
    server.accepts = f"Bearer {CANARY}"
    assert fetch(tmp_path, f"{server.url}/train.jsonl", BEARER).path.read_bytes() == ROWS
    with serving(authority) as other:
        other.files["/stored"] = OTHER
        server.always = status(302, Location=f"{other.url}/stored?signature={CANARY}")
        assert fetch(tmp_path, f"{server.url}/train.jsonl", BEARER).path.read_bytes() == OTHER
        assert not [headers for _, _, headers in other.asked if "Authorization" in headers]
        other.always = status(500)
        assert isinstance(refused(tmp_path, f"{server.url}/train.jsonl", BEARER), DataUnreachable)


def test_a_redirect_to_http_ends_the_run(server: DataServer, tmp_path: Path) -> None:
    server.always = status(302, Location="http://127.0.0.1:9/train.jsonl")
    error = refused(tmp_path, f"{server.url}/train.jsonl")
    assert isinstance(error, BadInput)
    assert "redirects to http://" in str(error)


def test_a_host_that_does_not_exist_is_left_to_another_pod(server: DataServer, tmp_path: Path) -> None:
    error = refused(tmp_path, "https://127.0.0.1:9/train.jsonl")
    assert isinstance(error, DataUnreachable)


@pytest.mark.parametrize(
    ("url", "options", "reason", "says"),
    [
        ("https://h/train.txt", None, "DataInvalid", "train.txt must end in .jsonl"),
        ("https://h/x.jsonl", [1], "InvalidSpec", "data.train.options names holds no JSON object"),
        ("https://h/x.jsonl", {"client_kwargs": 3}, "DataInvalid", "the options cannot be used"),
        ("gs://bucket/x.jsonl", None, "PackageMissing", "gs:// needs the package gcsfs"),
    ],
)
def test_what_cannot_be_fetched_ends_the_run(tmp_path: Path, url: str, options: Any, reason: str, says: str) -> None:
    error = refused(tmp_path, url, options)
    assert (error.reason, error.exit_code) == (reason, ExitCode.BAD_INPUT)
    assert says in str(error)


class Bucket(MemoryFileSystem):
    """Stands in for s3fs: the same calls, with files in memory."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    given: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        Bucket.given.append(options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("s3://", "memory://")))

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return {**super().info(path, **kwargs), "ETag": '"e1"', "VersionId": "v1"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> type[Bucket]:
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "pseudo_dirs", [""])
    monkeypatch.setattr(Bucket, "given", [])
    monkeypatch.setattr(urls, "PAUSES", (0.0,))
    find = fsspec.get_filesystem_class
    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda name: Bucket if name == "s3" else find(name))
    Bucket().pipe_file("bucket/train.jsonl", ROWS)
    Bucket.given.clear()
    return Bucket


def test_a_bucket_gets_the_options_and_names_the_version(bucket: type[Bucket], tmp_path: Path) -> None:
    found = fetch(tmp_path, "s3://bucket/train.jsonl", {"key": "k", "client_kwargs": {"region_name": "x"}})
    assert (found.path.read_bytes(), found.revision) == (ROWS, "v1")
    assert bucket.given == [{"key": "k", "client_kwargs": {"region_name": "x"}}]


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        (FileNotFoundError("bucket/train.jsonl"), BadInput, "there is no file"),
        (PermissionError("Forbidden"), BadInput, "wants credentials"),
        (OSError("reset"), DataUnreachable, "OSError: reset"),
        (TimeoutError(), DataUnreachable, "TimeoutError"),
    ],
)
def test_errors_of_a_bucket(
    bucket: type[Bucket],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    kind: type[SwarmError],
    says: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(bucket, "info", fail)
    error = refused(tmp_path, "s3://bucket/train.jsonl")
    assert isinstance(error, kind)
    assert says in str(error)


def test_a_folder_is_refused(bucket: type[Bucket], tmp_path: Path) -> None:
    bucket().pipe_file("bucket/all.jsonl/part.jsonl", ROWS)
    assert "is a folder" in str(refused(tmp_path, "s3://bucket/all.jsonl"))


# The pod


def request(url: str, **spec: Any) -> dict[str, Any]:
    made = git_pods.request()
    made["spec"]["data"] = {"inputs": ["question"], "train": {"url": url}}
    made["spec"].update(spec)
    return made


@dataclass
class Pods:
    """Makes pods of one run, which trust the authority."""

    root: Path
    authority: Authority

    def run(self, url: str, options: str = "", **more: str) -> git_pods.Pod:
        given = {names.url_options_env("train"): options, "SSL_CERT_FILE": str(self.authority.ca), **more}
        folder = PodFolder.made(self.root, request(url), None, None, **given)
        folder.module = "swarm_worker"
        return folder.run("download")


@pytest.fixture
def pods(tmp_path: Path, authority: Authority) -> Pods:
    return Pods(tmp_path / "pod", authority)


def test_a_pod_prints_the_file_in_parts_that_a_plan_puts_together(
    server: DataServer, pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/train.jsonl"] = content = ROWS * 2000
    server.accepts = f"Bearer {CANARY}"
    ended = pods.run(f"{server.url}/train.jsonl?q={CANARY}", json.dumps(BEARER))
    assert (ended.code, ended.commit.reason) == (ExitCode.DONE, None), ended.log
    assert CANARY not in ended.output + ended.log + ended.commit.to_json()
    head, body = ended.snapshot
    assert (head.of, head.parts, body) == ("train", 3, content)
    placed(tmp_path / "data", ended.records, monkeypatch)
    assert fetched.fetched_file("train", f"{server.url}/train.jsonl", None).read_bytes() == content
    assert fetched.fetched_files()["train"].to_header() == {
        "url": f"{server.url}/train.jsonl",
        "sha256": hashlib.sha256(content).hexdigest(),
        "revision": head.revision,
    }


def test_a_pod_says_why_it_fails_without_its_options(server: DataServer, pods: Pods) -> None:
    server.accepts = "Bearer another"
    ended = pods.run(f"{server.url}/train.jsonl?q={CANARY}", json.dumps(BEARER))
    assert (ended.code, ended.commit.reason) == (ExitCode.BAD_INPUT, "DataInvalid")
    assert not ended.records
    assert CANARY not in ended.output + ended.log + ended.commit.to_json()


def test_a_pod_imports_no_dspy(server: DataServer, pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "dspy.py").write_text("raise SystemExit(99)")
    path = f"{tmp_path}:{':'.join(sys.path)}"
    ended = pods.run(f"{server.url}/train.jsonl", PYTHONPATH=path)
    assert ended.code == ExitCode.DONE, ended.log


def test_a_file_that_is_too_large_for_config_maps_ends_the_run_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "large.jsonl"
    large.write_bytes(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(200_000)))
    found = Fetched("train", "https://h/large.jsonl", large, large.stat().st_size, "a" * 64, "")
    with pytest.raises(BadInput, match=r"has 6\.1 MiB\. Without spec\.journal, .* \(data\.train\.volume\)") as raised:
        download._small([found])
    assert raised.value.reason == "DataInvalid"
    large.write_bytes(ROWS * 20_000)
    small = Fetched("train", "https://h/large.jsonl", large, large.stat().st_size, "a" * 64, "")
    assert large.stat().st_size > 10 * 2**20
    assert len(list(download._small([small]))) > 20, "text becomes small when it is packed"
    monkeypatch.setattr(download, "MOST_UNPACKED", 10 * 2**20)
    with pytest.raises(BadInput, match="Without"):
        download._small([small])


def test_a_depot_has_the_parts_of_a_large_file(
    server: DataServer, pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/train.jsonl"] = content = ROWS * 14_000
    ended = pods.run(f"{server.url}/train.jsonl", SWARM_DEPOT=f"file://{tmp_path}/depot")
    assert ended.code == ExitCode.DONE, ended.log
    assert len(ended.records) == 3
    assert {len(record.body) for record in ended.records} == {0}
    assert all(record.header[STORED]["name"].startswith("3f2a91c0-files/") for record in ended.records)
    placed(tmp_path / "data", ended.records, monkeypatch)
    depot = Depot(f"file://{tmp_path}/depot")
    path = fetched.fetched_file("train", "https://h/train.jsonl", depot)
    assert path.read_bytes() == content
    path.unlink()
    stored = sorted((tmp_path / "depot").rglob("part-*"))
    assert len(stored) == 3
    stored[0].write_bytes(stored[1].read_bytes())
    with pytest.raises(Drift):
        fetched.fetched_file("train", "https://h/train.jsonl", depot)
    depot.keep_only(["later", "later-files"])
    assert not [*(tmp_path / "depot").rglob("part-*")]
