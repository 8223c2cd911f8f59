"""The HTTP server: the chat completions API, its faults, and the admin endpoints."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from secrets import token_hex
from typing import Any, TextIO

from aiohttp import web

from simulated_provider import chance
from simulated_provider.answers import answer
from simulated_provider.brain import Model
from simulated_provider.errors import ApiError
from simulated_provider.faults import FaultError, Faults, Latency, RateLimit, spoil
from simulated_provider.finetuning import FineTuning
from simulated_provider.formats import render
from simulated_provider.knowledge import Corpus, Memory
from simulated_provider.prompts import PromptError, parse

CREATED = 1_700_000_000
"""The time in every answer and model. It is constant, because no answer may depend on the real time."""

KEPT_REQUESTS = 100_000
"""Number of entries that the request log keeps in memory."""

_MATTERS = ("model", "messages", "temperature", "top_p", "response_format", "seed")


@dataclass(frozen=True)
class Settings:
    """The provider's settings: the seed of all chance, the models (name -> capability), knowledge and API keys."""

    seed: int = 0
    models: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"small": 0.25, "large": 0.85})
    corpus: Corpus = dataclasses.field(default_factory=Corpus)
    api_keys: frozenset[str] = frozenset()
    """Accepted API keys. If there are none, the provider asks for no key."""


class Provider:
    """Serves the provider's endpoints. `log` gets a JSON line for each finished request."""

    def __init__(self, settings: Settings, faults: Faults | None = None, log: TextIO | None = None) -> None:
        self._settings = settings
        self._models = dict[str, Model]()
        self._add(settings.models)
        self._tuning = FineTuning(self._models, self._authorize)
        self._first_faults = faults or Faults()
        self._log = log
        self._in_flight = self._peak = 0
        self._set(self._first_faults)
        self._clear()

    def app(self) -> web.Application:
        """Returns the web application of the provider."""
        app = web.Application(client_max_size=512 * 2**20, middlewares=[_errors])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/v1/models/{name}", self._show)
        self._tuning.add_to(app)
        app.router.add_get("/healthz", _healthy)
        app.router.add_get("/admin/faults", self._get_faults)
        app.router.add_put("/admin/faults", self._put_faults)
        app.router.add_put("/admin/models", self._put_models)
        app.router.add_get("/admin/stats", self._stats)
        app.router.add_get("/admin/requests", self._requests)
        app.router.add_post("/admin/reset", self._reset)
        return app

    # --- the public API -------------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.Response:
        started = time.monotonic()
        entry: dict[str, Any] = {"time": round(time.time(), 3), "model": None, "digest": None, "status": 499}
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)
        try:
            response = await self._complete(request, entry)
            entry["status"] = response.status
            return response
        except ApiError as error:
            entry["status"] = error.status
            raise
        finally:
            self._in_flight -= 1
            self._finished(entry, time.monotonic() - started)

    async def _complete(self, request: web.Request, entry: dict[str, Any]) -> web.Response:
        self._authorize(request)
        body = await _json(request)
        asked = _Asked.of(body)
        entry["model"] = asked.model
        model = self._model(asked.model)
        digest = chance.digest(json.dumps({key: body[key] for key in _MATTERS if key in body}, sort_keys=True))
        entry["digest"] = digest
        if self._limit and (wait := self._limit.wait(time.monotonic())):
            raise _too_many(wait)
        self._attempts[digest] += 1
        faults, seed = self._faults, self._settings.seed
        fate = faults.fate(seed, digest, self._attempts[digest], asked.text)
        if fate == "hang":
            await asyncio.Event().wait()
        latency = Latency.parse(faults.latency).draw(seed, digest)
        if latency:
            await asyncio.sleep(latency)
        if fate == "error":
            raise ApiError(
                faults.error_status, "The server had an error while processing your request.", "server_error"
            )
        completion = self._completion(model, asked, digest, faults)
        self._tokens.update({key: completion["usage"][key] for key in ("prompt_tokens", "completion_tokens")})
        return web.json_response(completion)

    def _completion(self, model: Model, asked: _Asked, digest: str, faults: Faults) -> dict[str, Any]:
        prompt = parse(asked.messages, asked.response_format)
        whim = (token_hex(8),) if faults.random else ()
        before = self._answered[digest] if faults.varied and asked.varies else 0
        choices, written = [], 0
        for index in range(asked.n):
            text = render(prompt.task, answer(model, prompt, (asked.temperature, asked.seed, before + index, *whim)))
            if faults.malformed(self._settings.seed, digest):
                text = spoil(text)
            text, finish = _cut(text, asked.max_tokens)
            written += _tokens(text)
            choices.append(
                {
                    "index": index,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": finish,
                }
            )
        read = 3 + sum(4 + _tokens(message) for message in asked.text.split("\x00"))
        return {
            "id": f"chatcmpl-{digest}",
            "object": "chat.completion",
            "created": CREATED,
            "model": model.name,
            "choices": choices,
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }

    async def _list(self, request: web.Request) -> web.Response:
        self._authorize(request)
        self._tuning.refresh()
        return web.json_response({"object": "list", "data": [_described(name) for name in self._models]})

    async def _show(self, request: web.Request) -> web.Response:
        self._authorize(request)
        name = self._model(request.match_info["name"]).name
        return web.json_response(_described(name) | self._tuning.retirement)

    def _model(self, name: str) -> Model:
        self._tuning.refresh()
        if name not in self._models:
            message = f"The model `{name}` does not exist or you do not have access to it."
            raise ApiError(404, message, code="model_not_found", param="model")
        return self._models[name]

    def _authorize(self, request: web.Request) -> None:
        if not self._settings.api_keys:
            return
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or key.strip() not in self._settings.api_keys:
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")

    # --- the admin endpoints --------------------------------------------------------------------------------------

    def _add(self, models: Mapping[str, float]) -> None:
        for name, capability in models.items():
            memory = Memory(self._settings.corpus, capability, self._settings.seed)
            self._models[name] = Model(name, capability, memory)

    async def _put_models(self, request: web.Request) -> web.Response:
        """Adds models, or replaces those of the same names. The body has their capabilities by name."""
        given = await _json(request)
        if not all(isinstance(each, int | float) and 0 <= each <= 1 for each in given.values()):
            raise ApiError(400, 'Write the capability of each model, from 0 to 1: {"small-2": 0.5}')
        self._add(given)
        return await self._list(request)

    async def _get_faults(self, request: web.Request) -> web.Response:
        return web.json_response(dataclasses.asdict(self._faults))

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            self._set(Faults.of(await _json(request)))
        except FaultError as error:
            raise ApiError(400, str(error)) from error
        return await self._get_faults(request)

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": self._sequence,
                "in_flight": self._in_flight,
                "peak_in_flight": self._peak,
                "distinct": len(self._attempts),
                "answered_again": sum(count - 1 for count in self._answered.values()),
                "by_status": {str(status): count for status, count in sorted(self._statuses.items())},
                "by_model": dict(self._by_model),
                **self._tokens,
            }
        )

    async def _requests(self, request: web.Request) -> web.Response:
        try:
            after = int(request.query.get("after", "0"))
        except ValueError as error:
            raise ApiError(400, "'after' must be a sequence number.", param="after") from error
        first = self._entries[0]["sequence"] if self._entries else 1
        return web.json_response({"requests": list(islice(self._entries, max(0, after + 1 - first), None))})

    async def _reset(self, request: web.Request) -> web.Response:
        self._set(self._first_faults)
        self._clear()
        return web.json_response({"reset": True})

    # --- state: answers depend on it only in the mode `varied` ----------------------------------------------------

    def _set(self, faults: Faults) -> None:
        self._faults = faults
        self._limit = RateLimit(faults.rpm, faults.burst) if faults.rpm else None

    def _clear(self) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=KEPT_REQUESTS)
        self._attempts: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._by_model: Counter[str] = Counter()
        self._tokens = Counter({"prompt_tokens": 0, "completion_tokens": 0})
        self._sequence = 0
        self._peak = self._in_flight

    def _finished(self, entry: dict[str, Any], latency: float) -> None:
        self._sequence += 1
        entry = {"sequence": self._sequence, **entry, "latency": round(latency, 4)}
        self._entries.append(entry)
        self._statuses[entry["status"]] += 1
        if entry["model"]:
            self._by_model[entry["model"]] += 1
        if entry["status"] == 200:
            self._answered[entry["digest"]] += 1
        if self._log:
            self._log.write(json.dumps(entry) + "\n")
            self._log.flush()


@dataclass(frozen=True)
class _Asked:
    """A request whose body is valid."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    n: int
    temperature: float
    max_tokens: int | None
    response_format: Mapping[str, Any] | None
    seed: int | None
    varies: bool
    """Whether a real model would answer an equal request differently: the request has a temperature and no seed."""

    @classmethod
    def of(cls, body: Any) -> _Asked:
        if not isinstance(body, dict):
            raise ApiError(400, "The body must be a JSON object.")
        if body.get("stream"):
            raise ApiError(400, "This provider does not stream.", param="stream", code="unsupported_value")
        messages = _checked(body, "messages", list, None)
        if not messages or not all(isinstance(message, dict) for message in messages):
            raise ApiError(400, "'messages' must be a list of at least one message.", param="messages")
        limit = _checked(body, "max_completion_tokens", int, None) or _checked(body, "max_tokens", int, None)
        n = _checked(body, "n", int, 1)
        temperature = _checked(body, "temperature", (int, float), 1.0)
        for name, value, low, high in (
            ("n", n, 1, 128),
            ("temperature", temperature, 0, 2),
            ("max_tokens", limit, 1, None),
        ):
            if value is not None and (value < low or (high is not None and value > high)):
                raise ApiError(400, f"'{name}' is out of range.", param=name)
        return cls(
            _checked(body, "model", str, ""),
            messages,
            n,
            float(temperature),
            limit,
            _checked(body, "response_format", dict, None),
            _checked(body, "seed", int, None),
            bool(body.get("temperature")) and body.get("seed") is None,
        )

    @property
    def text(self) -> str:
        """Returns the contents of all messages, separated by NUL."""
        return "\x00".join(
            content if isinstance(content := message.get("content"), str) else json.dumps(content)
            for message in self.messages
        )


def _checked(body: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ApiError(400, f"Invalid type for '{name}'.", param=name, code="invalid_type")
    return value


def _too_many(wait: float) -> ApiError:
    headers = {"Retry-After": str(math.ceil(wait)), "retry-after-ms": str(math.ceil(wait * 1000))}
    message = f"Rate limit reached. Please try again in {wait:.3f}s."
    return ApiError(429, message, "requests", code="rate_limit_exceeded", headers=headers)


def _described(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "simulated"}


def _tokens(text: str) -> int:
    """Returns roughly the number of tokens that a tokenizer would count."""
    return -(-len(text) // 4)


def _cut(text: str, max_tokens: int | None) -> tuple[str, str]:
    if max_tokens is None or _tokens(text) <= max_tokens:
        return text, "stop"
    return text[: 4 * max_tokens], "length"


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise ApiError(400, "The body is not valid JSON.") from error


async def _healthy(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except ApiError as error:
        return web.json_response(error.body, status=error.status, headers=error.headers)
    except PromptError as error:
        return web.json_response(ApiError(400, str(error), param="messages").body, status=400)
    except web.HTTPException as error:
        message = f"{request.method} {request.path}: {error.reason}"
        return web.json_response(ApiError(error.status, message).body, status=error.status)
