"""Runs one cell: calls user code under the settings of the cell's effect, and records its result or exception."""

from collections.abc import Callable
from typing import Any

import dspy

from swarm_wire.messages import Outcome, Result
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.words import printable, sentence
from swarm_worker.client import permanent_errors
from swarm_worker.client.permanent_errors import RequestRefused
from swarm_worker.content import masking
from swarm_worker.content.codec import Walks
from swarm_worker.content.digest import Walk
from swarm_worker.content.outcome import Value
from swarm_worker.errors import BadInput
from swarm_worker.exceptions import Carried, Raised, describe, kind_of, unread_answer
from swarm_worker.replay import recorded
from swarm_worker.replay.blame import no_result
from swarm_worker.replay.calls import Answers, Ledger, cell_calls
from swarm_worker.replay.settings import with_defaults

ERROR = 500
"""How many characters of an exception's text a result's header has at most."""


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
    """Calls `function`, and returns a RESULT record of its value or exception.

    As in stock DSPy, an exception is a result. It is no result if the provider did not answer, or if LM client, machine
    or worker are at fault (`blame`). The exception may be only a consequence of such a fault. For example, a program
    with `dspy.Parallel` goes on without an answer, and fails later. So the errors of the cell's LM calls count, too.

    Args:
        swallows: whether `function` goes on after exceptions, so that its result may hide one.

    Raises:
        ProviderFailed: rate limit, timeout or server error, after DSPy's own retries.
        InfrastructureFailed: the LM client, the machine or this worker is at fault, even if the program swallowed it.
        NoMoreCalls: a call was not allowed.
        BadInput: the provider refuses the API key or the account, or the result cannot be pickled.
        RequestRefused: the provider refuses a request to an address that has answered no request of the run yet.
    """
    with cell_calls(key, answers) as ledger:
        callbacks = settings.get("callbacks")
        before = callbacks and Walk().digest(callbacks)
        with dspy.context(**{"trace": recorded.trace(), **with_defaults(settings)}):
            value = outcome_of(function, arguments, answers.codec.redact)
        if callbacks and Walk().digest(callbacks) != before:
            ledger.refused = ledger.refused or _callback_changed(callbacks)
        if ledger.refused is not None:
            raise ledger.refused
        doubted = [*ledger.failed.values()] if swallows or value[0] is Outcome.ERROR else []
        for _, error in doubted:
            _raise_if_no_result(error)
        record = _result(ledger, key, value, walks)
        if (refusal := permanent_errors.here().doubted(doubted)) is not None:
            raise RequestRefused(*refusal, record)
    return record


def _result(ledger: Ledger, key: str, value: Value, walks: Walks) -> Record:
    """Returns the RESULT record of a cell. Raises BadInput if the result cannot be pickled.

    The record's body ends with the cell's last LM answer, which has no record of its own.
    """
    codec, pending = ledger.answers.codec, ledger.pending
    try:
        body = codec.dumps(value, walks)
    except Exception as error:
        raise BadInput(
            WorkerReason.RESULT_NOT_PORTABLE,
            f"what the program or metric returns cannot leave its process: {type(error).__name__}: "
            f"{sentence(str(error))} Return plain values (text, numbers, lists, dicts, pydantic models of an "
            "importable module).",
        ) from error
    outcome, content = value
    header = Result(
        key=key,
        outcome=outcome,
        usage=ledger.usage,
        error=told(content, codec.redact) if outcome is Outcome.ERROR else None,
        calls=[pending.key] if pending else [],
        calls_at=len(body) if pending else None,
        reused=sorted(ledger.reused),
        needed=None if ledger.program is None else ledger.needed,
        repeated=None if ledger.program is None else ledger.repeated,
        milliseconds=None if ledger.program is None else ledger.milliseconds,
    )
    return Record(RecordKind.RESULT, header.to_header(), body + pending.body if pending else body)


def _callback_changed(callbacks: list[Any]) -> BadInput:
    names = ", ".join(type(callback).__qualname__ for callback in callbacks)
    return BadInput(
        WorkerReason.SIDE_EFFECT,
        f"a callback collects what it sees while an example is run ({names}): examples run in other processes, so "
        "nobody could read it later. Let callbacks write it down where they see it, or leave them out.",
    )


def outcome_of(function: Callable[..., Any], arguments: tuple[Any, ...], redact: Callable[[str], str] = str) -> Value:
    """Calls `function`, and returns the outcome. Raises the errors of `run_cell`.

    Args:
        redact: masks secrets in an exception's texts.
    """
    try:
        return Outcome.OK, function(*arguments)
    except (Exception, SystemExit) as error:
        return failure(error, redact)


def failure(error: Exception | SystemExit, redact: Callable[[str], str] = str) -> Value:
    """Returns the outcome of an exception. Raises an error of `run_cell` if the exception is no result."""
    if isinstance(error, SystemExit):
        raise BadInput(
            WorkerReason.PROGRAM_EXITS,
            f"the program or metric called sys.exit({error.code!r}). Raise an exception instead: it then counts as "
            "a failed example.",
        ) from error
    _raise_if_no_result(error)
    return Outcome.ERROR, portable(error, redact)


def _raise_if_no_result(error: Exception) -> None:
    if (fault := no_result(error)) is not None:
        raise fault


def told(error: Exception, redact: Callable[[str], str]) -> str:
    """Returns an exception's text for a result's header, with secrets masked.

    Masking comes before cutting, because half a secret would not be found.
    """
    return printable(redact(describe(error)))[:ERROR]


def portable(error: Exception, redact: Callable[[str], str] = str) -> Exception:
    """Returns the exception, or a `Carried` with its text if it cannot be pickled. Either carries its `Raised`.

    Args:
        redact: masks secrets in its texts.
    """
    raised = Raised.of(error, redact)
    try:
        carried = masking.copied(error.with_traceback(None), redact)
    except Exception:
        answer = unread_answer(error)
        carried = Carried(redact(str(error)), kind_of(error), answer and redact(answer))
    raised.mark(carried)
    return carried
