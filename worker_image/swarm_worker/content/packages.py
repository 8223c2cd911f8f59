"""What is installed, as a digest."""

import functools
import importlib.metadata
import sys
from collections.abc import Iterator

from swarm_worker.content.digest import combine


@functools.cache
def packages() -> str:
    """Of this process: 32 hex digits, of Python and the installed distributions."""
    return combine("packages", sys.version, *sorted(_distributions())).hex()


def _distributions() -> Iterator[str]:
    for distribution in importlib.metadata.distributions():
        yield f"{distribution.metadata['Name']}=={distribution.version}"
