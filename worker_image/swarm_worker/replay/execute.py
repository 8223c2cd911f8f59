"""Runs one cell: user code under the settings that its wave had, and what it returned or raised as a record."""

import pickle
from collections.abc import Callable
from typing import Any

import dspy
from dspy.utils.exceptions import LMAuthError, LMBillingError, LMError, is_retryable_lm_error

from swarm_wire.messages import Outcome, Result
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind, printable
from swarm_worker.errors import BadInput, ProviderFailed, SwarmError, causes
from swarm_worker.exceptions import describe, location
from swarm_worker.replay.calls import Answers, cell_calls
from swarm_worker.replay.codec import Walks

Value = tuple[Outcome, Any]
"""What a cell came to: OK and its return value, or ERROR and its exception."""


def run_cell(
    key: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    answers: Answers,
    *,
    walks: Walks = (),
    swallows: bool = False,
    **settings: Any,
) -> Record:
    """A RESULT record for one call of `function`.

    An exception is a result, as in stock DSPy, unless the provider did not answer. That may not be what is raised: a
    program that uses `dspy.Parallel` goes on without the answer, and stumbles later.

    Args:
        swallows: `function` goes on after exceptions, so that what it returns may hide one.

    Raises:
        ProviderFailed: rate limit, timeout or server error, after DSPy's own retries.
        NoMoreCalls: a call was not made.
        BadInput: the provider refuses the API key or the account, or the result cannot be pickled.
    """
    with cell_calls(key, answers) as ledger:
        # Without callbacks: a plan has one, and calls through it show in the tracebacks that some agents are told.
        with dspy.context(callbacks=[], **settings):
            value = outcome_of(function, arguments)
        if ledger.refused is not None:
            raise ledger.refused
        outcome, content = value
        if swallows or outcome is Outcome.ERROR:
            for error in list(ledger.failed.values()):
                _raise_if_provider(error)
        try:
            body = answers.codec.dumps(value, walks)
        except Exception as error:
            raise BadInput(
                WorkerReason.RESULT_NOT_PORTABLE,
                f"what the program or metric returns cannot leave its process: {type(error).__name__}: {error}. Return "
                "plain values (text, numbers, lists, dicts, pydantic models of an importable module).",
            ) from error
        pending = ledger.pending
        header = Result(
            key=key,
            outcome=outcome,
            usage=ledger.usage,
            error=printable(describe(content))[:500] if outcome is Outcome.ERROR else None,
            calls=[pending.key] if pending else [],
            calls_at=len(body) if pending else None,
            reused=sorted(ledger.reused),
        )
    return Record(RecordKind.RESULT, header.to_header(), body + pending.body if pending else body)


def outcome_of(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Value:
    """What a call of `function` comes to. Raises as `run_cell`."""
    try:
        return Outcome.OK, function(*arguments)
    except SystemExit as error:
        raise BadInput(
            WorkerReason.PROGRAM_EXITS,
            f"the program or metric called sys.exit({error.code!r}). Raise an exception instead: it then counts as "
            "a failed example.",
        ) from error
    except Exception as error:
        _raise_if_provider(error)
        return Outcome.ERROR, portable(error)


def _raise_if_provider(error: Exception) -> None:
    for cause in causes(error):
        if isinstance(cause, SwarmError):
            raise cause
        if isinstance(cause, LMAuthError):
            raise BadInput(
                WorkerReason.CREDENTIALS_REJECTED,
                f"the provider refuses the API key: {cause}. Put a valid key into the Secret that models.*.apiKey "
                "names, then request a new run.",
            ) from error
        if isinstance(cause, LMBillingError):
            raise BadInput(
                WorkerReason.ACCOUNT_EXHAUSTED,
                f"the provider refuses the account: {cause}. See to its credit or quota, then request a new run.",
            ) from error
        if isinstance(cause, LMError) and is_retryable_lm_error(cause):
            raise ProviderFailed(f"the provider did not answer: {cause}") from error


def portable(error: Exception) -> Exception:
    """The exception, or one that says the same where it cannot travel; with a note of the place it comes from."""
    place, carried = location(error), error.with_traceback(None)
    try:
        copy = pickle.loads(pickle.dumps(error))
        if type(copy) is not type(error) or str(copy) != str(error):
            carried = Exception(repr(error))
    except Exception:
        carried = Exception(repr(error))
    carried.add_note(place)
    return carried
