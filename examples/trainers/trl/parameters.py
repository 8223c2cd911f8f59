"""What a trainer is asked for: `$SWARM_FINETUNE_DIR/params.json`, checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}")
CHOICES = {"method": ("lora", "full"), "schedule": ("cosine", "linear", "constant")}
MAY_BE_ZERO = ("warmup", "weightDecay")
FIELD = "finetune.trainer.parameters"


class RefusedError(Exception):
    """The input can never be trained on. The text says what is wrong, and what to write instead."""


@dataclass(frozen=True)
class Parameters:
    """`finetune.trainer.parameters`, with their defaults. In the spec, names are written in camel case."""

    method: str = "lora"
    """`lora` trains an adapter, `full` all weights."""
    rank: int = 16
    """The rank of the adapter."""
    alpha: int = 0
    """The scale of the adapter: it counts alpha / rank times. 0: twice the rank."""
    epochs: float = 3.0
    """How often each row is trained on."""
    steps: int = 0
    """The number of steps, of `batch_size` rows each. 0: as many as `epochs` needs."""
    learning_rate: float = 2e-4
    """The highest learning rate."""
    schedule: str = "cosine"
    """How the learning rate falls after the warm-up: `cosine`, `linear`, or `constant`, not at all."""
    warmup: float = 0.1
    """The share of the steps in which the learning rate rises."""
    weight_decay: float = 0.01
    batch_size: int = 16
    """Rows of a step."""
    device_batch_size: int = 0
    """Rows that the device computes at once; less needs less memory. 0: all rows of a step."""
    max_length: int = 4096
    """The most tokens of a row. If a row is longer, the trainer refuses all; it cuts none."""
    threads: int = 0
    """Threads on a CPU; a model of a million parameters is fastest with one. 0: PyTorch decides."""
    gguf: bool = False
    """Whether to write the result for llama.cpp, too. Only models of Llama's architecture can be written."""

    @property
    def is_lora(self) -> bool:
        """Whether an adapter is trained."""
        return self.method == "lora"

    @classmethod
    def read(cls, given: Mapping[str, object]) -> Parameters:
        """Returns the parameters with these values.

        Raises RefusedError if a name is unknown, or if a value is of the wrong type or out of range.
        """
        known = {_camel(field.name): field for field in fields(cls)}
        if unknown := sorted(set(given) - set(known)):
            raise RefusedError(f"{FIELD}.{unknown[0]} is unknown; known are: {', '.join(known)}")
        values = {known[name].name: _checked(name, value, known[name].default) for name, value in given.items()}
        found = cls(**values)  # type: ignore[arg-type]
        if found.batch_size % (found.device_batch_size or 1):
            raise RefusedError(f"{FIELD}.batchSize must be a multiple of deviceBatchSize ({found.device_batch_size})")
        return found


@dataclass(frozen=True)
class Base:
    """The model to train: a folder, or a commit of a repository on the Hugging Face Hub."""

    name: str
    revision: str | None
    path: str | None

    @property
    def source(self) -> str:
        """Returns what `from_pretrained` takes."""
        return self.path or self.name

    def check(self) -> None:
        """Raises RefusedError if the folder has no weights, or if the commit is not pinned."""
        if self.path and not any(Path(self.path).glob("*.safetensors")):
            raise RefusedError(f"finetune.trainer.base.path: {self.path} has no .safetensors files")
        if not self.path and not COMMIT.fullmatch(self.revision or ""):
            raise RefusedError(
                f"finetune.trainer.base.revision is {self.revision}; write the commit of {self.name}, 40 hex digits"
            )


@dataclass(frozen=True)
class Request:
    """The whole of params.json."""

    name: str
    seed: int
    base: Base
    parameters: Parameters

    @classmethod
    def read(cls, file: Path) -> Request:
        """Reads params.json. Raises RefusedError if a value is invalid."""
        given = json.loads(file.read_text(encoding="utf-8"))
        base = Base(**{key: given["base"].get(key) for key in ("name", "revision", "path")})
        base.check()
        return cls(given["name"], given["seed"], base, Parameters.read(given["parameters"]))


def _camel(name: str) -> str:
    return re.sub(r"_(.)", lambda match: match[1].upper(), name)


def _checked(name: str, value: object, default: object) -> object:
    wanted = type(default)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise RefusedError(f"{FIELD}.{name} is {value!r}; write a value of type {wanted.__name__}")
    if name in CHOICES and value not in CHOICES[name]:
        raise RefusedError(f"{FIELD}.{name} is {value!r}; write one of: {', '.join(CHOICES[name])}")
    if isinstance(value, int | float) and not _is_in_range(name, value, default):
        raise RefusedError(f"{FIELD}.{name} is {value!r}; write a number {_range(name)}")
    return value


def _range(name: str) -> str:
    return "from 0 to less than 1" if name == "warmup" else "above 0"


def _is_in_range(name: str, value: float, default: object) -> bool:
    if name == "warmup":
        return 0 <= value < 1
    return 0 < value < inf or (value == 0 and (not default or name in MAY_BE_ZERO))
