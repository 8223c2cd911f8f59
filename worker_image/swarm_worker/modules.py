"""Distinguishes user code from libraries and this package: it is neither installed nor ours."""

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

_OURS = ("swarm_limiter", "swarm_wire", "swarm_worker")
_OUR_FOLDERS = tuple(os.path.join(Path(__file__).parents[1], name, "") for name in _OURS)  # noqa: PTH118
_INSTALLED = tuple(
    os.path.join(place, "")  # noqa: PTH118
    for name, path in sysconfig.get_paths().items()
    if name != "data"  # the prefix itself
    for place in (path, os.path.realpath(path))
)
_PACKAGES = ("/site-packages/", "/dist-packages/")
"""Also matches packages of other environments, which PYTHONPATH may name."""


def users_modules() -> Iterator[tuple[str, ModuleType]]:
    """The user's modules that are imported by now, sorted by name."""
    return ((name, module) for name, module in sorted(sys.modules.items()) if is_users(name))


def is_users(name: str) -> bool:
    """Whether the module of that name comes from a user's file."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return bool(file and _is_users_module(name, file))


def users_files() -> dict[str, Path]:
    """Name -> file of the user's modules: those imported by now, and those that their import statements name.

    A function may import a module only when it is called. Imports with names made at run time are not found.
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
    """Whether code of this file is the user's. Code without a file, as `exec` runs it, counts as the user's."""
    return not (is_library(file) or file.startswith(_OUR_FOLDERS))


def is_library(file: str) -> bool:
    """Whether code of this file belongs to Python or an installed package."""
    return file.startswith(("<frozen ", *_INSTALLED)) or any(part in file for part in _PACKAGES)


def _is_users_module(name: str, file: str) -> bool:
    return file.endswith(".py") and name.partition(".")[0] not in ("__main__", *_OURS) and is_users_file(file)


def _imported(name: str, file: Path) -> Iterator[tuple[str, str]]:
    """Name and file of each module that this module's import statements may mean, and of its packages."""
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
            with suppress(ImportError):  # a relative import that leaves its package would fail
                base = resolve_name("." * node.level + (node.module or ""), package)
                for alias in node.names:
                    yield from _located(f"{base}.{alias.name}")


def _located(name: str) -> Iterator[tuple[str, str]]:
    """A module and its packages, as far as they exist. `importlib.util.find_spec` would import the packages."""
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
