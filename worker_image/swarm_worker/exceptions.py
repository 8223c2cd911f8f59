"""How exceptions of the user's code are told to people: what, and where."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from swarm_wire.words import printable
from swarm_worker.modules import is_users_file

_RAISED = "swarm_raised"
"""Attribute of an exception that has left its process: its `Raised`."""
TEXT, ANSWER, TRACEBACK = 300, 500, 3_000
"""Characters that are kept of an exception's text, of a model's answer, of a traceback: thousands may fail."""
FRAMES = 20
"""Of a traceback, the innermost."""


class ProcessEnded(Exception):
    """What an optimizer sees of an example whose program or metric ends its process: by memory, a signal, or by never
    coming to an end. Stock DSPy would have ended with it.
    """


class Carried(Exception):
    """What the plan gets in place of an exception that cannot travel.

    Args:
        text: of that exception.
        kind: the name of its class.
        answer: the model's answer that could not be read, if that was why.
    """

    def __init__(self, text: str, kind: str, answer: str | None) -> None:
        super().__init__(text, kind, answer)
        self.kind, self.answer = kind, answer

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Raised:
    """What is told of an exception where it is not at hand any more.

    Attributes:
        kind: the name of its class.
        place: the innermost line of the user's, as "file, line n"; empty where none was running.
        answer: how the model's answer begins that could not be read, if that was why.
        traceback: from the first line of the user's on.
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
        """
        Args:
            redact: takes secrets out of a text.
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
        """From now on the exception tells this, also in other processes."""
        setattr(error, _RAISED, self)


def _traceback(error: BaseException) -> str:
    """As Python prints it, without what ran before the user's code did."""
    told = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = told
    while part is not None:
        if part.stack:
            first = next((number for number, frame in enumerate(part.stack) if is_users_file(frame.filename)), 0)
            part.stack = traceback.StackSummary.from_list(part.stack[first:][-FRAMES:])
        part = part.__cause__ or part.__context__
    return "".join(told.format())


def kind_of(error: BaseException) -> str:
    """The name of an exception's class."""
    return error.kind if isinstance(error, Carried) else type(error).__name__


def unread_answer(error: BaseException) -> str | None:
    """The model's answer that DSPy's adapter could not read, if that is what the exception tells of."""
    found = error.answer if isinstance(error, Carried) else getattr(error, "lm_response", None)
    return found if isinstance(found, str) else None


def describe(error: BaseException) -> str:
    """One line: type, text and place, where that is known."""
    text, place = error.msg if isinstance(error, SyntaxError) else str(error), location(error)
    return f"{kind_of(error)}: {text} ({place})" if place else f"{kind_of(error)}: {text}"


def location(error: BaseException) -> str:
    """The innermost line outside the libraries, or else within, as "file, line n"; empty where it is not known."""
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
    """The innermost line outside the libraries of the code that runs now, as "file, line n"."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not is_users_file(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
