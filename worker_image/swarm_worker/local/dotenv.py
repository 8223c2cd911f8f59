"""A `.env` file: one NAME=VALUE a line."""

import re
from pathlib import Path
from typing import Final

from swarm_wire.names import WorkerReason
from swarm_worker.errors import BadInput

FILE: Final = ".env"
_LINE: Final = re.compile(
    r"""(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
    (?:'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<bare>[^'"#\s](?:[^#]|(?<!\s)\#)*)?)\s*(?:\#.*)?""",
    re.VERBOSE,
)


def read(folder: Path) -> dict[str, str]:
    """What the folder's file says; nothing where there is none.

    Quotes around a value are left out, and nothing in it is replaced. A line that begins with # is a comment, and so is
    what follows after a blank and #. Raises BadInput where a line is anything else.
    """
    path = folder / FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(WorkerReason.INVALID_SPEC, f"{path} cannot be read: {error}") from None
    found = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if (match := _LINE.fullmatch(line)) is None:
            # Not the line itself: it may hold a secret.
            raise BadInput(
                WorkerReason.INVALID_SPEC, f"{path}, line {number}, is not NAME=VALUE, NAME='VALUE' or a # comment."
            )
        found[match["name"]] = match["single"] or match["double"] or (match["bare"] or "").rstrip()
    return found
