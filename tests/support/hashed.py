"""A provider that derives its answer from a hash of the request, so any difference in a prompt changes the answer.

The provider keeps to the requested form (adapters, types, tools, code). It takes its words from the request, so an
answer is sometimes right. It runs in threads of the process that starts it.
"""

import ast
import hashlib
import json
import random
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from simulated_provider import agents, formats, prompts
from simulated_provider.prompts import Prompt, Schema

COUNTED = ("model", "messages", "temperature", "top_p", "response_format", "tools")
"""The parameters of a request that determine its answer."""
LONG = re.compile(r"reason|thought|rationale|instruction|observation|summary|discussion|rules|feedback|response")


class Request(NamedTuple):
    """The parts of a request that determine its answer."""

    model: str
    digest: str


@dataclass
class Requests:
    """The requests that the provider has recorded."""

    seen: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: Request) -> None:
        with self.lock:
            self.seen.append(request)


@dataclass(frozen=True)
class HashedProvider:
    """The running provider.

    Attributes:
        url: the base URL of its API.
    """

    url: str
    requests: Requests

    @contextmanager
    def counted(self) -> Iterator[list[Request]]:
        """Yields a list that at the end of the block holds the requests made within it."""
        begin, found = len(self.requests.seen), list[Request]()
        yield found
        found.extend(self.requests.seen[begin:])


@contextmanager
def hashed_provider() -> Iterator[HashedProvider]:
    requests = Requests()

    class Handler(_Handler):
        asked = requests

    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield HashedProvider(f"http://127.0.0.1:{server.server_port}/v1", requests)
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores the error if the client has left, for example because its process has ended. Any other error is our
        fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two packets. With Nagle's algorithm, the second would wait until the first is acknowledged.
    disable_nagle_algorithm = True
    asked: Requests

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        digest = hashlib.sha256(json.dumps({key: body.get(key) for key in COUNTED}).encode()).hexdigest()
        self.asked.add(Request(body["model"], digest))
        answer = embeddings(body) if self.path.endswith("/embeddings") else completion(body, digest)
        text, kind = json.dumps(answer), "application/json"
        if body.get("stream"):
            text, kind = streamed(answer), "text/event-stream"
        self._send(text.encode(), kind)

    def _send(self, text: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]

    def vector(text: str) -> list[float]:
        return [(byte - 128) / 128 for byte in hashlib.sha256(text.encode()).digest()]

    data = [{"object": "embedding", "index": n, "embedding": vector(text)} for n, text in enumerate(inputs)]
    return {"object": "list", "model": body["model"], "usage": {"prompt_tokens": 1, "total_tokens": 1}, "data": data}


def streamed(answer: Mapping[str, Any]) -> str:
    """Returns a completion as server-sent events, word by word."""

    def event(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {**answer, "object": "chat.completion.chunk", "choices": [choice], "usage": None, **more}
        return f"data: {json.dumps(chunk)}\n\n"

    words = re.findall(r"\S+\s*", answer["choices"][0]["message"]["content"])
    first = event({"role": "assistant", "content": ""})
    last = event({}, "stop") + event({}, choices=[], usage=answer["usage"])
    return f"{first}{''.join(event({'content': word}) for word in words)}{last}data: [DONE]\n\n"


def completion(body: Mapping[str, Any], digest: str) -> dict[str, Any]:
    prompt = prompts.parse(body["messages"], body.get("response_format"))
    choices = []
    for index in range(body.get("n") or 1):
        draw = random.Random(f"{digest} {index}")
        message: dict[str, Any] = {"role": "assistant", "content": _Writer(prompt, draw).answer()}
        if body.get("tools"):
            message["tool_calls"] = [_native_call(prompt, draw, body["tools"])]
        choices.append({"index": index, "message": message, "finish_reason": "stop"})
    read, written = len(json.dumps(body["messages"])) // 4, len(json.dumps(choices)) // 4
    return {
        "id": digest[:12],
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": choices,
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def _native_call(prompt: Prompt, draw: random.Random, tools: Sequence[Any]) -> dict[str, Any]:
    # The tool that ends an agent is as likely as all other tools together, so agents end soon.
    last = [tool for tool in tools if tool["function"]["name"] == "submit"]
    function = draw.choice(last if last and draw.random() < 0.5 else tools)["function"]
    parameters = function.get("parameters") or {}
    arguments = _Writer(prompt, draw).value("arguments", {"type": "object", "properties": {}, **parameters}, {})
    return {
        "id": f"call_{draw.randrange(10**6)}",
        "type": "function",
        "function": {"name": function["name"], "arguments": json.dumps(arguments)},
    }


@dataclass(frozen=True)
class _Writer:
    prompt: Prompt
    draw: random.Random

    def answer(self) -> str:
        task = self.prompt.task
        values = {part.name: self.value(part.name, part.schema, part.schema) for part in task.outputs}
        if {agents.TOOL, agents.ARGUMENTS} <= set(values):
            schemas = agents.parameters(self.prompt, values[agents.TOOL])
            values[agents.ARGUMENTS] = {name: self.value(name, schema, schema) for name, schema in schemas.items()}
        for value in values.values():
            if isinstance(value, dict) and "tool_calls" in value:
                value["tool_calls"] = [self._call() for _ in value["tool_calls"]]
        return formats.render(task, values)

    def _call(self) -> dict[str, Any]:
        """Returns a call of one of the tools that the prompt describes."""
        told = re.findall(
            r"\b(\w+), whose description is.*?It takes arguments (\{.*?\})\.", self.prompt.text, re.DOTALL
        )
        name, parameters = self.draw.choice(told or [("nothing", "{}")])
        schemas = ast.literal_eval(parameters)
        return {"name": name, "args": {key: self.value(key, schema, schema) for key, schema in schemas.items()}}

    def value(self, name: str, schema: Schema, whole: Schema) -> Any:
        """Returns a value for `schema`, which is a part of `whole`."""
        if "$ref" in schema:
            found: Any = whole
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            return self.value(name, found, whole)
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return self.value(name, self.draw.choice(schema[key]), whole)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.draw.choice(schema["enum"])
        match schema.get("type", "object" if "properties" in schema else "string"):
            case "boolean":
                return self.draw.random() < 0.5
            case "integer":
                return self.draw.randint(int(schema.get("minimum", 0)), int(schema.get("maximum", 9)))
            case "number":
                return round(self.draw.uniform(schema.get("minimum", 0), schema.get("maximum", 1)), 2)
            case "null":
                return None
            case "array":
                count = self.draw.randint(1, 3)
                return [self.value(name, schema.get("items") or prompts.TEXT, whole) for _ in range(count)]
            case "object" if "properties" in schema:
                return {key: self.value(key, part, whole) for key, part in schema["properties"].items()}
            case "object":
                values = schema.get("additionalProperties")
                kind = values if isinstance(values, Mapping) else prompts.TEXT
                return {key: self.value(key, kind, whole) for key in self._keys()}
        return self._text(name)

    def _text(self, name: str) -> str:
        if "code" in name:
            return self._code()
        words = re.findall(r"[A-Za-z0-9']+", self.prompt.text)[-60:] or ["nothing"]
        count = self.draw.randint(5, 12) if LONG.search(name) else self.draw.randint(1, 3)
        return " ".join(self.draw.choice(words) for _ in range(count))

    def _keys(self) -> list[str]:
        """Returns keys for a mapping whose type does not name them: the last list of names among the inputs."""
        for value in reversed(list(self.prompt.query.values())):
            try:
                names = json.loads(value)
            except ValueError:
                names = re.findall(r"^\[\d+\] «(.*)»$", value, re.MULTILINE)
            if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
                return names
        return ["value"]

    def _code(self) -> str:
        number = self.draw.randrange(10)
        lines = [
            f"print({number} + 1)",
            f"SUBMIT(answer='{number}')",
            f"SUBMIT({{'answer': '{number}'}})",
            f"total = sum(range({number}))\nprint(total)",
            f"print(missing_{number})",
        ]
        return f"```python\n{self.draw.choice(lines)}\n```"
