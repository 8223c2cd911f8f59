"""Describes exceptions of the user's code for people: the error, and the line of code that raised it."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from swarm_wire.words import printable
from swarm_worker.modules import is_users_file

_RAISED = "swarm_raised"
"""Name of the attribute in which an exception carries its description (`Raised`) to other processes."""
TEXT, ANSWER, TRACEBACK = 300, 500, 3_000
"""How many characters a description (`Raised`) keeps of an exception's text, a model's answer and a traceback.
Thousands of examples may fail, so a run cannot keep everything.
"""
FRAMES = 20
"""How many of a traceback's innermost frames a description (`Raised`) keeps."""


class ProcessEnded(Exception):
    """The error of an example that ended each process that ran it.

    Its program or metric took too much memory, caused a signal, or never returned. It would have ended stock DSPy, too.
    """


class Carried(Exception):
    """Replaces an exception that cannot be pickled for another process.

    Args:
        text: the exception's text.
        kind: the name of its class.
        answer: the model's answer, if DSPy raised the exception because it could not read that answer.
    """

    def __init__(self, text: str, kind: str, answer: str | None) -> None:
        super().__init__(text, kind, answer)
        self.kind, self.answer = kind, answer

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Raised:
    """A description of an exception, for other processes and the report.

    Attributes:
        kind: the name of its class.
        place: the innermost line of user code, as "file, line n"; empty if no user code is in the traceback.
        answer: the beginning of the model's answer, if DSPy raised the exception because it could not read that answer.
        traceback: the traceback from the first line of user code on.
    """

    kind: str
    text: str
    place: str = ""
    answer: str | None = None
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind

    @classmethod
    def of(cls, error: BaseException, redact: Callable[[str], str] = str) -> Self:
        """Describes an exception.

        Args:
            redact: masks secrets in a text.
        """
        if isinstance(known := getattr(error, _RAISED, None), cls):
            return known
        text, answer = (" ".join(redact(str(error)).split()), unread_answer(error))
        return cls(
            kind=kind_of(error),
            text=printable(text)[:TEXT],
            place=_users_place(error),
            answer=printable(redact(answer))[:ANSWER] if answer else None,
            traceback=printable(redact(_traceback(error)))[-TRACEBACK:],
        )

    def mark(self, error: BaseException) -> None:
        """Attaches this description to an exception, which then carries it to other processes."""
        setattr(error, _RAISED, self)


def _traceback(error: BaseException) -> str:
    """Returns the traceback as Python prints it, from the first frame of user code on."""
    told = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = told
    while part is not None:
        if part.stack:
            first = next((number for number, frame in enumerate(part.stack) if is_users_file(frame.filename)), 0)
            part.stack = traceback.StackSummary.from_list(part.stack[first:][-FRAMES:])
        part = part.__cause__ or part.__context__
    return "".join(told.format())


def kind_of(error: BaseException) -> str:
    """Returns the name of an exception's class."""
    return error.kind if isinstance(error, Carried) else type(error).__name__


def unread_answer(error: BaseException) -> str | None:
    """Returns the model's answer, if DSPy's adapter raised the exception because it could not read that answer."""
    found = error.answer if isinstance(error, Carried) else getattr(error, "lm_response", None)
    return found if isinstance(found, str) else None


def describe(error: BaseException) -> str:
    """Returns the exception's class, its text and the line of code that raised it, as one line of text."""
    text, place = error.msg if isinstance(error, SyntaxError) else str(error), location(error)
    return f"{kind_of(error)}: {text} ({place})" if place else f"{kind_of(error)}: {text}"


def location(error: BaseException) -> str:
    """Returns the innermost line of user code in an exception's traceback, as "file, line n". If the traceback has no
    user code, it is the innermost line of all. It is empty without a traceback.
    """
    if isinstance(known := getattr(error, _RAISED, None), Raised):
        return known.place
    if found := _users_place(error):
        return found
    frames = traceback.extract_tb(error.__traceback__)
    return _line(frames[-1]) if frames else ""


def _users_place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}, line {error.lineno}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users_file(frame.filename)]
    return _line(own[-1]) if own else ""


def _line(frame: traceback.FrameSummary) -> str:
    return f"{Path(frame.filename).name}, line {frame.lineno}"


def place() -> str:
    """Returns the innermost line of user code that is running now, as "file, line n"."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not is_users_file(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
