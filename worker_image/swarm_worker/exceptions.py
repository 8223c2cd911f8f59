"""How exceptions of the user's code are told to people: what, and where."""

import traceback
from pathlib import Path


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
    libraries = ("site-packages", "importlib", "swarm_worker")
    own = [frame for frame in frames if not any(name in frame.filename for name in libraries)] or frames
    if own:
        return f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
    return next(reversed(getattr(error, "__notes__", [])), "no traceback")
