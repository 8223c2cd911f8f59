"""A look lists the provider's models that fit a pattern, or says why it cannot."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from simulated_provider.testing import running_provider
from swarm_wire.looks import ModelWatch
from swarm_wire.spec.models import Model
from swarm_wire.spec.providers import model_list
from swarm_worker.errors import SwarmError
from swarm_worker.pod import model_list as lists
from testbed.shell import free_port

FIELD = "spec.template.spec.models.student"


def watch(base: str, pattern: str = "*", provider: str = "openai") -> ModelWatch:
    return ModelWatch(field=FIELD, role="student", provider=provider, base=base, pattern=pattern)


@contextmanager
def answering(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Runs a server that gives these answers, one after the other, and keeps giving the last. Yields its URL, and path
    and headers of each request.
    """
    left, asked = [*answers], list[tuple[str, dict[str, str]]]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, body = left.pop(0) if len(left) > 1 else left[0]
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", "http://127.0.0.1:9/models")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PAUSES", (0.0, 0.0))


def of(*ids: object, **more: Any) -> dict[str, Any]:
    return {"data": [{"id": each} for each in ids], **more}


def test_the_models_of_a_provider_that_fit_are_listed() -> None:
    with running_provider(port=free_port(), model={"small": 0.2, "small-2": 0.5, "large": 0.9}) as provider:
        assert lists.listed(watch(provider.url, "small*"), "key") == ["openai/small", "openai/small-2"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        pytest.param(of("b", "a", "b"), ["openai/a", "openai/b"], id="sorted, each once"),
        pytest.param([{"id": "a"}], ["openai/a"], id="a bare list, as Together has"),
        pytest.param(of("models/a"), ["openai/a"], id="in a folder, as Gemini has"),
        pytest.param(of("x-ai/a:free"), ["openai/x-ai/a:free"], id="with a vendor, as OpenRouter has"),
        pytest.param(of("a b", "../a", "a" * 97, 5, "ok"), ["openai/ok"], id="names of another form are passed over"),
        pytest.param(of("a", has_more=True, last_id="a"), ["openai/a"], id="with pages that only Anthropic has"),
    ],
)
def test_a_list_is_read_as_providers_write_it(body: Any, found: list[str]) -> None:
    with answering((200, body)) as (url, _):
        assert lists.listed(watch(url), "") == found


def test_anthropics_list_has_pages_and_another_header() -> None:
    pages = (200, of("claude-1", has_more=True, last_id="claude-1")), (200, of("claude-2", has_more=False))
    with answering(*pages) as (url, asked):
        found = lists.listed(watch(url, provider="anthropic"), "secret")
    assert found == ["anthropic/claude-1", "anthropic/claude-2"]
    assert [path for path, _ in asked] == ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=claude-1"]
    assert asked[0][1]["x-api-key"] == "secret"
    assert "authorization" not in asked[0][1]


def test_a_passing_failure_is_tried_again() -> None:
    with answering((503, b"busy"), (200, of("a"))) as (url, asked):
        assert lists.listed(watch(url), "secret") == ["openai/a"]
    assert [headers["authorization"] for _, headers in asked] == ["Bearer secret"] * 2


@pytest.mark.parametrize(
    ("status", "body", "reason", "says"),
    [
        (401, b'{"error": "no such key"}', "CredentialsRejected", "refuses the API key of " + FIELD),
        (404, b"not found", "RequestRefused", "it answers 404 not found. Correct " + FIELD + ".endpoint"),
        (302, b"", "RequestRefused", "it answers 302"),
        (200, b"<html>", "RequestRefused", "it does not answer with JSON"),
        (200, b'{"models": []}', "RequestRefused", "it answers something else"),
        (200, b'{"data": []}', "ProviderFailed", "lists no models"),
        (500, b"down", "ProviderFailed", "does not list its models: 500 down"),
        (200, json.dumps(of(*(f"m{n}" for n in range(51)))).encode(), "InvalidSpec", "51 models fit '*'"),
    ],
)
def test_a_look_says_why_it_has_no_list(status: int, body: bytes, reason: str, says: str) -> None:
    with answering((status, body)) as (url, _), pytest.raises(SwarmError) as failed:
        lists.listed(watch(url), "secret")
    assert failed.value.reason == reason
    assert says in str(failed.value)
    assert "secret" not in str(failed.value)


def test_a_provider_that_is_away_is_named() -> None:
    with pytest.raises(SwarmError, match=r"does not list its models: .*refused") as failed:
        lists.listed(watch(f"http://127.0.0.1:{free_port()}/v1"), "")
    assert failed.value.reason == "ProviderFailed"


@pytest.mark.parametrize(
    ("model", "endpoint", "base"),
    [
        ("openai/x", None, "https://api.openai.com/v1"),
        ("anthropic/x", None, "https://api.anthropic.com/v1"),
        ("openai/x", "http://vllm:8000/v1/", "http://vllm:8000/v1"),
        ("ollama_chat/x", "http://ollama:11434", "http://ollama:11434/v1"),
        ("anthropic/x", "https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("anthropic/x", "https://gateway/v1", "https://gateway/v1"),
        ("hosted_vllm/x", None, None),
        ("bedrock/x", "https://bedrock", None),
    ],
)
def test_a_list_is_where_the_provider_has_it(model: str, endpoint: str | None, base: str | None) -> None:
    assert model_list(Model(model=model, endpoint=endpoint)) == base
