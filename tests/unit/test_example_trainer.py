"""The trainer of examples/trainers/trl checks what it is asked for before it loads PyTorch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.worker import importable

TRAINER = Path(__file__).parents[2] / "examples" / "trainers" / "trl"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BASE = {"name": "Qwen/Qwen3-0.6B", "revision": COMMIT, "path": None}


def asked(folder: Path, parameters: dict[str, Any], base: dict[str, str | None] = BASE) -> Path:
    given, out = folder / "finetune", folder / "out"
    given.mkdir()
    out.mkdir()
    request = {"key": COMMIT[:32], "name": "ft-0", "seed": 0, "base": base, "parameters": parameters}
    (given / "params.json").write_text(json.dumps(request), encoding="utf-8")
    return folder


def train(folder: Path) -> str:
    """Runs the trainer without PyTorch. Returns what it writes to `refused`."""
    folders = {"SWARM_FINETUNE_DIR": str(folder / "finetune"), "SWARM_OUT_DIR": str(folder / "out")}
    subprocess.run([sys.executable, TRAINER / "train.py"], env=folders, check=True)
    refused = folder / "out" / "refused"
    return refused.read_text(encoding="utf-8") if refused.exists() else ""


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"learningrate": 0.1}, "finetune.trainer.parameters.learningrate is unknown; known are: method, rank, "),
        ({"method": "qlora"}, "parameters.method is 'qlora'; write one of: lora, full"),
        ({"rank": "16"}, "parameters.rank is '16'; write a value of type int"),
        ({"gguf": 1}, "parameters.gguf is 1; write a value of type bool"),
        ({"batchSize": 0}, "parameters.batchSize is 0; write a number above 0"),
        ({"learningRate": -0.1}, "parameters.learningRate is -0.1; write a number above 0"),
        ({"warmup": 1}, "parameters.warmup is 1.0; write a number from 0 to less than 1"),
        ({"batchSize": 16, "deviceBatchSize": 5}, "parameters.batchSize must be a multiple of deviceBatchSize (5)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_parameter_that_cannot_be_used_is_refused_with_its_name(
    tmp_path: Path, parameters: dict[str, Any], said: str
) -> None:
    assert said in train(asked(tmp_path, parameters))


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:39]])
def test_a_base_that_is_not_pinned_is_refused(tmp_path: Path, revision: str | None) -> None:
    refused = train(asked(tmp_path, {}, {**BASE, "revision": revision}))
    assert f"finetune.trainer.base.revision is {revision}; write the commit of Qwen/Qwen3-0.6B, 40 hex" in refused


def test_a_base_that_only_has_pickled_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "pytorch_model.bin").touch()
    path = str(tmp_path / "base")
    refused = train(asked(tmp_path, {}, {"name": "tiny", "revision": None, "path": path}))
    assert refused == f"finetune.trainer.base.path: {path} has no .safetensors files\n"


def test_a_trainer_whose_result_is_kept_already_does_nothing(tmp_path: Path) -> None:
    (asked(tmp_path, {"unknown": 1}) / "finetune" / "delivered").touch()
    assert train(tmp_path) == ""


def test_parameters_that_are_left_out_have_their_defaults() -> None:
    with importable(TRAINER):
        from parameters import Parameters

        found = Parameters.read({"learningRate": 1, "gguf": True, "weightDecay": 0})
        assert (found.learning_rate, found.gguf, found.weight_decay) == (1.0, True, 0.0)
        assert (found.method, found.rank, found.batch_size) == ("lora", 16, 16)
