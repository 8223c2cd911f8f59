"""The process in which a plan, worker or download runs: its output, its request, SIGTERM, and its end."""

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TextIO, cast

from pydantic import ValidationError

from swarm_wire import names
from swarm_wire.messages import RunRequest
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.pod_output import Writer, commit_text
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.problems import problems
from swarm_wire.spending import Booked, Spending
from swarm_worker.content.masking import redacted
from swarm_worker.errors import BadInput, SchemaMismatch, Stopping, SwarmError
from swarm_worker.hash_seed import hash_seed

if TYPE_CHECKING:
    from swarm_worker.journal.body_store import Sender
    from swarm_worker.provider.budget import Budget


WATCH_SECONDS = 1.0


class Workload(Protocol):
    """The work for which SIGTERM waits."""

    @property
    def is_at_work(self) -> bool:
        """Whether paid work is under way."""


class Process:
    """One plan or worker process.

    At its start, the process reserves standard output for records. The output of user code, and of programs that user
    code starts, goes to standard error. Later, `mask`, `equip` and `work_on` connect the process to the rest of the
    worker.

    Args:
        at_once: whether SIGTERM ends the process as soon as no paid work is under way. If False, SIGTERM only sets
            `stopping`.

    Attributes:
        linger_seconds: how long the process stays after SIGTERM, so that its output can be read.
        grace_seconds: how long work in flight may continue after SIGTERM.
        output_bytes: after printing this many bytes, the process begins no new work. 0 means no limit.
        hash_seed: the hash seed of all processes of the run.
        notes: messages for the run's report.
        listed: models that a look has found, for the commit record.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self._out = os.dup(1)
        os.set_inheritable(self._out, False)
        os.dup2(2, 1)
        sys.stdout = sys.stderr = cast(TextIO, _Masked(sys.stderr, self.redact))
        nonce = os.environ.pop(names.ENV_NONCE, "")
        self._writer = Writer(self._write, nonce or "no-nonce")
        self.linger_seconds = float(os.environ.pop(names.ENV_LINGER_SECONDS, "0"))
        self.grace_seconds = float(os.environ.pop(names.ENV_GRACE_SECONDS, self.linger_seconds))
        self.output_bytes = int(os.environ.pop(names.ENV_OUTPUT_BYTES, "0"))
        self.hash_seed = hash_seed()
        self._at_once = at_once
        self._printed = self._opened = 0
        self.notes: list[str] = []
        self.listed: list[str] | None = None
        self._masks: Callable[[str], str] = str
        self._sender: Sender | None = None
        self._budget: Budget | None = None
        self._work: Workload | None = None
        self._stopped_at: float | None = None
        signal.signal(signal.SIGTERM, self._stop)
        _keep_from_forks(self._stop)
        if nonce and names.ENV_ALLOWANCE in os.environ:
            # A reader that finds this record knows that the beginning of the output was not rotated away.
            self.print(Record(RecordKind.BOOKED, Booked(spent=Spending()).to_header()))
        self._opened = self._writer.count

    def mask(self, redact: Callable[[str], str]) -> None:
        """From now on, masks secrets in all texts for people, and in all that Python prints in this process."""
        self._masks = redact

    def equip(self, budget: "Budget | None", sender: "Sender | None") -> None:
        """Connects the process to its budget, and to its depot if there is one.

        Args:
            budget: limits the cost of LM calls. Once it has an error, no further result counts. None: the process
                makes no LM calls.
            sender: prints records after it has stored their bodies in the depot; None without a depot.
        """
        self._budget, self._sender = budget, sender
        if budget is not None and budget.is_limited:
            self._watch()

    def work_on(self, work: "Workload") -> None:
        """Makes SIGTERM wait for this work, because it is paid for."""
        self._work = work

    def redact(self, text: str) -> str:
        """Returns the text with its secrets masked."""
        return self._masks(text)

    @property
    def spent(self) -> Spending | None:
        """Returns the most that LM calls may have cost so far; None while they are not counted."""
        return None if self._budget is None else self._budget.spent

    @property
    def is_limited(self) -> bool:
        """Whether the process has an allowance."""
        return self._budget is not None and self._budget.is_limited

    @property
    def _error(self) -> SwarmError | None:
        """Returns why no further result counts; None if results count."""
        return None if self._budget is None else self._budget.error

    def _write(self, line: bytes) -> None:
        self._printed += len(line)
        try:
            while line:
                line = line[os.write(self._out, line) :]
        except BrokenPipeError:
            # The local driver was killed. Results that cannot be printed are lost, so the process spends no more.
            os._exit(ExitCode.FAILED)

    def _stop(self, *_: object) -> None:
        is_first, self._stopped_at = not self.stopping, self._stopped_at or time.monotonic()
        if not (self._at_once and is_first):
            return
        is_asking = self._budget is not None and self._budget.stop()
        if not (is_asking or (self._work is not None and self._work.is_at_work)):
            self.interrupt()
        # Calls under way are paid for, so the process waits for their answers and keeps them.
        late = threading.Timer(self.grace_seconds, self.interrupt)
        late.daemon = True
        late.start()

    @property
    def stopping(self) -> bool:
        """Whether the process received SIGTERM."""
        return self._stopped_at is not None

    @property
    def stopped_for(self) -> float:
        """Returns the seconds since SIGTERM."""
        return time.monotonic() - self._stopped_at if self._stopped_at else 0.0

    @property
    def is_heard(self) -> bool:
        """Whether a process still reads the output: poll reports an error for a pipe that has no reader."""
        poll = select.poll()
        poll.register(self._out, 0)
        return not any(event & select.POLLERR for _, event in poll.poll(0))

    @property
    def is_full(self) -> bool:
        """Whether another process should continue. If so, finish the work in flight, then raise OutputFull.

        The kubelet rotates a container's log, and nobody can read the part that it has rotated away.
        """
        return 0 < self.output_bytes <= self._printed

    def interrupt(self) -> NoReturn:
        """Ends the process after SIGTERM. If it has printed results, it first stays, so that they can be read."""
        if self._sender is not None:
            with contextlib.suppress(SwarmError):
                self._sender.flush()
        self._commit(ExitCode.INTERRUPTED)
        self._exit(ExitCode.INTERRUPTED)

    def _exit(self, code: int) -> NoReturn:
        if self.stopping and self._writer.count > self._opened:
            # The kubelet deletes the log of a deleted pod soon after its container ends.
            time.sleep(max(0.0, self.linger_seconds - self.stopped_for))
        os._exit(code)

    def note(self, text: str) -> None:
        """Prints a message for people, once, and keeps it for the report."""
        text = self.redact(text)
        if text not in self.notes:
            self.notes.append(text)
            print(f"note: {text}", file=sys.stderr)  # noqa: T201

    def _watch(self) -> None:
        """Starts a thread that ends the process as soon as no further result counts."""

        def look() -> NoReturn:
            while self._error is None:
                time.sleep(WATCH_SECONDS)
            self.end()

        threading.Thread(target=look, daemon=True).start()

    def put(self, record: Record) -> None:
        if self._error is not None:
            self.end()
        if self._sender is not None:
            self._sender.put(record)
        else:
            self.print(record)

    def say(self, text: str) -> None:
        """Prints a text to the log."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def print(self, record: Record) -> None:
        """Prints a record at once, with its body. Secrets in the header are masked, because people read headers."""
        self._writer.put(replace(record, header=redacted(record.header, self.redact)))

    def end(self, error: SwarmError | None = None, code: ExitCode = ExitCode.DONE) -> NoReturn:
        """Writes the commit record, and ends the process. It raises no exception, because a caller might catch it."""
        reason = message = None
        error = self._error or error
        if isinstance(error, Stopping):
            self.interrupt()
        if self._sender is not None:
            try:
                self._sender.flush()
            except SwarmError as failure:
                error = error or failure
        if error is not None:
            code, reason, message = error.exit_code, error.reason, str(error)
            print(f"{reason}: {message}", file=sys.stderr)  # noqa: T201
        self._commit(code, reason, message)
        self._exit(code)

    def _commit(self, code: ExitCode, reason: str | None = None, message: str | None = None) -> None:
        if self._budget is not None:
            self._budget.close()
        commit = self._writer.commit(code, reason, message and self.redact(message), self.spent)
        commit = commit.model_copy(update={"listed": self.listed})
        path = os.environ.get(names.ENV_TERMINATION_LOG, str(names.TERMINATION_LOG))
        with contextlib.suppress(OSError):
            Path(path).write_text(commit_text(commit), encoding="ascii")
        with contextlib.suppress(OSError, RuntimeError):  # a signal handler may have interrupted a flush
            sys.stderr.flush()

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Ends the process after the block, and reports the exception that the block raised, if any."""
        try:
            yield
        except SwarmError as error:
            self.end(error)
        except BaseException as error:
            traceback.print_exc()
            failed = SwarmError(f"{type(error).__name__}: {error}")
            self.end(failed)
        self.end()


class _Masked:
    """A text stream that masks secrets."""

    def __init__(self, stream: TextIO, redact: Callable[[str], str]) -> None:
        self._stream, self._redact = stream, redact

    def write(self, text: str) -> int:
        self._stream.write(self._redact(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _keep_from_forks(handler: Callable[..., None]) -> None:
    """Restores the default SIGTERM handler in forks that user code makes, so that they write no commit record."""
    held = threading.local()

    def before() -> None:
        # A SIGTERM during the fork waits until the child has the default handler.
        held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, held.mask)

    def after_in_child() -> None:
        if signal.getsignal(signal.SIGTERM) == handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)


def folder(variable: str, default: os.PathLike[str]) -> Path:
    """Returns a folder of the contract: the variable's value, or the path in pods if the variable is not set."""
    return Path(os.environ.get(variable) or default)


def read_request() -> RunRequest:
    """Returns the run's request.

    Raises SchemaMismatch for another version of the contract, and SwarmError for no request.
    """
    path = folder(names.ENV_RUN_DIR, names.RUN_DIR) / names.REQUEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SwarmError(
            f"{path} cannot be read: {error.strerror}. Plans and workers are started by the operator, or by the local "
            "driver: python -m swarm_worker run -f compilation.yaml"
        ) from None
    check_schema(json.loads(text).get("schemaVersion"), "request")
    try:
        return RunRequest.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(WorkerReason.INVALID_SPEC, f"{path.name}: {'; '.join(map(str, problems(error)))}") from None


def check_schema(version: object, what: str) -> None:
    if version != names.SCHEMA_VERSION:
        raise SchemaMismatch(
            f"the operator's {what} speaks version {version} of the contract, this worker image speaks "
            f"{names.SCHEMA_VERSION}. Use an operator and a worker image of the same release."
        )
