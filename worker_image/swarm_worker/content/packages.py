"""A digest of the installed packages."""

import functools
import importlib.metadata
import sys
from collections.abc import Iterator

from swarm_worker.content.digest import combine


@functools.cache
def packages() -> str:
    """Returns the digest of this process's Python and installed distributions, 32 hex digits."""
    return combine("packages", sys.version, *sorted(_distributions())).hex()


def _distributions() -> Iterator[str]:
    for distribution in importlib.metadata.distributions():
        yield f"{distribution.metadata['Name']}=={distribution.version}"
