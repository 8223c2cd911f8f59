"""The command `python -m swarm_worker pack` prints a folder as a ConfigMap, for `spec.program.source`."""

import argparse
import base64
import gzip
import io
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from swarm_wire.names import WorkerReason
from swarm_wire.spec.schema import FORMS, NAME
from swarm_worker.errors import BadInput, SwarmError
from swarm_worker.user.sources import laid_out

KEY = "source.tar.gz"
MOST_BYTES = 2**20
"""How many bytes a ConfigMap can hold."""
_SHOWN = 5
_PRIVATE_KEY = re.compile(rb"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----")
_MANIFEST = re.compile(rb"^(apiVersion|kind):", re.MULTILINE)
_KUSTOMIZATION = "kustomization.yaml"
"""A kustomization is left out by its name, because it may lack apiVersion and kind."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what the program's imports begin at")
    parser.add_argument("--name", required=True, help="of the ConfigMap")


def run(given: argparse.Namespace) -> int:
    """Returns the exit status: 0, or 1 if the folder cannot be packed."""
    try:
        left_out: list[str] = []
        content = dict(collected(given.folder, left_out.append))
        text = manifest(given.name, content, given.folder)
    except SwarmError as error:
        sys.stderr.write(f"{error.reason}: {error}\n")
        return 1
    sys.stdout.write(text)
    sys.stderr.write(f"{len(content)} files: {', '.join([*content][:_SHOWN])}{', ...' * (len(content) > _SHOWN)}\n")
    if left_out:
        sys.stderr.write(f"left out: {', '.join(left_out)}\n")
    return 0


def collected(folder: Path, leave_out: Callable[[str], object] = str) -> Iterator[tuple[str, bytes]]:
    """Yields the path of each file within the folder, and its content, in a fixed order.

    It leaves out compiled Python files, names that begin with a dot, virtual environments (folders with a pyvenv.cfg),
    private keys, and kustomization.yaml. It also leaves out manifests of Kubernetes: YAML files with apiVersion and
    kind, and empty YAML files. Raises BadInput for a link.

    Args:
        leave_out: receives each path that is left out, except compiled files.
    """
    if not folder.is_dir():
        raise _refused(f"{folder} is not a folder")
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        inner = sorted(name for name in folders if name != "__pycache__")
        folders[:] = [name for name in inner if not name.startswith(".") and not (here / name / "pyvenv.cfg").exists()]
        files = sorted(name for name in names if not name.endswith(".pyc"))
        for name in [*(name for name in inner if name not in folders), *(name for name in files if name[0] == ".")]:
            leave_out((here / name).relative_to(folder).as_posix())
        links = (name for name in folders if (here / name).is_symlink())
        for name in sorted([*(name for name in files if name[0] != "."), *links]):
            path = here / name
            if path.is_symlink() or not path.is_file():
                raise _refused(f"{path} is a link, or no file: put the file itself in its place")
            data, told = path.read_bytes(), path.relative_to(folder).as_posix()
            is_manifest = path.suffix in (".yaml", ".yml") and (name == _KUSTOMIZATION or _is_manifest(data))
            if is_manifest or _PRIVATE_KEY.match(data):
                leave_out(told)
            else:
                yield told, data


def _is_manifest(data: bytes) -> bool:
    """Whether a YAML file is a manifest. An empty file counts, because the shell may redirect our output into it."""
    return not data.strip() or len(set(_MANIFEST.findall(data))) > 1


def packed(content: Mapping[str, bytes]) -> bytes:
    """Returns a tar.gz with these files. The same files always give the same bytes."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in sorted(content.items()):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(whole.getvalue(), 9, mtime=0)


def manifest(name: str, content: Mapping[str, bytes], folder: Path) -> str:
    """Returns a ConfigMap with the packed files, as YAML. Raises BadInput if a pod could not use it."""
    if not re.fullmatch(NAME, name):
        raise _refused(f"--name must be {FORMS[NAME]} (it is {name!r})")
    if not content:
        raise _refused(f"{folder} has no files to pack")
    archive = packed(content)
    if len(archive) > MOST_BYTES:
        largest = sorted(content, key=lambda path: -len(content[path]))[:_SHOWN]
        told = ", ".join(f"{path} ({len(content[path]):,} bytes)" for path in largest)
        raise _refused(
            f"{folder} takes {len(archive):,} bytes when packed, and a ConfigMap holds {MOST_BYTES:,}. The largest "
            f"files: {told}. Move data into ConfigMaps of its own, or all of it into an image (spec.image)"
        )
    laid_out({KEY: archive}, None, name)  # a pod unpacks in the same way, so this finds the pod's errors
    return (
        f"# Made by: python -m swarm_worker pack. Apply it with: kubectl apply --server-side\n"
        f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\nbinaryData:\n"
        f"  {KEY}: {base64.b64encode(archive).decode()}\n"
    )


def _refused(what: str) -> BadInput:
    return BadInput(WorkerReason.PROGRAM_LOAD_FAILED, f"{what}.")
