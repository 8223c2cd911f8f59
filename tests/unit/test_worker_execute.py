"""The value or the exception of a cell becomes a record."""

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError, LMAuthError, LMBillingError, LMRateLimitError, LMTimeoutError

from support.flows import around
from support.models import CODEC
from support.wire import digest
from swarm_wire.messages import Outcome, Result
from swarm_worker import errors
from swarm_worker.client.call import LMCall
from swarm_worker.content.codec import Codec
from swarm_worker.errors import BadInput, ProviderFailed, SwarmError
from swarm_worker.exceptions import Carried, describe, kind_of, location, unread_answer
from swarm_worker.replay.calls import Answers, current
from swarm_worker.replay.execute import portable, run_cell


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Local(Exception):
    def __init__(self) -> None:
        super().__init__("holds a generator")
        self.it = (number for number in range(3))


def raising(error: Exception) -> Callable[[], Any]:
    def cell() -> Any:
        raise error

    return cell


def cell(function: Callable[..., Any]) -> tuple[Result, Any]:
    record = run_cell(digest(1), function, (), Answers(CODEC, lambda key: None, print))
    return Result.model_validate(record.header), CODEC.loads(record.body)


def test_the_value_of_a_cell_is_its_result() -> None:
    header, value = cell(lambda: (dspy.Prediction(answer="a"), True))
    assert header == Result(key=digest(1), outcome=Outcome.OK)
    assert value[0] is Outcome.OK
    assert value[1][0].answer == "a"


@pytest.mark.parametrize(
    ("error", "kept", "line"),
    [
        (ValueError("bad"), ValueError, "ValueError: bad"),
        (KeyError("k"), KeyError, "KeyError: 'k'"),
        (Unpicklable(1, 2), Carried, "Unpicklable: 1 and 2"),
        (Local(), Carried, "Local: holds a generator"),
        (ValueError("x" * 900), ValueError, "ValueError: " + "x" * 488),
        (ValueError("half \udcff"), ValueError, "ValueError: half ?"),
    ],
)
def test_an_exception_is_a_serializable_result(error: Exception, kept: type[Exception], line: str) -> None:
    header, (outcome, found) = cell(raising(error))
    assert (header.outcome, outcome, type(found)) == (Outcome.ERROR, Outcome.ERROR, kept)
    assert header.error is not None
    place = header.error.removeprefix(line)
    assert place == "" if len(line) == 500 else re.fullmatch(r" \(test_worker_execute\.py, line \d+\)", place)
    assert str(error) in str(found)
    assert describe(found).replace("\udcff", "?").startswith(line)
    assert "test_worker_execute.py, line " in describe(found)


def test_an_unreadable_answer_is_sent_with_its_exception() -> None:
    signature = dspy.Signature("question -> answer")
    error = AdapterParseError(adapter_name="ChatAdapter", signature=signature, lm_response="Well, well.")
    header, (_, found) = cell(raising(error))
    assert header.error is not None
    assert header.error.startswith("AdapterParseError: Adapter ChatAdapter failed to parse the LM response.")
    assert (kind_of(found), unread_answer(found), str(found)) == ("AdapterParseError", "Well, well.", str(error))
    assert (kind_of(ValueError()), unread_answer(ValueError("bad"))) == ("ValueError", None)


@pytest.mark.parametrize(
    ("file", "is_users"),
    [
        ("/home/me/my_swarm_worker_app/program.py", True),
        ("/home/me/dspy-swarm/program.py", True),
        ("<string>", True),
        (json.__file__, False),
        (dspy.__file__, False),
        (errors.__file__, False),
        ("/opt/other/lib/python3.12/site-packages/dspy/predict.py", False),
        ("<frozen importlib._bootstrap>", False),
    ],
)
def test_a_file_that_is_neither_installed_nor_ours_is_a_file_of_the_user(file: str, is_users: bool) -> None:
    assert (location_in(file) == f"{Path(file).name}, line 1") == is_users


def location_in(file: str) -> str:
    """Returns the location that a report gives for an exception in that file, called from this file."""
    code = compile("raise ValueError", file, "exec")
    try:
        exec(code)
    except ValueError as error:
        return location(error)
    return ""


def test_the_location_of_an_exception_in_a_library_is_the_users_line_that_called_the_library() -> None:
    header, _ = cell(lambda: json.loads("{"))
    assert header.error is not None
    assert "test_worker_execute.py, line " in header.error


def test_a_serializable_exception_is_sent_unchanged() -> None:
    error = ValueError("bad")
    assert portable(error) is error


class Tagged(Exception):
    """An exception that computes its text from its arguments."""

    def __str__(self) -> str:
        return f"refused {self.args[0]!r}"


class Sealed(Exception):
    """An exception that holds a secret in a bytearray."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.data = bytearray(KEY.encode())


class Forgetful(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(f"refused {key}", "and more")

    def __str__(self) -> str:
        return str(self.args[0])


KEY = "sk-a-very-secret-key"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError(f"refused {KEY}"), ValueError, "refused (key)"),
        (ValueError("refused", KEY), ValueError, "('refused', '(key)')"),
        (ValueError(KEY.encode()), ValueError, "b'(key)'"),
        (KeyError(f"{KEY}-1"), KeyError, "'(key)-1'"),
        (Tagged(KEY), Tagged, "refused '(key)'"),
        (Sealed("refused"), Sealed, "refused"),
        (Forgetful(KEY), Carried, "refused (key)"),
        (ValueError(f"{'x' * 480} {KEY}"), ValueError, "x" * 480 + " (key)"),
    ],
    ids=[
        "in a text",
        "an argument",
        "bytes",
        "within a longer text",
        "in a computed text",
        "in a bytearray",
        "in an exception that cannot be pickled",
        "where a text is cut",
    ],
)
def test_an_exception_that_contains_a_secret_is_sent_without_it(error: Exception, kind: type, text: str) -> None:
    before = str(error)
    codec = Codec({"key": KEY})
    record = run_cell(digest(1), raising(error), (), Answers(codec, lambda key: None, print))
    outcome, found = codec.loads(record.body)
    assert (outcome, type(found), str(found)) == (Outcome.ERROR, kind, text)
    told = f"{record.header} {describe(found)}"
    assert KEY[:10] not in told
    assert KEY.encode() not in record.body
    assert str(error) == before, "whoever catches it has it as it is"


def test_a_program_that_catches_an_exception_sees_its_unredacted_text() -> None:
    def caught() -> bool:
        try:
            raise ValueError(f"refused {KEY}")
        except ValueError as error:
            return str(error) == f"refused {KEY}"

    assert cell(caught) == (Result(key=digest(1), outcome=Outcome.OK), (Outcome.OK, True))


@pytest.mark.parametrize(
    "value", [f"Bearer {KEY}", {"error": ValueError(f"refused {KEY}")}], ids=["a text", "a caught exception"]
)
def test_the_message_about_a_value_with_a_secret_names_the_secret(value: Any) -> None:
    with pytest.raises(BadInput, match="the student model's API key is part of another text") as refused:
        cell(lambda: value)
    assert refused.value.reason == "ResultNotPortable"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [
        (LMRateLimitError("slow down"), ProviderFailed, "ProviderFailed"),
        (LMTimeoutError("no answer"), ProviderFailed, "ProviderFailed"),
        (caused(RuntimeError("within"), LMRateLimitError("slow down")), ProviderFailed, "ProviderFailed"),
        (LMAuthError("bad key"), BadInput, "CredentialsRejected"),
        (LMBillingError("no money"), BadInput, "AccountExhausted"),
        (caused(ValueError("within"), LMAuthError("bad key")), BadInput, "CredentialsRejected"),
    ],
)
def test_an_unanswered_call_never_leads_to_a_score(error: Exception, raised: type[SwarmError], reason: str) -> None:
    with pytest.raises(raised) as ended:
        cell(raising(error))
    assert ended.value.reason == reason


def test_exceptions_that_cause_each_other_are_handled() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert cell(raising(one))[0].outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("stumbles", "swallows", "fails"),
    [(True, False, True), (False, False, False), (False, True, True), (True, True, True)],
)
def test_an_unanswered_call_never_leads_to_a_score_even_if_the_program_catches_its_error(
    stumbles: bool, swallows: bool, fails: bool
) -> None:
    def function() -> str:
        ledger = current()
        assert ledger is not None
        with contextlib.suppress(LMRateLimitError):  # dspy.Parallel and bootstraps suppress it, too
            around(ledger.around, SimpleNamespace(model="m"), UNANSWERED, block=unanswered)
        if stumbles:
            raise AttributeError("None has no answer")
        return "went on without"

    answers = Answers(CODEC, lambda key: None, lambda record: None)
    if fails:
        with pytest.raises(ProviderFailed):
            run_cell(digest(1), function, (), answers, swallows=swallows)
    else:
        record = run_cell(digest(1), function, (), answers, swallows=swallows)
        assert CODEC.loads(record.body) == (Outcome.OK, "went on without")


UNANSWERED = LMCall(content={"messages": []}, endpoint=None, count=1, cached=True, native=None)


def unanswered() -> Any:
    raise LMRateLimitError("slow down")
