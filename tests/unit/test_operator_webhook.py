"""A webhook makes a trigger look. It needs the key, and many webhooks become one write."""

import asyncio
import hashlib
import hmac
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from support.fake_cluster import FakeCluster
from support.operator_specs import spec
from swarm_operator.cluster import errors
from swarm_operator.compilation.api import API_VERSION
from swarm_operator.trigger.api import KIND, TRIGGERS
from swarm_operator.webhook import server
from swarm_operator.webhook.__main__ import read_keys
from swarm_operator.webhook.server import MOST_BYTES, Receiver
from swarm_operator.webhook.signatures import is_genuine

KEY = b"a key of webhooks, 32 characters"
BODY = b'{"ref": "refs/heads/main"}'


def signature(body: bytes = BODY, key: bytes = KEY) -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def signed(body: bytes = BODY, key: bytes = KEY) -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={signature(body, key)}"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FOLD_SECONDS", 0.1)
    monkeypatch.setattr(server, "BODY_SECONDS", 0.3)


def cluster(**fields: Any) -> FakeCluster:
    made = FakeCluster()
    given = {"git": {}, "template": {"spec": spec()}, **fields}
    made.put(
        TRIGGERS,
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "triage"},
            "spec": given,
            "status": {"runs": []},
        },
    )
    return made


@asynccontextmanager
async def receiving(cluster: FakeCluster) -> AsyncIterator[aiohttp.ClientSession]:
    receiver = Receiver(cluster, lambda: [b"another key of webhooks", KEY], lambda: cluster.now)
    async with TestServer(receiver.application()) as served, aiohttp.ClientSession(served.make_url("/")) as session:
        yield session


def asked(cluster: FakeCluster) -> list[str]:
    return [text for text in cluster.writes if text.startswith("patch dspycompilationtriggers/")]


@pytest.mark.parametrize(
    ("headers", "genuine"),
    [
        pytest.param(signed(), True, id="GitHub's signature"),
        pytest.param({"X-Gitea-Signature": signature()}, True, id="Gitea's signature"),
        pytest.param({"X-Gitlab-Token": KEY.decode()}, True, id="GitLab's token"),
        pytest.param({}, False, id="nothing"),
        pytest.param(signed(b"another body"), False, id="the signature of another body"),
        pytest.param(signed(key=b"somebody's own key"), False, id="another key"),
        pytest.param({"X-Gitlab-Token": signature()}, False, id="a signature as token"),
        pytest.param({"X-Hub-Signature-256": "sha256="}, False, id="an empty signature"),
        pytest.param({"X-Hub-Signature": f"sha1={signature()}"}, False, id="GitHub's old header"),
        pytest.param({"X-Gitlab-Token": "\udcff"}, False, id="a token that is no text"),
    ],
)
def test_a_webhook_is_genuine_if_its_sender_has_the_key(headers: dict[str, str], genuine: bool) -> None:
    assert is_genuine(headers, BODY, [b"another key of webhooks", KEY]) == genuine


def test_the_signature_is_that_of_githubs_documentation() -> None:
    told = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert is_genuine({"X-Hub-Signature-256": told}, b"Hello, World!", [b"It's a Secret to Everybody"])


async def _a_thousand() -> None:
    found = cluster()
    async with receiving(found) as session:

        async def send() -> int:
            async with session.post("/default/triage", data=BODY, headers=signed()) as response:
                return response.status

        answers = await asyncio.gather(*(send() for _ in range(1000)))
        assert {202} <= set(answers) <= {202, 503}
        await asyncio.sleep(0.2)
        writes = len(asked(found))
        assert writes <= 20, "a write for each tenth of a second"
        found.now = found.now.replace(minute=5)
        assert await send() == 202
        await asyncio.sleep(0.3)
    assert len(asked(found)) == writes + 1
    assert found.of(TRIGGERS)[0]["status"] == {"runs": [], "lookRequestedAt": "2026-11-21T12:05:00Z"}


def test_a_thousand_webhooks_become_few_writes_and_a_later_one_becomes_another() -> None:
    asyncio.run(_a_thousand())


async def _sent(found: FakeCluster, path: str, body: Any, headers: dict[str, str]) -> tuple[int, str]:
    async with receiving(found) as session, session.post(path, data=body, headers=headers) as response:
        text = await response.text()
        await asyncio.sleep(0.2)
        return response.status, text


async def _slowly() -> AsyncIterator[bytes]:
    yield BODY[:5]
    await asyncio.sleep(1)
    yield BODY[5:]


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(65536)


@pytest.mark.parametrize(
    ("path", "body", "headers", "wanted", "says"),
    [
        pytest.param("/default/triage", BODY, {}, 401, "missing or wrong", id="no signature"),
        pytest.param("/default/triage", BODY, signed(b"x"), 401, "missing or wrong", id="another signature"),
        pytest.param("/default/Triage%2F..", BODY, signed(), 404, "", id="a name that none can have"),
        pytest.param("/default/other", BODY, signed(), 404, "no DSPyCompilationTrigger other", id="no such trigger"),
        pytest.param("/default", BODY, signed(), 404, "", id="another path"),
        pytest.param("/default/triage", io.BytesIO(bytes(10 * MOST_BYTES)), {}, 413, "", id="ten megabytes"),
    ],
)
def test_other_requests_are_refused_and_write_nothing(
    path: str, body: Any, headers: dict[str, str], wanted: int, says: str
) -> None:
    found = cluster()
    status, text = asyncio.run(_sent(found, path, body, headers))
    assert status == wanted
    assert says in text
    assert asked(found) == []


def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    found = cluster()
    status, _ = asyncio.run(_sent(found, "/default/triage", _slowly(), signed()))
    assert status == 408


def test_a_body_without_a_length_is_read_only_up_to_the_limit() -> None:
    found = cluster()
    try:
        status, _ = asyncio.run(_sent(found, "/default/triage", _endless(), signed()))
    except aiohttp.ClientError:
        status = 413  # the server has closed the connection while the client was still sending
    assert status in (408, 413)
    assert asked(found) == []


def test_a_trigger_that_does_not_watch_git_is_not_asked() -> None:
    found = cluster(git=None)
    del found.of(TRIGGERS)[0]["spec"]["git"]
    status, _ = asyncio.run(_sent(found, "/default/triage", BODY, signed()))
    assert status == 404


def test_a_cluster_that_fails_makes_the_sender_try_again() -> None:
    class Away(FakeCluster):
        async def get(self, *_: Any, **__: Any) -> Any:
            raise errors.Unavailable("503")

    status, _ = asyncio.run(_sent(Away(), "/default/triage", BODY, signed()))
    assert status == 503


def test_keys_are_the_files_of_a_mounted_secret_and_short_ones_do_not_count(tmp_path: Path) -> None:
    hidden = tmp_path / "..data"
    hidden.mkdir()
    for name, key in (("new", KEY + b"\n"), ("short", b"secret")):
        (hidden / name).write_bytes(key)
        (tmp_path / name).symlink_to(hidden / name)
    assert read_keys(tmp_path) == [KEY]
