"""Runs one cell: user code under the settings that its wave had, and what it returned or raised as a record."""

import pickle
from collections.abc import Callable
from typing import Any

import dspy
from dspy.utils.exceptions import LMAuthError, LMBillingError, LMError, is_retryable_lm_error

from swarm_wire.messages import Outcome, Result
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind, printable
from swarm_worker.errors import BadInput, ProviderFailed
from swarm_worker.exceptions import describe, location
from swarm_worker.meter import metered
from swarm_worker.replay.codec import Codec, Walks

Value = tuple[Outcome, Any]
"""What a cell came to: OK and its return value, or ERROR and its exception."""


def run_cell(
    key: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    codec: Codec,
    *,
    walks: Walks = (),
    **settings: Any,
) -> Record:
    """A RESULT record for one call of `function`.

    An exception is a result, as in stock DSPy, unless it only says that the provider did not answer.

    Raises:
        ProviderFailed: rate limit, timeout or server error, after DSPy's own retries.
        BadInput: the provider refuses the API key or the account.
    """
    with metered() as meter, dspy.context(**settings):
        try:
            value: Value = (Outcome.OK, function(*arguments))
        except SystemExit as error:
            raise BadInput(
                WorkerReason.PROGRAM_EXITS,
                f"the program or metric called sys.exit({error.code!r}). Raise an exception instead: it then counts as "
                "a failed example.",
            ) from error
        except Exception as error:
            _raise_if_provider(error)
            value = (Outcome.ERROR, portable(error))
    outcome, content = value
    error_line = printable(describe(content))[:500] if outcome is Outcome.ERROR else None
    header = Result(key=key, outcome=outcome, usage=meter.usage, error=error_line)
    return Record(RecordKind.RESULT, header.to_header(), codec.dumps(value, walks))


def _raise_if_provider(error: Exception) -> None:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, LMAuthError | LMBillingError):
            raise BadInput(
                WorkerReason.CREDENTIALS_REJECTED,
                f"the provider refuses the API key or the account: {cause}. Put a valid key into the Secret that "
                "models.*.apiKey names, then request a new run.",
            ) from error
        if isinstance(cause, LMError) and is_retryable_lm_error(cause):
            raise ProviderFailed(f"the provider did not answer: {cause}") from error
        cause = cause.__cause__ or cause.__context__


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
