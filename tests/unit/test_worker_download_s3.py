"""Data from a real object store: s3fs and moto's S3 server. Without these packages, pytest skips this file."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm_wire.spec.data import Data
from swarm_worker.errors import BadInput, DataUnreachable
from swarm_worker.user import urls
from swarm_worker.user.urls import Fetched, Urls

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")
ROWS = b'{"question": "q", "answer": "a"}\n' * 300_000
SECRET = "a-secret-key-of-tests"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def options(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    import boto3

    monkeypatch.setattr(urls, "PAUSES", (0.0,))
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="k", aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    client.create_bucket(Bucket="bucket")
    client.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket="bucket", Key="a/train.jsonl", Body=ROWS)
    return {"key": "k", "secret": SECRET, "endpoint_url": endpoint, "client_kwargs": {"region_name": "us-east-1"}}


def fetch(folder: Path, url: str, options: dict[str, Any]) -> Fetched:
    data = Data.model_validate({"inputs": ["question"], "train": {"url": url}})
    return Urls(data, {"train": json.dumps(options)}).fetch(folder)[0]


def test_an_object_comes_as_it_is(tmp_path: Path, options: dict[str, Any]) -> None:
    found = fetch(tmp_path, "s3://bucket/a/train.jsonl", options)
    assert (found.size, found.sha256) == (len(ROWS), hashlib.sha256(ROWS).hexdigest())
    assert found.revision


@pytest.mark.parametrize("url", ["s3://bucket/none.jsonl", "s3://nothing/train.jsonl"])
def test_a_missing_object_ends_the_run(tmp_path: Path, options: dict[str, Any], url: str) -> None:
    with pytest.raises(BadInput, match="there is no file") as raised:
        fetch(tmp_path, url, options)
    assert SECRET not in str(raised.value)


def test_a_store_that_does_not_answer_is_left_to_another_pod(tmp_path: Path, options: dict[str, Any]) -> None:
    config = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    closed = {**options, "endpoint_url": "http://127.0.0.1:9", "config_kwargs": config}
    with pytest.raises(DataUnreachable) as raised:
        fetch(tmp_path, "s3://bucket/a/train.jsonl", closed)
    assert SECRET not in str(raised.value)
