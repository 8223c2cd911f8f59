"""Whose code it is: the user's is neither installed nor ours."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_OURS = ("swarm_limiter", "swarm_wire", "swarm_worker")
_OUR_FOLDERS = tuple(os.path.join(Path(__file__).parents[1], name, "") for name in _OURS)  # noqa: PTH118
_INSTALLED = tuple(
    os.path.join(place, "")  # noqa: PTH118
    for name, path in sysconfig.get_paths().items()
    if name != "data"  # the prefix itself
    for place in (path, os.path.realpath(path))
)
_PACKAGES = ("/site-packages/", "/dist-packages/")
"""Also those of another environment than this one: a PYTHONPATH may name them."""


def users_modules() -> Iterator[tuple[str, ModuleType]]:
    """Those that are imported by now, by name, in the order of their names."""
    return ((name, module) for name, module in sorted(sys.modules.items()) if is_users(name))


def is_users(name: str) -> bool:
    """Whether the module of that name comes from a file of the user's."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return bool(
        file and file.endswith(".py") and name.partition(".")[0] not in ("__main__", *_OURS) and is_users_file(file)
    )


def is_users_file(file: str) -> bool:
    """Whether code of this file is the user's; so is what no file has, as `exec` runs it."""
    return not (is_library(file) or file.startswith(_OUR_FOLDERS))


def is_library(file: str) -> bool:
    """Whether code of this file is Python's, or an installed package's."""
    return file.startswith(("<frozen ", *_INSTALLED)) or any(part in file for part in _PACKAGES)
