"""Decides whether an exception is a result, by the code that raised it.

    the program, the metric                 a result: stock DSPy counts it as a failed example
    DSPy, about a model's answer or call    a result
    the provider, about a request           a result, unless the provider did not answer, or refuses key or account
    LM client, machine, this worker         no result: another attempt runs the cell; after the last one, the run ends

The innermost frame of the traceback outside of libraries shows which code raised the exception: the user's code, DSPy,
DSPy's LM client with everything that it calls, or this worker. `docs/faults.md` has the decision table.
"""

import errno
import traceback
from collections.abc import Sequence
from enum import Enum, auto

from dspy.utils.exceptions import (
    LMAuthError,
    LMBillingError,
    LMError,
    LMNotConfiguredError,
    LMProviderError,
    LMUnexpectedError,
    is_retryable_lm_error,
)

from swarm_wire.names import WorkerReason
from swarm_wire.words import sentence
from swarm_worker.client import advice
from swarm_worker.client.call import HTTP_ERROR, is_made_up
from swarm_worker.client.permanent_errors import missing_package
from swarm_worker.errors import BadInput, InfrastructureFailed, ProviderFailed, SwarmError, causes
from swarm_worker.modules import is_library


class Origin(Enum):
    """Whose code raised an exception."""

    USER = auto()
    DSPY = auto()
    CLIENT = auto()
    WORKER = auto()


_OWNERS = {
    "swarm_worker": Origin.WORKER,
    "swarm_worker.imaginary": Origin.USER,  # it cannot make up values of some types of the user's
    "swarm_engine": Origin.WORKER,
    "swarm_wire": Origin.WORKER,
    "swarm_limiter": Origin.WORKER,
    "swarm_worker.replay.recorded": Origin.DSPY,  # this module replaces lists of DSPy's that a program reads
    "dspy": Origin.DSPY,
    "dspy.clients": Origin.CLIENT,
    "dspy.lm15": Origin.CLIENT,
    "dspy._vendor.lm15": Origin.CLIENT,
    "dspy.utils.lazy_import": Origin.CLIENT,
}
"""Origins by module or package; the longest matching name counts."""

_EXHAUSTED = (errno.EAGAIN, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
_OF_THE_CALL = (TypeError, ValueError, Warning)
"""Errors that the LM client raises when a program calls it wrongly."""
_SAID = ("can't start new thread", "partially initialized module")
"""Python's messages when the machine has no more threads, and when threads import the same modules at once."""


def no_result(error: Exception) -> SwarmError | None:
    """Returns the error that ends the process if an exception is no result; None if it is a result."""
    return spoiling(error) or _of_provider([*causes(error)])


def spoiling(error: Exception) -> SwarmError | None:
    """Returns what `no_result` returns, except that a provider's fault gives None.

    Any other fault spoils all later results of the program. After a provider's fault, the program may go on, as in
    stock DSPy.
    """
    chain = [*causes(error)]
    for cause in chain:
        if isinstance(cause, SwarmError):
            return cause
    return exhausted(error) or _of_machinery(chain)


def exhausted(error: Exception) -> InfrastructureFailed | None:
    """Returns the error to raise if an exception shows that the machine lacks memory, disk, files or threads."""
    for cause in causes(error):
        lacks = isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _EXHAUSTED)
        if lacks or (
            isinstance(cause, RuntimeError | AttributeError | ImportError)
            and any(words in str(cause) for words in _SAID)
        ):
            return InfrastructureFailed(cause)
    return None


def origin(error: BaseException) -> Origin:
    """Returns the code that raised an exception; the user's if unknown."""
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)]):
        owner = _owner(frame.f_globals.get("__name__") or "")
        if owner is not None:
            return owner
        # A library's frame counts as its caller's. For example, a frame of LiteLLM counts as the LM client's.
        if not is_library(frame.f_code.co_filename):
            return Origin.USER
    return Origin.USER


def _owner(module: str) -> Origin | None:
    while module:
        if module in _OWNERS:
            return _OWNERS[module]
        module = module.rpartition(".")[0]
    return None


def _of_machinery(chain: Sequence[BaseException]) -> SwarmError | None:
    unexplained: BaseException | None = None
    for cause in chain:
        found = origin(cause)
        if isinstance(cause, LMUnexpectedError) and found is Origin.CLIENT:
            unexplained = cause  # the client wraps unknown exceptions in this class; the next cause is the original
            continue
        if isinstance(cause, LMError):
            return None
        of_client = found is Origin.CLIENT and (unexplained is not None or not isinstance(cause, _OF_THE_CALL))
        if found is Origin.WORKER or of_client or (found is Origin.DSPY and isinstance(cause, ImportError)):
            return missing_package(cause) or InfrastructureFailed(unexplained or cause)
        unexplained = None
    return None if unexplained is None else InfrastructureFailed(unexplained)


def _of_provider(chain: Sequence[BaseException]) -> SwarmError | None:
    for cause in chain:
        fault: SwarmError
        if _lacks_key(cause):
            fault = BadInput(WorkerReason.MISSING_SECRET, advice.missing_key(cause))
        elif isinstance(cause, LMAuthError):
            fault = BadInput(WorkerReason.CREDENTIALS_REJECTED, advice.refused_key(cause))
        elif isinstance(cause, LMBillingError):
            fault = BadInput(
                WorkerReason.ACCOUNT_EXHAUSTED,
                f"the provider refuses the account: {sentence(advice.said(cause))} See to its credit or quota.",
            )
        elif isinstance(cause, LMError) and (is_retryable_lm_error(cause) or _is_garbled(cause)):
            fault = ProviderFailed(f"the provider did not answer: {advice.said(cause)}")
        else:
            continue
        fault.__cause__ = chain[0]
        return fault
    return None


def _lacks_key(error: BaseException) -> bool:
    """Whether the client lacks an API key, so that it sent no request. LiteLLM then reports a server error."""
    if isinstance(error, LMNotConfiguredError):
        return origin(error) is Origin.CLIENT
    return isinstance(error, LMError) and advice.names_key(error) and is_made_up(error)


def _is_garbled(error: LMError) -> bool:
    """Whether the provider's response is neither an answer nor an error: a gateway's page, half an answer."""
    return type(error) is LMProviderError and (error.status is None or error.status < HTTP_ERROR)
