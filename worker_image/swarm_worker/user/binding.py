"""Computes the binding: the digest that ties a journal to its run.

A cell's key covers a function's own code, but not the globals and helpers that the code uses. So a journal belongs to
one state of the program's files, the data, the installed distributions, the image and the hash seed. The program's
files are those of its ConfigMap, the user's imported modules, and modules that their import statements name. The
binding also covers the names of the spec's environment variables, and those of their values that are no secrets.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import dspy

from swarm_wire.messages import RunRequest
from swarm_wire.report import Origin
from swarm_wire.shards import files
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.content.digest import Walk, combine
from swarm_worker.content.packages import packages
from swarm_worker.modules import users_files
from swarm_worker.user.data import Data
from swarm_worker.user.fetched import fetched_files
from swarm_worker.user.program import state_file
from swarm_worker.user.sources import program_folder, snapshot


def binding(origin: Origin, hash_seed: int, variables: Sequence[str] = ()) -> str:
    """Returns the binding, 32 hex digits.

    Args:
        variables: environment variables, in the form of `swarm_wire.spec.variables.bound`.
    """
    made_of = (origin.image, origin.packages, origin.data, origin.program)
    return combine("binding", str(hash_seed), *made_of, *variables).hex()


def origin(request: RunRequest, sources: Path, data: Data, image: str) -> Origin:
    """Returns the origin of this process's results. Call it after the program's import: imported modules count."""
    spec = request.spec
    written = json.dumps(spec.as_written(), sort_keys=True, ensure_ascii=False)
    return Origin(
        run_id=request.run_id,
        spec=hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest(),
        program=combine("program", *(f"{name}\0{text.hex()}" for name, text in _files(spec, sources))).hex(),
        data=Walk().digest(data.train, data.validation, data.test),
        packages=packages(),
        models={role: model.model for role, model in spec.models.by_role.items()},
        dspy=dspy.__version__,
        image=image,
        files=fetched_files(),
        commit=fetched[0].revision if (fetched := snapshot()) is not None else "",
    )


def _files(spec: CompilationSpec, sources: Path) -> Iterator[tuple[str, bytes]]:
    folder = program_folder(spec, sources)
    if folder is not None:
        yield from ((str(path.relative_to(folder)), path.read_bytes()) for path in sorted(files(folder)))
    if (state := state_file(spec, sources)) is not None:
        yield "spec.program.state", state.read_bytes()
    yield from ((name, file.read_bytes()) for name, file in users_files().items())
