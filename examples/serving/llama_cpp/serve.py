"""Serves a base and its fine-tunes with OpenAI's API: llama.cpp's own server, from the package xllamacpp.

    python serve.py --port 8080 --base tiny=base/model.gguf --models FOLDER

FOLDER is the output of `finetune.trainer`. As soon as FOLDER/KEY/manifest.json is there, the fine-tune answers under
the manifest's `name`. It needs a model.gguf, or an adapter.gguf, which is applied to the base. So the base's name here
must be that of `finetune.trainer.base`. Each model is a server of llama.cpp on a port of its own. This program passes
each request on to the server of its `model`.
"""

import argparse
import json
import sys
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

SECONDS = 600
"""How long an answer may take."""
WARNINGS = 2
"""llama.cpp's level of logs: warnings and errors."""


@dataclass
class Models:
    """The models that are served. It looks for new ones whenever it is asked.

    Attributes:
        base: the name and the file of the base; None: there is none.
        folder: where fine-tunes are delivered; None: there are none.
        context: tokens of one request and its answer.
        parallel: requests that one model answers at the same time.
        threads: CPU threads of one model.
    """

    base: tuple[str, Path] | None
    folder: Path | None
    context: int
    parallel: int
    threads: int
    _servers: dict[str, Any] = field(default_factory=dict)
    _seen: set[Path] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def addresses(self) -> dict[str, str]:
        """Returns the name and the address, host:port, of each model. Loads those that have been delivered since."""
        with self._lock:
            if self.base and self.base[0] not in self._servers:
                self._servers[self.base[0]] = self._start(*self.base)
            for manifest in self._new():
                self._seen.add(manifest)
                try:
                    self._load(manifest)
                except Exception as error:  # another fine-tune may still be good
                    print(f"{manifest}: not served: {error}", file=sys.stderr, flush=True)
            return {name: urlsplit(server.listening_address).netloc for name, server in self._servers.items()}

    def _new(self) -> list[Path]:
        found = sorted(self.folder.glob("*/manifest.json")) if self.folder else []
        return [path for path in found if path not in self._seen]

    def _load(self, manifest: Path) -> None:
        said = json.loads(manifest.read_text(encoding="utf-8"))
        name, base = said["name"], said["base"]["name"]
        model, adapter = manifest.with_name("model.gguf"), manifest.with_name("adapter.gguf")
        if model.is_file():
            self._servers[name] = self._start(name, model)
        elif not adapter.is_file():
            raise ValueError("it has neither model.gguf nor adapter.gguf; the trainer writes them with gguf: true")
        elif self.base is None or self.base[0] != base:
            raise ValueError(f"it is an adapter of {base}; start the server with --base {base}=FILE")
        else:
            self._servers[name] = self._start(name, self.base[1], adapter)
        print(f"serves {name}", flush=True)

    def _start(self, name: str, model: Path, adapter: Path | None = None) -> Any:
        given = xllamacpp.CommonParams()
        given.model.path = str(model)
        given.model_alias = {name}
        given.n_ctx, given.n_parallel = self.context * self.parallel, self.parallel
        given.cpuparams.n_threads = given.cpuparams_batch.n_threads = self.threads
        given.warmup = given.ui = False
        given.verbosity = WARNINGS
        if adapter:
            given.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        return xllamacpp.Server(given)


class Handler(BaseHTTPRequestHandler):
    """Answers GET /v1/models, and passes on each POST by its `model`."""

    protocol_version = "HTTP/1.1"
    models: Models

    def do_GET(self) -> None:
        """Lists the models."""
        if self.path.rstrip("/") not in ("/v1/models", "/models"):
            return self._refuse(404, f"there is no {self.path}")
        listed = [{"id": name, "object": "model", "owned_by": "llama.cpp"} for name in self.models.addresses()]
        return self._answer(200, {"object": "list", "data": listed})

    def do_POST(self) -> None:
        """Lets the server of the requested model answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            name = json.loads(body)["model"]
        except (ValueError, KeyError, TypeError):
            return self._refuse(400, "the body must be a JSON object with a model")
        address = self.models.addresses().get(name)
        if address is None:
            return self._refuse(404, f"The model {name!r} does not exist", "model_not_found")
        connection = HTTPConnection(address, timeout=SECONDS)
        try:
            connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            length = answer.headers.get("Content-Length")
            self.send_header(*("Content-Length", length) if length else ("Connection", "close"))
            self.end_headers()
            while part := answer.read1():
                self.wfile.write(part)
            return None
        finally:
            connection.close()

    def _refuse(self, status: int, message: str, code: str | None = None) -> None:
        self._answer(status, {"error": {"message": message, "type": "invalid_request_error", "code": code}})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002, the name is http.server's
        """Logs nothing: llama.cpp logs each request."""


def main() -> None:
    """Serves until it is stopped. Prints the URL as soon as the base is loaded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one (default: %(default)s)")
    parser.add_argument("--base", type=_named, metavar="NAME=FILE", help="the base's name, and its .gguf file")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="where fine-tunes are delivered")
    parser.add_argument("--context", type=int, default=4096, help="tokens of a request and its answer (%(default)s)")
    parser.add_argument("--parallel", type=int, default=4, help="requests of a model at once (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=4, help="CPU threads of a model (default: %(default)s)")
    given = parser.parse_args()
    Handler.models = Models(given.base, given.models, given.context, given.parallel, given.threads)
    Handler.models.addresses()
    with ThreadingHTTPServer((given.host, given.port), Handler) as server:
        print(f"http://{given.host}:{server.server_port}/v1", flush=True)
        server.serve_forever()


def _named(text: str) -> tuple[str, Path]:
    name, is_there, file = text.partition("=")
    if not (name and is_there and Path(file).is_file()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FILE, with a file that exists")
    return name, Path(file)


if __name__ == "__main__":
    main()
