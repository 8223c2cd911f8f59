"""How exceptions of the user's code are told to people: what, and where."""

import sys
import traceback
from pathlib import Path

_LIBRARIES = "site-packages", "importlib", "swarm_worker"


class ProcessEnded(Exception):
    """What an optimizer sees of an example whose program or metric ends its process: by memory, a signal, or by never
    coming to an end. Stock DSPy would have ended with it.
    """


def describe(error: BaseException) -> str:
    """One line: type, text and place."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text} ({location(error)})"


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
    return not (file.startswith("<frozen") or any(name in file for name in _LIBRARIES))
