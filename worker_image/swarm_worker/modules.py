"""Distinguishes user code from other code. User code belongs neither to an installed package nor to dspy-swarm."""

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

_OURS = ("swarm_engine", "swarm_git", "swarm_limiter", "swarm_wire", "swarm_worker")
_OUR_FOLDERS = tuple(os.path.join(Path(__file__).parents[1], name, "") for name in _OURS)  # noqa: PTH118
_INSTALLED = tuple(
    os.path.join(place, "")  # noqa: PTH118
    for name, path in sysconfig.get_paths().items()
    if name != "data"  # "data" is sysconfig's name of the prefix, and a user's files may be below that
    for place in (path, os.path.realpath(path))
)
_PACKAGES = ("/site-packages/", "/dist-packages/")
"""Names of folders with installed packages. PYTHONPATH may name such folders of other environments."""


def users_modules() -> Iterator[tuple[str, ModuleType]]:
    """Returns the user's modules that are imported by now, sorted by name."""
    return ((name, module) for name, module in sorted(sys.modules.items()) if is_users(name))


def is_users(name: str) -> bool:
    """Whether the module of this name is user code."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return bool(file and _is_users_module(name, file))


def users_files() -> dict[str, Path]:
    """Returns the files of the user's modules by name.

    These are the modules imported so far, and the modules that their imports name.

    Import statements within functions count, too, because a later call may run them. A module that `importlib` loads by
    a name made at run time is not found.
    """
    found: dict[str, Path] = {}
    todo = [(name, str(module.__file__)) for name, module in users_modules()]
    while todo:
        name, file = todo.pop()
        if name not in found and _is_users_module(name, file):
            found[name] = Path(file)
            todo += _imported(name, found[name])
    return dict(sorted(found.items()))


def is_users_file(file: str) -> bool:
    """Whether this file is user code. Code without a file, such as code that `exec` runs, counts as user code."""
    return not (is_library(file) or file.startswith(_OUR_FOLDERS))


def is_library(file: str) -> bool:
    """Whether code of this file belongs to Python or an installed package."""
    return file.startswith(("<frozen ", *_INSTALLED)) or any(part in file for part in _PACKAGES)


def _is_users_module(name: str, file: str) -> bool:
    return file.endswith(".py") and name.partition(".")[0] not in ("__main__", *_OURS) and is_users_file(file)


def _imported(name: str, file: Path) -> Iterator[tuple[str, str]]:
    """Yields name and file of each module that this module's import statements may mean, and of their packages."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _located(alias.name)
        elif isinstance(node, ast.ImportFrom):
            with suppress(ImportError):  # raised for a relative import that leaves its package
                base = resolve_name("." * node.level + (node.module or ""), package)
                for alias in node.names:
                    yield from _located(f"{base}.{alias.name}")


def _located(name: str) -> Iterator[tuple[str, str]]:
    """Yields name and file of a module and of the packages around it, as far as these exist.

    The function avoids `importlib.util.find_spec`, which would import the packages.
    """
    places: Sequence[str] | None = None
    for count, _ in enumerate(name.split("."), 1):
        spec = PathFinder.find_spec(name.rsplit(".", name.count(".") + 1 - count)[0], places)
        if spec is None:
            return
        if spec.origin is not None:
            yield spec.name, spec.origin
        places = spec.submodule_search_locations
        if places is None:
            return
