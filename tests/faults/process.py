"""Runs the operator as a process of this machine, and restarts it, as a kubelet does, if it ends or its liveness probe
fails.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Self

from support.compiles import ROOT
from testbed.shell import free_port

OUR_FAULT = "a fault of ours"
"""The operator logs these words with an unexpected exception."""

GRACE, PERIOD, FAILURES = 20.0, 10.0, 3
"""Seconds before the first probe, seconds between probes, and failed probes in a row that end the operator.

The chart's probes are slower.
"""


def kubeconfig(file: Path, url: str, token: str) -> Path:
    """Writes a kubeconfig with one API server and one token, and returns its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": url}}],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "operator"}}],
        "current-context": "proxy",
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


class Operator:
    """The operator's process, which runs again whenever it ends.

    Args:
        config: the operator's kubeconfig.
        folder: the folder of its log.
        settings: values for fields of `swarm_operator.settings`.

    Attributes:
        exits: holds the exit codes of processes that ended without a test's doing.
        starts: counts the started processes.
        is_probed: if true, a failed liveness probe ends the process. On a disconnected node, a failed probe ends
            nothing.
    """

    def __init__(self, config: Path, folder: Path, **settings: object) -> None:
        self._module = "swarm_operator"
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "operator", ROOT / "worker_image", ROOT / "tests"))),
            "KUBECONFIG": str(config),
            **{f"SWARM_OPERATOR_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._port = free_port()
        self._environment["SWARM_OPERATOR_LIVENESS_PORT"] = str(self._port)
        self._log_file = folder / "operator.log"
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._wanted = threading.Event()
        self._killed = False
        self.exits: list[int] = []
        self.starts = 0
        self.is_probed = True

    def __enter__(self) -> Self:
        self._log = self._log_file.open("ab")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._wanted.is_set():
            self.halt(signal.SIGKILL)
        if self._log:
            self._log.close()

    @contextmanager
    def prepared(self) -> Iterator[Self]:
        """Yields this operator, which runs once a test calls its `start`."""
        self._log = self._log_file.open("ab")
        try:
            yield self
        finally:
            self.__exit__()

    def twin(self, folder: Path, module: str = "swarm_operator", environment: Mapping[str, str] | None = None) -> Self:
        """Returns another operator with the same settings. It is not started.

        Args:
            module: the module that Python runs as the operator.
            environment: additional environment variables.
        """
        made = type(self)(Path(self._environment["KUBECONFIG"]), folder)
        port = {"SWARM_OPERATOR_LIVENESS_PORT": str(made._port)}
        made._module, made._environment = module, {**self._environment, **port, **(environment or {})}
        return made

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def peak_mebibytes(self) -> float:
        """Returns the peak memory of the current process."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))

    def start(self) -> None:
        """Starts the operator, and keeps it running."""
        self._wanted.set()
        self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def kill(self) -> None:
        """Kills the process with SIGKILL. A new process starts."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._killed = True
        self._process.send_signal(number)

    def halt(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process, and starts no new process. Returns the exit code."""
        assert self._process is not None
        assert self._keeper is not None
        self._wanted.clear()
        self.send(signal.SIGCONT)
        self.send(number)
        self._keeper.join(60)
        assert not self._keeper.is_alive(), f"it does not end on {number.name}: {self.log[-2000:]}"
        return self._process.returncode

    def _start(self) -> None:
        self._killed = False
        self.starts += 1
        command = [sys.executable, "-m", self._module]
        self._process = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)

    def _keep(self) -> None:
        while True:
            code = self._life()
            if not self._killed:
                self.exits.append(code)
            if not self._wanted.is_set():
                return
            self._start()

    def _life(self) -> int:
        """Waits until the current process has ended, and returns its exit code."""
        assert self._process is not None
        failures, due = 0, time.monotonic() + GRACE
        while True:
            try:
                return self._process.wait(0.2)
            except subprocess.TimeoutExpired:
                if time.monotonic() < due:
                    continue
            due = time.monotonic() + PERIOD
            failures = 0 if not self.is_probed or self._is_alive() else failures + 1
            if failures == FAILURES:
                self._process.kill()

    def _is_alive(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
