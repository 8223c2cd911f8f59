"""Which modules are the user's: those that are neither installed nor ours."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from types import ModuleType

_OURS = ("__main__", "swarm_limiter", "swarm_wire", "swarm_worker")
_INSTALLED = tuple(
    os.path.join(place, "")  # noqa: PTH118
    for name, path in sysconfig.get_paths().items()
    if name != "data"  # the prefix itself
    for place in (path, os.path.realpath(path))
)


def users_modules() -> Iterator[tuple[str, ModuleType]]:
    """Those that are imported by now, by name, in the order of their names."""
    return ((name, module) for name, module in sorted(sys.modules.items()) if is_users(name))


def is_users(name: str) -> bool:
    """Whether the module of that name comes from a file outside the installed distributions."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return bool(
        file and file.endswith(".py") and name.partition(".")[0] not in _OURS and not file.startswith(_INSTALLED)
    )
