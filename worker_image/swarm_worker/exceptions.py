"""How exceptions of the user's code are told to people: what, and where."""

import sysconfig
import traceback
from pathlib import Path

_STANDARD_LIBRARY = f"{sysconfig.get_path('stdlib')}/"


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
    own = [frame for frame in frames if not (is_library(frame.filename) or "swarm_worker" in frame.filename)] or frames
    if own:
        return f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
    return next(reversed(getattr(error, "__notes__", [])), "no traceback")


def is_library(file: str) -> bool:
    """Whether code of this file is Python's, or an installed package's."""
    packages = ("/site-packages/", "/dist-packages/", "<frozen ")
    return file.startswith(_STANDARD_LIBRARY) or any(part in file for part in packages)
