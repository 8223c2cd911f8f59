"""How exceptions of the user's code are told to people: what, and where."""

import sys
import sysconfig
import traceback
from pathlib import Path

_STANDARD_LIBRARY = f"{sysconfig.get_path('stdlib')}/"


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


def kind_of(error: BaseException) -> str:
    """The name of an exception's class."""
    return error.kind if isinstance(error, Carried) else type(error).__name__


def unread_answer(error: BaseException) -> str | None:
    """The model's answer that DSPy's adapter could not read, if that is what the exception tells of."""
    found = error.answer if isinstance(error, Carried) else getattr(error, "lm_response", None)
    return found if isinstance(found, str) else None


def describe(error: BaseException) -> str:
    """One line: type, text and place."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{kind_of(error)}: {text} ({location(error)})"


def location(error: BaseException) -> str:
    """The innermost line outside the libraries, as "file, line n"; where that is past, as it was noted."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '?').name}, line {error.lineno}"
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [frame for frame in frames if _is_users(frame.filename)] or frames
    if own:
        return f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
    return next(reversed(getattr(error, "__notes__", [])), "no traceback")


def place() -> str:
    """The innermost line outside the libraries of the code that runs now, as "file, line n"."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not _is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"


def _is_users(file: str) -> bool:
    return not (is_library(file) or "swarm_worker" in file)


def is_library(file: str) -> bool:
    """Whether code of this file is Python's, or an installed package's."""
    packages = ("/site-packages/", "/dist-packages/", "<frozen ")
    return file.startswith(_STANDARD_LIBRARY) or any(part in file for part in packages)
