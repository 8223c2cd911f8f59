"""What is sent to each provider for what docs/providers.md says to write: recorded by a server that listens."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dspy
import pytest

from support.wire_spec import a_spec
from swarm_wire.spec import CompilationSpec
from swarm_worker.errors import BadInput
from swarm_worker.user.models import make_models, take_keys

# LiteLLM leaves connections and an event loop behind.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

KEY = "sk-of-a-provider-0123"
PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")


@dataclass
class Listener:
    """What came in."""

    url: str
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    """A server that refuses every request, so that none is sent twice."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard.requests.append((self.path, headers, body))
            refusal = b'{"error": {"message": "no", "type": "invalid_request_error", "code": "x"}}'
            self.send_response(400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(refusal)))
            self.end_headers()
            self.wfile.write(refusal)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    heard = Listener(f"http://127.0.0.1:{server.server_port}")
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


def client(model: str, endpoint: str | None, key: str | None = KEY, **parameters: Any) -> Any:
    student = {"model": model, "parameters": {"numRetries": 0, **parameters}}
    student |= {"endpoint": endpoint} if endpoint else {}
    spec = CompilationSpec.model_validate(a_spec(models={"student": student}))
    return make_models(spec, {"student": key} if key else {}).student


def recorded(
    listener: Listener, model: str, path: str, **parameters: Any
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Path, headers and body of the one request."""
    listener.requests.clear()
    with pytest.raises(Exception, match="no"):
        client(model, listener.url + path, **parameters)("Say hello.")
    [request] = listener.requests
    return request


PROVIDERS = [
    ("openai/gpt-4o-mini", "/v1", {}, "/v1/chat/completions", "authorization"),
    ("azure/gpt-4o-mini", "", {"apiVersion": "2024-10-21"},
     "/openai/deployments/gpt-4o-mini/chat/completions?api-version=2024-10-21", "api-key"),
    ("anthropic/claude-sonnet-4-5", "/v1", {"maxTokens": 9}, "/v1/messages", "x-api-key"),
    ("gemini/gemini-2.5-flash", "/v1beta", {}, "/v1beta/models/gemini-2.5-flash:generateContent", "x-goog-api-key"),
    ("groq/llama-3.1-8b-instant", "/openai/v1", {}, "/openai/v1/chat/completions", "authorization"),
    ("openrouter/meta-llama/llama-3.1-8b-instruct", "/api/v1", {}, "/api/v1/chat/completions", "authorization"),
    ("ollama_chat/llama3.2", "/v1", {}, "/v1/chat/completions", "authorization"),
    ("hosted_vllm/Qwen/Qwen3-8B", "/v1", {}, "/v1/chat/completions", "authorization"),
    ("mistral/mistral-small-latest", "/v1", {}, "/v1/chat/completions", "authorization"),
    ("together_ai/meta-llama/Llama-3-8b", "/v1", {}, "/v1/chat/completions", "authorization"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "base", "parameters", "path", "header"), PROVIDERS, ids=[row[0].partition("/")[0] for row in PROVIDERS]
)
def test_each_provider_gets_the_request_that_is_its_own(
    listener: Listener, model: str, base: str, parameters: dict[str, Any], path: str, header: str
) -> None:
    found, headers, body = recorded(listener, model, base, **parameters)
    assert found == path
    assert [name for name, value in headers.items() if KEY in value] == [header]
    provider, _, name = model.partition("/")
    assert body.get("model", name) == name
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{provider}` ")]
    assert f"`{model}`" in row
    assert f"`{path.partition('?')[0]}`" in row


@pytest.mark.parametrize("provider", ["vertex_ai", "bedrock"])
def test_what_was_not_checked_is_said(provider: str) -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{provider}` ")]
    assert "not checked" in row


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ({"temperature": 0.5, "topP": 0.9, "maxTokens": 9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"seed": 3, "stop": ["END"]}, {"seed": 3, "stop": ["END"]}),
        ({"presencePenalty": 1, "frequencyPenalty": -1}, {"presence_penalty": 1, "frequency_penalty": -1}),
        ({"body": {"store": False, "metadata": {"a": [1]}}}, {"store": False, "metadata": {"a": [1]}}),
        ({"more": {"service_tier": "flex"}}, {"service_tier": "flex"}),
        ({"more": {"logit_bias": {"5": 1}}}, {"logit_bias": {"5": 1}}),
    ],
    ids=lambda written: ", ".join(written),
)
def test_parameters_are_sent(listener: Listener, written: dict[str, Any], sent: dict[str, Any]) -> None:
    _, _, body = recorded(listener, "openai/gpt-4o-mini", "/v1", **written)
    assert {name: body[name] for name in sent} == sent


def test_headers_are_sent(listener: Listener) -> None:
    _, headers, _ = recorded(listener, "openai/gpt-4o-mini", "/v1", headers={"X-Team": "search"})
    assert headers["x-team"] == "search"


@pytest.mark.parametrize(
    ("effort", "sent"),
    [({"modelType": "responses"}, {"reasoning": {"effort": "low"}}), ({}, {"reasoning_effort": "low"})],
)
def test_a_reasoning_model_thinks_as_long_as_the_spec_says(
    listener: Listener, effort: dict[str, Any], sent: dict[str, Any]
) -> None:
    path, _, body = recorded(listener, "openai/o3-mini", "/v1", reasoningEffort="low", **effort)
    assert path == ("/v1/responses" if effort else "/v1/chat/completions")
    assert {name: body[name] for name in sent} == sent


@pytest.mark.parametrize(("model", "argument"), [("bedrock/m", "aws_region_name"), ("vertex_ai/m", "vertex_location")])
def test_a_region_is_the_providers(model: str, argument: str) -> None:
    assert client(model, None, None, region="eu-west-1").kwargs[argument] == "eu-west-1"


@pytest.mark.parametrize(
    ("model", "endpoint", "key", "sent"),
    [
        ("openai/m", "http://m/v1", None, "none"),
        ("openai/m", "http://m/v1", KEY, KEY),
        ("openai/m", None, None, None),
        ("openai/m", None, KEY, KEY),
        ("azure/m", "http://m", None, None),
        ("bedrock/m", "http://m", None, None),
        ("vertex_ai/m", None, None, None),
    ],
)
def test_without_a_key_the_platform_knows_who_asks(
    model: str, endpoint: str | None, key: str | None, sent: str | None
) -> None:
    found = client(model, endpoint, key)
    assert found.kwargs.get("api_key") == sent
    assert found.kwargs.get("api_base") == endpoint


@pytest.mark.parametrize(("endpoint", "stays"), [("http://m/v1", False), (None, True)])
def test_a_gateway_of_the_environment_counts_where_the_spec_names_no_endpoint(
    endpoint: str | None, stays: bool
) -> None:
    student = {"model": "openai/m", **({"endpoint": endpoint} if endpoint else {})}
    environment = {"OPENAI_BASE_URL": "http://gateway"}
    take_keys(CompilationSpec.model_validate(a_spec(models={"student": student})), environment)
    assert bool(environment) is stays


def test_what_dspy_refuses_is_told_with_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("temperature must be 1")

    monkeypatch.setattr(dspy.LM, "__init__", refuse)
    with pytest.raises(BadInput, match=r"spec\.models\.student: dspy\.LM does not take it: temperature must be 1"):
        client("openai/o3", None)
