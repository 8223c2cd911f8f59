"""Reads a `.env` file of NAME=VALUE lines as python-dotenv does, but without expanding variables."""

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
    """Returns the variables of the folder's `.env` file; none if there is no such file.

    Quotes around a value are removed. A quoted value may have several lines, and backslashes escape quotes and
    backslashes in it. Within double quotes, \\n, \\r and \\t are escapes, too. A comment is a line that begins with #,
    or text after a blank and #. Raises BadInput for any other line.
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
                line = text.count("\n", 0, at) + 1  # the message omits the line's text, which may be a secret
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
