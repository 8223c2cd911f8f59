"""The settings of docs/providers.md lead to the right requests to each provider. A server records the requests."""

import asyncio
import gc
import importlib.util
import json
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import dspy
import pytest

from support.flows import around
from support.wire_spec import a_spec
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.client.call import Request
from swarm_worker.client.permanent_errors import Refusals, check_packages, missing_package
from swarm_worker.client.prices import keep_offline
from swarm_worker.errors import BadInput
from swarm_worker.user.models import make_models, take_keys

# LiteLLM leaves connections and an event loop open, and Python warns of them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def swept() -> Iterator[None]:
    """Closes the event loop that LiteLLM leaves open. Otherwise a test of another file would fail by its warning."""
    yield
    with warnings.catch_warnings(), suppress(RuntimeError):
        warnings.simplefilter("ignore")
        asyncio.get_event_loop().close()
    asyncio.set_event_loop(None)
    gc.collect()


KEY = "sk-of-a-provider-0123"
TOKEN = "ya29.of-a-service-account"
keep_offline()
PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")


@dataclass
class Listener:
    """Holds the requests that the server received.

    Attributes:
        tokens: the tokens that Google's client sent to prove its identity.
    """

    url: str
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    tokens: list[dict[str, list[str]]] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    """A server that refuses every request, so DSPy sends none twice. At /token, it gives service accounts a token."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/token":
                heard.tokens.append(parse_qs(body.decode()))
                self.answer(200, {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
            elif self.path == "/token/refused":
                self.answer(400, {"error": "invalid_grant", "error_description": "account not found"})
            else:
                headers = {name.lower(): value for name, value in self.headers.items()}
                heard.requests.append((self.path, headers, json.loads(body)))
                self.answer(400, {"error": {"message": "no", "type": "invalid_request_error", "code": "x"}})

        def answer(self, status: int, content: dict[str, Any]) -> None:
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

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
    listener: Listener, model: str, path: str, key: str | None = KEY, **parameters: Any
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Calls a model, and returns path, headers and body of its one request."""
    listener.requests.clear()
    with pytest.raises(Exception, match="no"):
        client(model, listener.url + path, key, **parameters)("Say hello.")
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
def test_each_provider_gets_its_own_form_of_request(
    listener: Listener, model: str, base: str, parameters: dict[str, Any], path: str, header: str
) -> None:
    found, headers, body = recorded(listener, model, base, **parameters)
    assert found == path
    assert [name for name, value in headers.items() if KEY in value] == [header]
    name = model.partition("/")[2]
    assert body.get("model", name) == name
    assert_told(model, path.partition("?")[0])


def assert_told(model: str, *words: str) -> None:
    """Asserts that the row of the model's provider in docs/providers.md has these words."""
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{model.partition('/')[0]}` ")]
    for word in (model, *words):
        assert f"`{word}`" in row


# --- providers that know the caller ------------------------------------------------------------------------------

CLAUDE = "bedrock/anthropic.claude-3-haiku-20240307-v1:0"
CONVERSE = "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"
GEMINI = "vertex_ai/gemini-2.5-flash"
GENERATE = "/v1/projects/{}/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent"
NOT_HERE = "LiteLLM asks this provider with a package that is not installed here: make extras"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Removes environment variables that give this machine an identity in a cloud."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "VERTEXAI_")):
            monkeypatch.delenv(name)
    return monkeypatch


def account(listener: Listener, token: str = "/token", project: str = "accounts") -> str:
    """Writes a service account's key, as Google gives it. The key's token address is the recording server."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    who = {"type": "service_account", "client_email": f"swarm@{project}.iam.gserviceaccount.com", "client_id": "1"}
    made = {**who, "project_id": project, "private_key_id": "1", "private_key": key.decode()}
    return json.dumps({**made, "token_uri": listener.url + token})


@pytest.mark.parametrize(
    ("key", "starts"),
    [(None, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), (KEY, f"Bearer {KEY}")],
    ids=["signed", "key"],
)
def test_bedrock_gets_a_signed_request_or_a_key(
    listener: Listener, nobody: pytest.MonkeyPatch, key: str | None, starts: str
) -> None:
    pytest.importorskip("boto3", reason=NOT_HERE)
    nobody.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    nobody.setenv("AWS_SECRET_ACCESS_KEY", "of-aws")
    path, headers, body = recorded(listener, CLAUDE, "", key, region="eu-central-1")
    assert path == CONVERSE
    assert headers["authorization"].startswith(starts)
    assert ("/eu-central-1/bedrock/aws4_request" in headers["authorization"]) is (key is None)
    assert body["messages"] == [{"role": "user", "content": [{"text": "Say hello."}]}]
    assert_told(CLAUDE, CONVERSE, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "boto3")


@pytest.mark.parametrize(
    ("written", "project"), [({"more": {"vertex_project": "mine"}}, "mine"), ({}, "accounts")], ids=["spec", "account"]
)
def test_vertex_ai_gets_the_token_of_a_service_account(
    listener: Listener, nobody: pytest.MonkeyPatch, written: dict[str, Any], project: str
) -> None:
    pytest.importorskip("google.auth", reason=NOT_HERE)
    nobody.setenv("VERTEXAI_CREDENTIALS", account(listener))
    listener.tokens.clear()
    path, headers, body = recorded(listener, GEMINI, "", None, region="europe-west4", **written)
    assert [sorted(given) for given in listener.tokens] == [["assertion", "grant_type"]]
    assert path == GENERATE.format(project)
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}
    assert_told(GEMINI, GENERATE.format("P").replace("europe-west4", "REGION"), "VERTEXAI_CREDENTIALS", "google-auth")


@pytest.mark.parametrize(
    ("model", "package", "says"),
    [(CLAUDE, "boto3", "boto3"), (GEMINI, "google.auth", "google-cloud-aiplatform")],
    ids=["bedrock", "vertex_ai"],
)
def test_the_message_about_a_providers_missing_package_names_it(
    listener: Listener, nobody: pytest.MonkeyPatch, model: str, package: str, says: str
) -> None:
    nobody.setitem(sys.modules, package, None)
    with pytest.raises(Exception, match=r"boto3|Google") as raised:
        client(model, listener.url, None, region="us-east-2", more={"vertex_project": "without"})("Say hello.")
    missing = missing_package(raised.value)
    assert missing is not None
    assert says in str(missing)
    assert "spec.image" in str(missing)


@pytest.mark.parametrize(
    ("model", "package", "refused"),
    [
        (CLAUDE, "boto3", True),
        (GEMINI, "google.auth", True),
        (GEMINI, "google", True),
        (CLAUDE, "not_needed", importlib.util.find_spec("boto3") is None),
        ("groq/llama", "boto3", False),
    ],
)
def test_a_package_that_a_provider_needs_is_reported_as_missing_before_the_first_lm_call(
    monkeypatch: pytest.MonkeyPatch, model: str, package: str, refused: bool
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInput, match="takes") if refused else nullcontext():
        check_packages([dspy.LM(model, api_key="k")])


@pytest.mark.parametrize(
    ("variable", "token", "says"),
    [
        ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json", "File /nowhere.json was not found"),
        ("VERTEXAI_CREDENTIALS", "/token/refused", "account not found"),
    ],
)
def test_a_request_with_an_identity_that_google_does_not_know_is_not_repeated(
    listener: Listener, nobody: pytest.MonkeyPatch, variable: str, token: str, says: str
) -> None:
    """LiteLLM reports an unknown identity as a broken connection, and a broken connection would be repeated."""
    pytest.importorskip("google.auth", reason=NOT_HERE)
    nobody.setenv(variable, token if variable.startswith("GOOGLE") else account(listener, token, "unknown"))
    lm = client(GEMINI, listener.url, None, region="europe-west4", more={"vertex_project": variable.lower()})
    begun = Refusals(lambda key: True, lambda record: None, pauses=())
    with pytest.raises(BadInput) as ended:
        around(begun.around, Request(lm, None, 1, lambda: lm), block=lambda: lm("Say hello."))
    assert ended.value.reason == "CredentialsRejected"
    assert says in str(ended.value)
    assert "spec.env" in str(ended.value)


# --- parameters ----------------------------------------------------------------------------------------------------


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
def test_parameters_of_the_spec_are_sent_to_the_provider(
    listener: Listener, written: dict[str, Any], sent: dict[str, Any]
) -> None:
    _, _, body = recorded(listener, "openai/gpt-4o-mini", "/v1", **written)
    assert {name: body[name] for name in sent} == sent


def test_headers_of_the_spec_are_sent_to_the_provider(listener: Listener) -> None:
    _, headers, _ = recorded(listener, "openai/gpt-4o-mini", "/v1", headers={"X-Team": "search"})
    assert headers["x-team"] == "search"


@pytest.mark.parametrize(
    ("effort", "sent"),
    [({"modelType": "responses"}, {"reasoning": {"effort": "low"}}), ({}, {"reasoning_effort": "low"})],
)
def test_a_reasoning_model_gets_the_effort_of_the_spec(
    listener: Listener, effort: dict[str, Any], sent: dict[str, Any]
) -> None:
    path, _, body = recorded(listener, "openai/o3-mini", "/v1", reasoningEffort="low", **effort)
    assert path == ("/v1/responses" if effort else "/v1/chat/completions")
    assert {name: body[name] for name in sent} == sent


@pytest.mark.parametrize(("model", "argument"), [("bedrock/m", "aws_region_name"), ("vertex_ai/m", "vertex_location")])
def test_a_request_goes_to_the_region_that_the_spec_names(model: str, argument: str) -> None:
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
def test_without_an_api_key_the_identity_of_the_cloud_platform_is_used(
    model: str, endpoint: str | None, key: str | None, sent: str | None
) -> None:
    found = client(model, endpoint, key)
    assert found.kwargs.get("api_key") == sent
    assert found.kwargs.get("api_base") == endpoint


@pytest.mark.parametrize(("endpoint", "stays"), [("http://m/v1", False), (None, True)])
def test_a_gateway_of_the_environment_is_used_if_the_spec_names_no_endpoint(endpoint: str | None, stays: bool) -> None:
    student = {"model": "openai/m", **({"endpoint": endpoint} if endpoint else {})}
    environment = {"OPENAI_BASE_URL": "http://gateway"}
    take_keys(CompilationSpec.model_validate(a_spec(models={"student": student})), environment)
    assert bool(environment) is stays


def test_the_message_about_a_model_that_dspy_refuses_names_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("temperature must be 1")

    monkeypatch.setattr(dspy.LM, "__init__", refuse)
    with pytest.raises(BadInput, match=r"spec\.models\.student: dspy\.LM does not take it: temperature must be 1"):
        client("openai/o3", None)
