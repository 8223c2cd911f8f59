"""A permanent error ends a run at once if the address has never answered. Otherwise the request is repeated."""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMInvalidRequestError,
    LMServerError,
    LMTransportError,
    LMUnsupportedModelError,
)

from support.flows import around, awaiting
from support.models import CODEC
from support.wire import digest
from swarm_wire.messages import Outcome, Result
from swarm_wire.records import Record
from swarm_wire.spending import Usage
from swarm_wire.words import sentence
from swarm_worker.client import permanent_errors
from swarm_worker.client.call import Request
from swarm_worker.client.flow import arun
from swarm_worker.client.permanent_errors import Refusals, RequestRefused, key_of, missing_package
from swarm_worker.errors import BadInput
from swarm_worker.journal.run_journal import Journal
from swarm_worker.replay.calls import Answers, current
from swarm_worker.replay.execute import run_cell

REQUEST = Request(SimpleNamespace(model="openai/m"), "http://m/v1", 1, lambda: None)  # type: ignore[arg-type, return-value]
OTHER = Request(SimpleNamespace(model="openai/m"), "http://other/v1", 1, lambda: None)  # type: ignore[arg-type, return-value]


ADDRESS = "openai/m", "http://m/v1"


def begun(has_answered: bool, tell: Callable[[Record], None] = lambda record: None) -> Refusals:
    """Returns the state of a process. Its journal says whether the address of REQUEST has answered."""
    return Refusals(lambda key: has_answered and key == key_of(ADDRESS), tell, pauses=(0, 0))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


UNKNOWN = caused(LMTransportError("no"), socket.gaierror(-2, "Name or service not known"))
REFUSED = caused(LMTransportError("no"), ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
BROKEN = caused(LMTransportError("no"), ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
NO_MODEL = LMInvalidRequestError("the model does not exist.", status=404)
BAD = LMInvalidRequestError("temperature is too high", status=400)
MISSING = caused(LMTransportError("no"), ImportError("Missing boto3. Run 'pip install boto3'."))


def sending(*outcomes: Exception | None) -> tuple[Callable[[], Usage], list[Exception | None]]:
    """Returns a function whose calls have these outcomes in turn, and the list of the outcomes that are left."""
    left = list(outcomes)

    def send() -> Usage:
        if (outcome := left.pop(0)) is not None:
            raise outcome
        return Usage(calls=1)

    return send, left


def sent(to: Refusals, request: Request, outcomes: Sequence[Exception | None], is_async: bool) -> str:
    """Sends a request. Returns its outcome and the number of unused attempts."""
    send, left = sending(*outcomes)

    async def async_send() -> Usage:
        return send()

    try:
        if is_async:
            asyncio.run(arun(to.around(request, awaiting(async_send))))
        else:
            around(to.around, request, block=send)
        word = "answered"
    except BadInput as error:
        word = error.reason
    except Exception as error:
        word = type(error).__name__
    return f"{word}, {len(left)} left"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("has_answered", "outcomes", "came_to"),
    [
        (False, [None, UNKNOWN], "answered, 1 left"),
        (False, [UNKNOWN] * 4, "ProviderUnreachable, 1 left"),
        (False, [REFUSED] * 4, "ProviderUnreachable, 1 left"),
        (False, [REFUSED, REFUSED, None], "answered, 0 left"),
        (False, [REFUSED, BAD, None], "LMInvalidRequestError, 1 left"),
        (False, [REFUSED, NO_MODEL, None], "RequestRefused, 1 left"),
        (False, [BROKEN, None], "LMTransportError, 1 left"),
        (False, [NO_MODEL, None], "RequestRefused, 1 left"),
        (False, [LMUnsupportedModelError("no such model"), None], "RequestRefused, 1 left"),
        (False, [LMServerError("500", status=500), None], "LMServerError, 1 left"),
        (False, [LMAuthError("401", status=401), None], "LMAuthError, 1 left"),
        (False, [MISSING, None], "PackageMissing, 1 left"),
        (True, [MISSING, None], "PackageMissing, 1 left"),
        (True, [UNKNOWN, None], "LMTransportError, 1 left"),
        (True, [REFUSED, None], "LMTransportError, 1 left"),
        (True, [NO_MODEL, None], "LMInvalidRequestError, 1 left"),
    ],
)
def test_a_permanent_error_ends_a_run_if_the_address_has_never_answered(
    has_answered: bool, outcomes: Sequence[Exception | None], came_to: str, is_async: bool
) -> None:
    assert sent(begun(has_answered), REQUEST, outcomes, is_async) == came_to


@pytest.mark.parametrize("has_answered", [False, True])
@pytest.mark.parametrize(
    ("loads", "outcomes", "came_to", "asked"),
    [
        (True, [NO_MODEL, None], "answered, 0 left", 1),
        (True, [NO_MODEL] * 4, "ProviderFailed, 1 left", 2),
        (False, [NO_MODEL, None], "ProviderFailed, 1 left", 1),
        (True, [BAD, None], "LMInvalidRequestError, 1 left", 0),
    ],
)
def test_a_tuned_model_that_its_server_has_lost_is_no_score(
    has_answered: bool, loads: bool, outcomes: Sequence[Exception | None], came_to: str, asked: int
) -> None:
    """A server that restarts forgets the adapters that it has loaded."""
    to, revived = begun(has_answered), list[str]()
    to.is_tuned = lambda model, endpoint: (model, endpoint) == ADDRESS

    def revive(model: str) -> bool:
        revived.append(model)
        return loads

    to.revive = revive
    assert sent(to, REQUEST, outcomes, False) == came_to
    assert revived == [ADDRESS[0]] * asked


def test_only_an_address_that_has_answered_may_fail_for_a_while() -> None:
    to = begun(False)
    assert sent(to, REQUEST, [None], False) == "answered, 0 left"
    assert sent(to, REQUEST, [REFUSED, None], False) == "LMTransportError, 1 left"
    assert sent(to, OTHER, [REFUSED] * 4, False) == "ProviderUnreachable, 1 left"
    assert sent(to, OTHER, [REFUSED] * 4, False) == "ProviderUnreachable, 3 left", "nobody waits for it twice"


def test_an_address_that_never_answered_ends_the_run_even_if_others_answered() -> None:
    to = begun(True)
    assert sent(to, REQUEST, [REFUSED, None], False) == "LMTransportError, 1 left"
    assert sent(to, OTHER, [REFUSED] * 4, False) == "ProviderUnreachable, 1 left"
    assert sent(to, OTHER, [NO_MODEL], False) == "RequestRefused, 0 left"


def test_later_processes_find_answering_addresses_in_the_journal() -> None:
    told: list[Record] = []
    to = begun(False, told.append)
    for request, outcome in ((REQUEST, None), (REQUEST, None), (OTHER, BAD)):
        sent(to, request, [outcome], False)
    assert len(told) == 1, "each address once, and only if it answered"
    journal = Journal.of(told)
    later = Refusals(journal.has_call, told.append)
    assert later.has_answered(ADDRESS)
    assert not later.has_answered(("openai/m", "http://other/v1"))
    assert journal.usage() == Usage(), "it is no call that anybody paid for"
    sent(later, REQUEST, [None], False)
    assert len(told) == 1, "what the journal says is not said again"


def test_messages_about_refused_requests_say_what_to_write_and_end_in_one_full_stop() -> None:
    to = begun(False)
    for error, says in ((UNKNOWN, "models.*.endpoint"), (NO_MODEL, "models.*.model"), (MISSING, "spec.image")):
        with pytest.raises(BadInput) as ended:
            around(to.around, REQUEST, block=sending(error, error, error)[0])
        text = str(ended.value)
        assert says in text
        assert text.endswith(".")
        assert ".." not in text


@pytest.mark.parametrize(
    ("error", "is_missing"),
    [
        (ModuleNotFoundError("No module named 'no_such_package'", name="no_such_package.part"), True),
        (ModuleNotFoundError("No module named 'json.no'", name="json.no"), False),
        (ImportError("google.auth is needed: pip install google-auth"), True),
        (ImportError("a library of LiteLLM's does not fit"), False),
        (ImportError("cannot import name 'a' from partially initialized module 'm'", name="m"), False),
        (ValueError("pip install"), False),
    ],
)
def test_a_package_that_cannot_be_imported_is_reported_as_missing(error: Exception, is_missing: bool) -> None:
    assert (missing_package(caused(RuntimeError("wrapped"), error)) is not None) == is_missing


@pytest.mark.parametrize(
    ("endpoint", "error", "goes_on", "swallows", "is_doubted"),
    [
        ("http://other/v1", BAD, False, False, True),
        ("http://other/v1", BAD, True, False, False),  # the program's error has another cause
        ("http://other/v1", BAD, True, True, True),  # a bootstrap goes on after any error
        ("http://other/v1", ContextWindowExceededError(), False, False, False),
        ("http://m/v1", BAD, False, False, False),
    ],
)
def test_a_cell_with_refused_requests_is_a_result_only_if_the_address_answers_other_requests(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, error: Exception, goes_on: bool, swallows: bool, is_doubted: bool
) -> None:
    monkeypatch.setattr(permanent_errors._process, "refusals", begun(True))

    def refused() -> Any:
        raise error

    def program() -> Any:
        ledger, call = current(), SimpleNamespace(cached=False, endpoint=endpoint)
        assert ledger is not None
        try:
            around(ledger.around, REQUEST.lm, call, block=refused)
        except LMInvalidRequestError:
            if not goes_on:
                raise
        return "went on"

    answers = Answers(CODEC, lambda key: None, lambda record: None)
    if is_doubted:
        with pytest.raises(
            RequestRefused, match="refuses every request to model 'openai/m': temperature is too high"
        ) as ended:
            run_cell(digest(1), program, (), answers, swallows=swallows)
        record = ended.value.record
    else:
        record = run_cell(digest(1), program, (), answers, swallows=swallows)
    assert Result.model_validate(record.header).outcome is (Outcome.OK if goes_on else Outcome.ERROR)


@pytest.mark.parametrize("text", ["no", "no.", "no..", "no. ", "no...", "no.\n", "no\n\n"])
def test_a_sentence_ends_in_one_full_stop(text: str) -> None:
    assert sentence(text) == "no."
    assert sentence("why?\n") == "why?"
