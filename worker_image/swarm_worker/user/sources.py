"""Provides the program's files as a folder for imports.

They are in a ConfigMap, which may hold archives, or in a snapshot, which the run has fetched from git.
"""

import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from swarm_wire import names
from swarm_wire.messages import PROGRAM_FILES, Snapshot
from swarm_wire.names import WorkerReason
from swarm_wire.shards import files, read_folder
from swarm_wire.snapshots import MOST_BYTES, MOST_FILES, complete
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.git import GitSource
from swarm_wire.spec.program import KeyToPath, SourceMap
from swarm_wire.words import sentence
from swarm_worker.errors import BadInput

TAR, ZIP = (".tar.gz", ".tgz"), (".zip",)
_GZIP = 31
"""zlib's `wbits` for the gzip format."""


def program_folder(spec: CompilationSpec, sources: Path) -> Path | None:
    """Returns the folder of the program's files; None if the spec names no source. Raises BadInput for a bad source."""
    source = spec.program.source
    return None if source is None else FOLDERS[source.which](getattr(source, source.which), sources)


def data_folder(spec: CompilationSpec, sources: Path) -> Path:
    """Returns the folder where relative paths of data begin."""
    return program_folder(spec, sources) or Path(os.environ.get(names.ENV_BASE_DIR) or ".")


def run_folder() -> Path:
    """Returns the folder with the run's request and, if the run needs it, the published program."""
    return Path(os.environ.get(names.ENV_RUN_DIR) or names.RUN_DIR)


def volumes_folder() -> Path:
    """Returns the folder with a subfolder for each volume of data, named like its claim."""
    return Path(os.environ.get(names.ENV_VOLUMES_DIR) or names.VOLUMES_DIR)


def _of_config_map(source: SourceMap, sources: Path) -> Path:
    """Returns the folder where the ConfigMap is mounted. With archives or items, it is a folder of copies."""
    name, items = source.name, source.items
    mounted = sources / name
    if not mounted.is_dir():
        raise _refused(f"the ConfigMap {name} is not there")
    content = {str(path.relative_to(mounted)): path for path in files(mounted)}
    if items is None and not any(key.endswith((*TAR, *ZIP)) for key in content):
        return mounted
    mounts = {key: path.read_bytes() for key, path in content.items()}
    target = unpacked_folder() / _digest(mounts, items)
    if not target.is_dir():
        _write(laid_out(mounts, items, name), target)
    return target


def snapshot() -> tuple[Snapshot, bytes] | None:
    """Returns the header and the archive of the program's files that the run has fetched; None if it has fetched none.

    Raises BadInput if a part is missing or altered.
    """
    folder = Path(os.environ.get(names.ENV_SNAPSHOT_DIR) or names.SNAPSHOT_DIR)
    found = ((Snapshot.model_validate(record.header), record.body) for record in read_folder(folder))
    parts = [(head, body) for head, body in found if head.of == PROGRAM_FILES]
    if not parts:
        return None
    whole = complete(parts).get(PROGRAM_FILES, [])
    head, archive = (whole or parts)[0][0], b"".join(body for _, body in whole)
    if hashlib.sha256(archive).hexdigest() != head.sha256:
        raise BadInput(
            WorkerReason.SOURCE_INVALID,
            f"the files of commit {head.revision} are incomplete or were altered in the run's ConfigMaps. Find out who "
            "changes them, and begin a new run.",
        )
    return head, archive


def left_out() -> list[str]:
    """Returns what the fetched files lack, such as files in LFS, as sentences for people."""
    found = snapshot()
    return found[0].notes if found else []


def _of_git(source: GitSource, sources: Path) -> Path:
    """Returns the folder into which the fetched files are unpacked."""
    found = snapshot()
    if found is None:
        raise _refused(f"the files of {source.url} were not fetched")
    head, archive = found
    target = unpacked_folder() / head.sha256[:32]
    if not target.is_dir():
        _write(dict(_unpacked("files.tar.gz", archive, f"commit {head.revision}")), target)
    return target


def unpacked_folder() -> Path:
    """Returns the folder into which processes unpack fetched files and archives."""
    return Path(os.environ.get(names.ENV_UNPACKED_DIR) or names.UNPACKED_DIR)


FOLDERS: Final[Mapping[str, Callable[[Any, Path], Path]]] = {"config_map": _of_config_map, "git": _of_git}
"""Functions that find the folder of a source's files, by the member of ProgramSource that the source uses."""


def laid_out(content: Mapping[str, bytes], items: Sequence[KeyToPath] | None, where: str) -> dict[str, bytes]:
    """Returns the content of each file by its path, with archives unpacked.

    Without items, every key is a file under its own name. With items, only the items' keys are files, at the items'
    paths.
    """
    chosen = {key: key for key in content} if items is None else {item.path: item.key for item in items}
    made: dict[str, bytes] = {}
    for path, key in sorted(chosen.items()):
        if key not in content:
            raise _refused(f"the ConfigMap {where} has no key {key!r}. It has: {', '.join(sorted(content)) or 'none'}")
        told = f"{key} of the ConfigMap {where}"
        for inner, data in _unpacked(path, content[key], told):
            if inner in made:
                raise _refused(f"{told} holds {inner}, which another key holds, too")
            made[inner] = data
    return made


def _unpacked(path: str, data: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    if not path.endswith((*TAR, *ZIP)):
        yield path, data
        return
    parent = PurePosixPath(path).parent
    try:
        for number, (name, body) in enumerate((_tar if path.endswith(TAR) else _zip)(data, where), 1):
            if number > MOST_FILES:
                raise _refused(f"{where} holds more than {MOST_FILES:,} files")
            inner = PurePosixPath(name)
            hidden = any(part.startswith("..") for part in inner.parts)  # Kubernetes itself uses names such as "..data"
            if inner.is_absolute() or hidden or "\\" in name or not inner.parts or not name.isprintable():
                raise _refused(f"{where} holds {name!r}, which is no path within a folder")
            yield str(parent / inner), body
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise _refused(
            f"{where} cannot be unpacked: {sentence(str(error))} Make it with: python -m swarm_worker pack"
        ) from None


def _tar(data: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    gzip = zlib.decompressobj(_GZIP)
    whole = gzip.decompress(data, MOST_BYTES + 1)
    if len(whole) > MOST_BYTES:
        raise _too_large(where)
    if not gzip.eof:
        raise EOFError("its end is missing")
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as archive:
        left = MOST_BYTES
        for member in archive:
            left -= member.size  # a sparse file is larger than its data in the archive
            if left < 0:
                raise _too_large(where)
            if member.isreg() and (file := archive.extractfile(member)) is not None:
                yield member.name, file.read()
            elif not member.isdir():
                raise _no_file(where, member.name)


def _zip(data: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        left = MOST_BYTES
        for member in archive.infolist():
            if member.is_dir():
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _no_file(where, member.filename)
            with archive.open(member) as file:
                body = file.read(left + 1)
            left -= len(body)
            if left < 0:
                raise _too_large(where)
            yield member.filename, body


def _digest(content: Mapping[str, bytes], items: Sequence[KeyToPath] | None) -> str:
    """Returns a folder name that is known before unpacking. So only one of a machine's processes unpacks."""
    hasher = hashlib.sha256()
    for key, data in sorted(content.items()):
        hasher.update(f"{key}/{len(data)}/".encode() + data)
    for item in items or ():
        hasher.update(f"{item.key}:{item.path}/".encode())
    return hasher.hexdigest()[:32]


def _write(content: Mapping[str, bytes], target: Path) -> None:
    """Writes the files into a new folder. If a process is killed meanwhile, the folder does not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    for path, data in content.items():
        file = scratch / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise _refused(f"{path} is a file and a folder") from None
    try:
        scratch.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(scratch)


def _no_file(where: str, name: str) -> BadInput:
    return _refused(f"{where} holds {name!r}, which is neither a file nor a folder: put the file itself in its place")


def _too_large(where: str) -> BadInput:
    return _refused(f"{where} holds more than {MOST_BYTES // 2**20} MiB")


def _refused(what: str) -> BadInput:
    return BadInput(WorkerReason.PROGRAM_LOAD_FAILED, f"spec.program.source: {what}.")
