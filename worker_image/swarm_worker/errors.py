"""Errors that end a process. Each class has the exit code and the reason with which the process ends.

SwarmError
├── BadInput            the user's program, metric, data or spec is wrong; BAD_INPUT
├── CompileFailed       the optimizer raised an exception, as in stock DSPy; COMPILE_FAILED
├── SchemaMismatch      operator and worker use different versions of the contract; SCHEMA_MISMATCH
├── Drift               program, data or task differs from what the journal was made with; DRIFT
├── ProviderFailed      the provider did not answer: never a score; FAILED, another attempt may succeed
├── InfrastructureFailed  neither the user's code nor a model's answer is at fault: never a score; FAILED, as above
├── DataUnreachable     the server of a URL of data does not answer, or fails; FAILED, as above
├── StorageFailed       the depot cannot be read or written; FAILED, as above
├── LimiterUnreachable  no limiter allows further requests; FAILED, as above
├── CellTimeout         a cell takes longer than limits.cellSeconds; FAILED, another attempt runs it again
├── NoMoreCalls         another call is not allowed; INTERRUPTED, another attempt goes on
│   ├── AllowanceSpent  it might cost more than this pod may spend
│   └── Stopping        the process received SIGTERM
└── OutputFull          the process printed as much as can safely be read back; INTERRUPTED, another attempt goes on
"""

from collections.abc import Iterator
from typing import ClassVar

from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.words import sentence
from swarm_worker.exceptions import describe


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception and its causes, because DSPy or a program may have wrapped the original exception."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


class SwarmError(Exception):
    """An error that ends a plan or worker process.

    Attributes:
        exit_code: the process's exit code.
        reason: a documented CamelCase word, which becomes the reason of the Compilation's condition.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    reason: str = WorkerReason.WORKER_FAILED


class BadInput(SwarmError):
    """The user's input cannot be used. The message says what is wrong, where, and what to write instead."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CompileFailed(SwarmError):
    exit_code = ExitCode.COMPILE_FAILED
    reason = WorkerReason.COMPILE_FAILED


class SchemaMismatch(SwarmError):
    exit_code = ExitCode.SCHEMA_MISMATCH
    reason = WorkerReason.SCHEMA_MISMATCH


class Drift(SwarmError):
    exit_code = ExitCode.DRIFT

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProviderFailed(SwarmError):
    reason = WorkerReason.PROVIDER_FAILED


class InfrastructureFailed(SwarmError):
    """The LM client, the machine or this worker failed.

    Args:
        error: the original exception.
    """

    reason = WorkerReason.INFRASTRUCTURE_FAILED

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"neither the program nor a model's answer is at fault: {sentence(describe(error))} Another process "
            "tries it again. "
            "If that does not help, see to the packages of the image, to the memory, files and threads that pods may "
            "have, and to parameters of an LM that its client does not know."
        )
        self.__cause__ = error


class DataUnreachable(SwarmError):
    reason = WorkerReason.DATA_UNREACHABLE


class StorageFailed(SwarmError):
    reason = WorkerReason.STORAGE_FAILED


class LimiterUnreachable(SwarmError):
    reason = WorkerReason.LIMITER_UNREACHABLE


class CellTimeout(SwarmError):
    reason = WorkerReason.CELL_TIMEOUT

    def __init__(self, cells: int, seconds: float) -> None:
        what = "a cell" if cells == 1 else f"{cells} cells"
        super().__init__(
            f"{what} took longer than limits.cellSeconds: {seconds:g}. If that is no fault of the program or metric, "
            "raise the limit; if it is the provider's, lower models.*.parameters.timeoutSeconds."
        )


class NoMoreCalls(SwarmError):
    exit_code = ExitCode.INTERRUPTED


class Stopping(NoMoreCalls):
    def __init__(self) -> None:
        super().__init__("the process was asked to end")


class AllowanceSpent(NoMoreCalls):
    reason = WorkerReason.ALLOWANCE_SPENT

    def __init__(self) -> None:
        super().__init__("another LM call might cost more than this pod may spend of the run's limits")


class OutputFull(SwarmError):
    exit_code = ExitCode.INTERRUPTED
    reason = WorkerReason.OUTPUT_FULL

    def __init__(self) -> None:
        super().__init__("this pod printed as much as can safely be read back, and another one goes on from there")
