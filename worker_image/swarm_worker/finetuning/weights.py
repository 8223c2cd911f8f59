"""Keeps trained weights in a folder with the name of their model, on a volume or at a URL that fsspec knows.

manifest.json is written last. A folder with a manifest is complete, and stays as it is. A folder without one is left of
a pod that was killed, and the next pod replaces it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import Field, ValidationError

from swarm_wire import names
from swarm_wire.message_base import Figure, Message
from swarm_wire.names import WorkerReason
from swarm_worker.content import masking
from swarm_worker.content.retries import tried
from swarm_worker.content.storage_options import parsed_options, secrets_in
from swarm_worker.errors import BadInput, StorageFailed

MANIFEST: Final = "manifest.json"
ADAPTER, MODEL = "adapter", "model"
SUFFIXES: Final = frozenset({".safetensors", ".gguf", ".json", ".jinja", ".txt", ".model", ".tiktoken", ".md"})
"""Files of other kinds are left out: a file that Python unpickles can run code in the server that loads it."""
WEIGHTS: Final = frozenset({".safetensors", ".gguf"})
BLOCK: Final = 4 * 1024 * 1024
PROBE: Final = "probe"
PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds before each retry, so that a brief failure of a volume or bucket throws no training away."""
T = TypeVar("T")


class File(Message):
    sha256: str
    bytes: Figure


class Manifest(Message):
    """What a folder has, as manifest.json."""

    key: str
    name: str
    """Name under which a server answers for the model, without the provider."""
    base: dict[str, str]
    kind: str
    """adapter: needs the base. model: a whole model."""
    files: dict[str, File]
    """The files by their path in the folder."""
    metrics: dict[str, float] = Field({})

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_header(), sort_keys=True, indent=1).encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def size(self) -> int:
        return sum(file.bytes for file in self.files.values())


def made(out: Path, key: str, name: str, base: Mapping[str, str]) -> tuple[Manifest, list[str]]:
    """Returns the manifest of what a trainer has written, and the files that are left out.

    Raises BadInput if it has refused its input, or if there are no weights.
    """
    if (refused := out / "refused").is_file() and not refused.is_symlink():
        said = refused.read_text(encoding="utf-8", errors="replace").strip()[:1500]
        raise BadInput(WorkerReason.TRAINER_REFUSED, f"the trainer refuses: {said or 'it does not say why.'}")
    found = [path for path in sorted(out.rglob("*")) if path.is_file() and _is_ours(path.relative_to(out))]
    kept = [path for path in found if path.suffix in SUFFIXES and not path.is_symlink()]
    kind = next((kind for kind in (ADAPTER, MODEL) if any(_kind(path, out) == kind for path in kept)), None)
    if kind is None or not any(path.suffix in WEIGHTS for path in kept if _kind(path, out) == kind):
        others = ", ".join(path.relative_to(out).as_posix() for path in found if path not in kept)[:200]
        code = f" {others} may run code when it is loaded, so it is not kept." if others else ""
        raise BadInput(
            WorkerReason.FINE_TUNE_FAILED,
            f"the trainer has ended well, and there are no weights in ${names.ENV_OUT_DIR}.{code} It must write "
            "adapter/*.safetensors, model/*.safetensors, adapter.gguf or model.gguf there.",
        )
    files = {path.relative_to(out).as_posix(): File(sha256=_sha256(path), bytes=path.stat().st_size) for path in kept}
    left = [path.relative_to(out).as_posix() for path in found if path not in kept]
    return Manifest(key=key, name=name, base=dict(base), kind=kind, files=files, metrics=_metrics(out)), left


class Weights:
    """Keeps folders of weights.

    Args:
        url: a folder, as fsspec takes it.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        from fsspec.core import url_to_fs

        self._url, self._secrets = url, secrets_in(dict(options or {}), "finetune.trainer.output.options")
        is_local = url.partition(":")[0] == "file"
        self._files, self._root = url_to_fs(url, **({"auto_mkdir": True} if is_local else {}), **(options or {}))

    def find(self, name: str) -> Manifest | None:
        """Returns the manifest of a complete folder. Raises StorageFailed."""

        def read() -> bytes:
            try:
                data: bytes = self._files.cat_file(f"{self._root}/{name}/{MANIFEST}")
            except FileNotFoundError:
                return b""
            return data

        try:
            return Manifest.model_validate_json(self._tried("read", read))
        except ValidationError:
            return None

    def check(self, name: str) -> None:
        """Writes a small file and removes it, so that no training is lost to a storage that nobody can write to.

        Raises StorageFailed.
        """
        path = f"{self._root}/{name}/{PROBE}"
        self._tried("written", lambda: self._files.pipe_file(path, b""))
        self._tried("written", lambda: self._files.rm_file(path))

    def put(self, manifest: Manifest, out: Path) -> Manifest:
        """Copies the files of a manifest, and then the manifest. Returns what is kept.

        That may be another pod's result. Raises StorageFailed.
        """
        folder = f"{self._root}/{manifest.name}"
        self._tried("written", lambda: self._clear(folder))
        for path in manifest.files:
            self._tried("written", partial(self._files.put_file, str(out / path), f"{folder}/{path}"))
        if (found := self.find(manifest.name)) is not None:
            return found

        def close() -> None:
            # On a volume, a file is not written at once, but it is renamed at once.
            self._files.pipe_file(f"{folder}/{MANIFEST}.new", manifest.to_bytes())
            self._files.mv(f"{folder}/{MANIFEST}.new", f"{folder}/{MANIFEST}")

        self._tried("written", close)
        return manifest

    def _clear(self, folder: str) -> None:
        if self._files.isdir(folder):
            self._files.rm(folder, recursive=True)

    def _tried(self, what: str, act: Callable[[], T]) -> T:
        """Calls the function and returns its result. Raises StorageFailed after some retries."""
        try:
            return tried(act, PAUSES)
        except Exception as error:
            raise self._failed(what, error) from error

    def redact(self, text: str) -> str:
        """Masks the values of the options in a text, because they may be secrets."""
        return masking.redact(text, self._secrets)

    def _failed(self, what: str, error: Exception) -> StorageFailed:
        told = self.redact(f"{type(error).__name__}: {error}")
        return StorageFailed(f"finetune.trainer.output: {self._url} cannot be {what}: {told}")


def take(environment: MutableMapping[str, str]) -> Weights:
    """Returns the storage that the environment names, and removes its variables."""
    url = environment.pop(names.ENV_WEIGHTS, f"file://{names.WEIGHTS_DIR}")
    text = environment.pop(names.ENV_WEIGHTS_OPTIONS, "")
    return Weights(url, parsed_options(text, "finetune.trainer.output.options"))


def _is_ours(path: Path) -> bool:
    """Whether a file is a part of the result. A trainer may write checkpoints beside it."""
    return path.parts[0] in (ADAPTER, MODEL) or path.as_posix() in (f"{ADAPTER}.gguf", f"{MODEL}.gguf")


def _kind(path: Path, out: Path) -> str:
    return path.relative_to(out).parts[0].removesuffix(".gguf")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _metrics(out: Path) -> dict[str, float]:
    """Returns the numbers of metrics.json. The file is the trainer's, so it may be anything."""
    try:
        file = out / "metrics.json"
        given = {} if file.is_symlink() else json.loads(file.read_text(encoding="utf-8"))
        items = given.items()
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    numbers = {str(name)[:64]: value for name, value in items if isinstance(value, int | float) and abs(value) < 2**53}
    return {name: float(value) for name, value in list(numbers.items())[:20]}
