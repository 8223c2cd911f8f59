"""Imports "module:attribute" from the user's files, with clear errors."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from swarm_wire.names import WorkerReason
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.data import DataSource
from swarm_worker.errors import BadInput, SwarmError
from swarm_worker.exceptions import describe, location
from swarm_worker.user.sources import program_folder


def add_sources(spec: CompilationSpec, sources: Path) -> None:
    """Makes the program's files importable."""
    folder = program_folder(spec, sources)
    if folder is not None:
        sys.path.insert(0, str(folder))
        # Python cannot write bytecode into a ConfigMap volume, and no process would read it elsewhere.
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()


def load(entrypoint: str, where: str, reason: WorkerReason) -> Any:
    """Returns the object that an entrypoint names.

    Args:
        entrypoint: "module:attribute"; the attribute may belong to an object in the module: "module:tools.metric".
        where: the field of the spec, for messages.
        reason: the reason of the BadInput that a failure raises.
    """
    module_name, _, attribute = entrypoint.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if missing == module_name or module_name.startswith(missing + "."):
            raise BadInput(
                reason,
                f'{where}: there is no module {missing!r} for "{entrypoint}". A ConfigMap source needs a key '
                f'"{missing}.py", or an archive with the package; in a git source, source.git.path names the folder in '
                "which imports begin; without a source the module must be beside the YAML, or installed in the image. "
                f"Importable files here: {', '.join(_files()) or 'none'}.",
            ) from None
        raise BadInput(
            reason,
            f'{where}: importing "{module_name}" failed: it imports {missing!r}, which is not installed '
            f"({location(error)}). On a laptop, install it; in a cluster, add it to an image of your own and name that "
            "in spec.image.",
        ) from None
    except SwarmError:
        raise
    except BaseException as error:
        raise BadInput(
            reason,
            f'{where}: importing "{module_name}" raised {describe(error)}. Correct the file, then apply it again.',
        ) from None
    found, path = module, f'module "{module_name}"'
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            there = ", ".join(sorted(known for known in dir(found) if not known.startswith("_"))[:20])
            raise BadInput(reason, f'{where}: {path} has no "{name}". It has: {there or "nothing"}.') from None
        path = f'"{name}" of {path}'
    return found


def call(function: Callable[[], Any], entrypoint: str, where: str, reason: WorkerReason) -> Any:
    """Calls the user's function, and returns its result. Raises BadInput for any exception.

    The other arguments are those of `load`.
    """
    try:
        return function()
    except BaseException as error:
        raise BadInput(reason, f'{where}: calling "{entrypoint}" raised {describe(error)}.') from None


def import_all(spec: CompilationSpec) -> None:
    """Imports the objects that the spec's entrypoints name, in a plan's order. It calls none of them."""
    for entrypoint, where, reason in _entrypoints(spec):
        load(entrypoint, where, reason)


def _entrypoints(spec: CompilationSpec) -> Iterator[tuple[str, str, WorkerReason]]:
    yield spec.program.entrypoint, "spec.program.entrypoint", WorkerReason.PROGRAM_LOAD_FAILED
    yield spec.metric.entrypoint, "spec.metric.entrypoint", WorkerReason.METRIC_LOAD_FAILED
    for name in type(spec.data).model_fields:
        source = getattr(spec.data, name)
        if isinstance(source, DataSource) and source.entrypoint is not None:
            yield source.entrypoint, f"spec.data.{name}", WorkerReason.DATA_INVALID
    if (custom := spec.optimizer.custom) is not None:
        yield custom.entrypoint, "spec.optimizer.custom.entrypoint", WorkerReason.OPTIMIZER_INVALID


def _files() -> list[str]:
    first = Path(sys.path[0] or ".")
    found = [*first.glob("*.py"), *(path.parent for path in first.glob("*/__init__.py"))] if first.is_dir() else []
    return sorted(path.name + "/" * path.is_dir() for path in found)[:20]
