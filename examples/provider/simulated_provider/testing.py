"""For tests: runs a provider in a process of its own, on a free port of the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

# A request to the loopback interface needs no proxy, even if the environment names one.
_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class RunningProvider:
    """A running provider. `url` ends in /v1, and `pid` is the id of its process."""

    url: str
    pid: int

    def stats(self) -> dict[str, Any]:
        """Returns requests, distinct, answered_again, by_status, by_model, in_flight, peak_in_flight, and tokens."""
        return self._admin("GET", "stats")

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """Returns the entries of the request log after number `after`, oldest first.

        Each entry has sequence, time, model, digest, status and latency.
        """
        found: list[dict[str, Any]] = self._admin("GET", f"requests?after={after}")["requests"]
        return found

    def set_faults(self, **faults: Any) -> dict[str, Any]:
        """Puts these rules in force, and resets all others to their defaults. Returns all rules.

        Raises:
            urllib.error.HTTPError: a rule is malformed.
        """
        return self._admin("PUT", "faults", faults)

    def set_tuning(self, **rules: Any) -> dict[str, Any]:
        """Puts these rules of fine-tuning in force, and resets all others. Returns rules, files and jobs."""
        return self._admin("PUT", "fine_tuning", rules)

    def tuning(self) -> dict[str, Any]:
        """Returns the rules of fine-tuning, and all files and jobs."""
        return self._admin("GET", "fine_tuning")

    def rows(self, file: str) -> list[dict[str, Any]]:
        """Returns the rows of an uploaded file."""
        text = self._asked("GET", f"{self.url}/files/{file}/content").decode()
        return [json.loads(line) for line in text.splitlines()]

    def load_adapter(self, name: str, folder: Path) -> None:
        """Has the provider load an adapter that the simulated trainer has made."""
        self._asked("POST", f"{self.url}/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def advance(self, seconds: float) -> None:
        """Sets the clock of fine-tuning ahead."""
        self._admin("POST", "clock", {"seconds": seconds})

    def reset(self) -> None:
        """Forgets all requests, and returns to the rules of the command line."""
        self._admin("POST", "reset")

    def _admin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._asked(method, f"{self.url.removesuffix('/v1')}/admin/{path}", body))
        return answer

    def _asked(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with _OPENER.open(Request(url, data=data, method=method), timeout=30) as response:
            answer: bytes = response.read()
            return answer


@contextmanager
def running_provider(**options: Any) -> Iterator[RunningProvider]:
    """Starts a provider, and stops it at the end.

    Args:
        options: options of the command line, with underscores: `seed=3`, `knowledge=path`, `latency="uniform:0.1:0.2"`,
            `model={"tiny": 0.1}`, `api_key=["k"]`, `random=True`.

    Raises:
        RuntimeError: the provider did not start; its error output says why.
    """
    command = [sys.executable, "-m", "simulated_provider", "--port", "0", *_arguments(options)]
    home = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError(f"the provider did not start: exit status {process.wait()}")
            yield RunningProvider(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _arguments(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            yield from [option] if value else []
        elif isinstance(value, Mapping):
            for key, part in value.items():
                yield from (option, f"{key}={part}")
        elif isinstance(value, list | tuple | set | frozenset):
            for part in value:
                yield from (option, str(part))
        else:
            yield from (option, str(value))
