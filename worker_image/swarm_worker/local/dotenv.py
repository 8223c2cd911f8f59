"""A `.env` file: NAME=VALUE, as python-dotenv reads it; but nothing is replaced by other variables."""

import re
from pathlib import Path
from typing import Final

from swarm_wire.names import WorkerReason
from swarm_worker.errors import BadInput

FILE: Final = ".env"
_EMPTY: Final = re.compile(r"[ \t]*(?:#.*)?\n")
_BINDING: Final = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*
    (?:'(?P<single>(?:[^'\\]|\\[\s\S])*)'|"(?P<double>(?:[^"\\]|\\[\s\S])*)"|(?P<bare>(?:[^'"\#\s]|(?<==)\#)(?:[^\#\n]|(?<!\s)\#)*)?)
    [ \t]*(?:\#.*)?\n""",
    re.VERBOSE,
)
_MEANS: Final = {"n": "\n", "r": "\r", "t": "\t"}


def read(folder: Path) -> dict[str, str]:
    """What the folder's file says; nothing where there is none.

    Quotes around a value are left out; between them it may have several lines, and a backslash before a quote or
    another backslash. Between double quotes, \\n, \\r and \\t are what they mean. A line that begins with # is a
    comment, and so is what follows after a blank and #. Raises BadInput where a line is anything else.
    """
    path = folder / FILE
    try:
        text = f"{path.read_text(encoding='utf-8-sig')}\n"
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(WorkerReason.INVALID_SPEC, f"{path} cannot be read: {error}") from None
    found, at = {}, 0
    while at < len(text):
        if (match := _EMPTY.match(text, at)) is None:
            if (match := _BINDING.match(text, at)) is None:
                line = text.count("\n", 0, at) + 1  # not the line itself: it may hold a secret
                raise BadInput(
                    WorkerReason.INVALID_SPEC,
                    f"{path}, line {line}, is not NAME=VALUE, NAME='VALUE', NAME=\"VALUE\" or "
                    "a # comment. A value with quotes, # or several lines stands between quotes, where a backslash "
                    "comes before such a quote.",
                )
            found[match["name"]] = _value(match)
        at = match.end()
    return found


def _value(match: re.Match[str]) -> str:
    if (text := match["double"]) is not None:
        return re.sub(r"""\\([\\'"nrt])""", lambda escape: _MEANS.get(escape[1], escape[1]), text)
    if (text := match["single"]) is not None:
        return re.sub(r"\\([\\'])", r"\1", text)
    return (match["bare"] or "").rstrip()
