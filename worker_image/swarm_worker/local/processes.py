"""Runs plan and work as subprocesses, and reads their output."""

import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from swarm_engine import attempts as engine
from swarm_wire import names
from swarm_wire.messages import Commit
from swarm_wire.names import ExitCode, WorkerReason, api_key_env, url_options_env
from swarm_wire.pod_output import Reader, Transcript, parse_commit
from swarm_wire.records import Record
from swarm_wire.spec.data import SETS
from swarm_worker.hash_seed import VARIABLE, hash_seed
from swarm_worker.local.documents import Manifest
from swarm_worker.local.folder import JournalFolder
from swarm_worker.local.launcher import Launched, Launcher
from swarm_worker.local.log_tail import following

GRACE_SECONDS = 10
"""How long cells in flight may continue after Ctrl-C."""
_NOT_GIVEN = frozenset(map(url_options_env, SETS)) | {names.ENV_WEIGHTS_OPTIONS}
"""Variables with credentials that only the driver itself needs."""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        exit_code: the process's exit code; negative if a signal ended the process.
        commit: its commit record; None if it wrote none with its own nonce.
        complete: whether all records that the commit record counts were read.
    """

    exit_code: int
    commit: Commit | None
    transcript: Transcript
    complete: bool

    @property
    def reason(self) -> str:
        return (self.commit and self.commit.reason) or WorkerReason.WORKER_FAILED

    @property
    def message(self) -> str:
        if self.commit and self.commit.message:
            return self.commit.message
        if self.exit_code < 0:
            return f"the process was ended by {signal.Signals(-self.exit_code).name}"
        return f"the process ended with exit code {self.exit_code}"

    @property
    def is_terminal(self) -> bool:
        return self.exit_code in names.TERMINAL_EXITS

    @property
    def is_refused(self) -> bool:
        """Whether the process ended because its allowance did not cover an LM call."""
        return self.reason == WorkerReason.ALLOWANCE_SPENT

    @property
    def for_engine(self) -> engine.Ended:
        """Returns the same facts for `swarm_engine`.

        They also say whether a cell may have caused the end, by a timeout or by killing the process.
        """
        if self.commit is not None:
            is_by_cell = self.commit.reason == WorkerReason.CELL_TIMEOUT
        else:
            is_by_cell = self.exit_code != ExitCode.DONE
        how = f"{self.reason}: {self.message}"
        return engine.Ended(
            self.exit_code != ExitCode.INTERRUPTED, how if is_by_cell else "", self.is_refused, self.is_done
        )

    @property
    def is_done(self) -> bool:
        return self.exit_code == ExitCode.DONE and self.complete


def _weights(folder: JournalFolder, manifest: Manifest) -> str:
    """Returns where trained weights go. A laptop has no claims."""
    trainer = manifest.spec.trainer
    url = trainer.output.url if trainer is not None else None
    return url or folder.models.resolve().as_uri()


class Processes:
    """Starts processes of one run, and ends them all together.

    Args:
        logged: receives a process's label, and each line that the process logs, while the process runs.
    """

    def __init__(
        self, folder: JournalFolder, manifest: Manifest, logged: Callable[[str, str], None] | None = None
    ) -> None:
        self._folder, self._logged = folder, logged
        self._running: set[Launched] = set()
        self._lock = threading.RLock()  # a signal handler calls `stop`, so the lock is reentrant
        self._stopped = False
        base = str(manifest.folder.resolve())
        self._launcher = Launcher([str(Path.cwd()), base] if manifest.spec.program.source is None else [])
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in _NOT_GIVEN},
            **{api_key_env(role): key for role, key in manifest.keys.items()},
            **manifest.variables,
            VARIABLE: str(hash_seed()),
            names.ENV_RUN_DIR: str(folder.root),
            names.ENV_SOURCES_DIR: str(folder.sources),
            names.ENV_SNAPSHOT_DIR: str(folder.snapshot),
            names.ENV_DATA_DIR: str(folder.data),
            names.ENV_UNPACKED_DIR: str(folder.unpacked.resolve()),
            names.ENV_BASE_DIR: base,
            names.ENV_JOURNAL_DIR: str(folder.journal),
            names.ENV_EARLIER_DIR: str(folder.earlier.root),
            names.ENV_GRACE_SECONDS: str(GRACE_SECONDS),
            names.ENV_WEIGHTS: _weights(folder, manifest),
        }

    def run(self, command: str, label: str, extra: Mapping[str, str], on_record: Callable[[Record], None]) -> Ended:
        """Runs one process to its end, and passes on its records as they arrive.

        Args:
            command: "plan", "work" or "train".
            label: name of the process's log file, without ".log".
            extra: additional environment variables.
            on_record: receives each record, in the calling thread.
        """
        nonce = secrets.token_hex(8)
        reader = Reader(nonce)
        with tempfile.TemporaryDirectory() as scratch:
            termination = Path(scratch) / "termination"
            environment = {**self._environment, **extra}
            environment |= {names.ENV_NONCE: nonce, names.ENV_TERMINATION_LOG: str(termination)}
            log = self._folder.logs / f"{label}.log"
            with following(log, partial(self._logged, label)) if self._logged else nullcontext():
                process = self._start(command, environment, log)
                if process is None:
                    return Ended(ExitCode.INTERRUPTED, None, reader.transcript(), False)
                with process.output as output:
                    for line in output:
                        if (record := reader.feed(line.decode("ascii", "replace"))) is not None:
                            on_record(record)
                process.wait()
            with self._lock:
                self._running.discard(process)
                code = process.reap()
            text = termination.read_text(encoding="ascii") if termination.exists() else None
        commit, transcript = parse_commit(text, nonce), reader.transcript()
        return Ended(code, commit, transcript, transcript.complete(commit))

    def _start(self, command: str, environment: dict[str, str], log: Path) -> Launched | None:
        with self._lock:
            if self._stopped:
                return None
            process = self._launcher.start(command, environment, log)
            self._running.add(process)
            if self._stopped:
                process.terminate()
            return process

    @property
    def is_stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Sends SIGTERM to every running process. Starts no process any more."""
        with self._lock:
            self._stopped = True
            self.interrupt()

    def interrupt(self) -> None:
        """Sends SIGTERM to every running process."""
        with self._lock:
            for process in self._running:
                process.terminate()
