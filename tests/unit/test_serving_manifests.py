"""examples/serving prints what serves a tuned model."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_wire.tuned import TunedModel, Weights

SCRIPT = Path(__file__).parents[2] / "examples" / "serving" / "manifest.py"
KEY = "0123456789abcdef0123456789abcdef"


def printed(server: str, tmp_path: Path, **weights: Any) -> subprocess.CompletedProcess[str]:
    place = {"revision": "a" * 40, "place": f"pvc://adapters/{KEY}", "kind": "adapter", "sha256": "b" * 64, "bytes": 1}
    made = Weights.model_validate({**place, **weights})
    tuned = TunedModel(model=f"openai/ft-{KEY[:12]}", base="Qwen/Qwen3-0.6B", rows=100, tokens=1000, weights=made)
    report = tmp_path / "report.json"
    report.write_text(f'{{"tuned": [{tuned.to_json()}]}}', encoding="utf-8")
    return subprocess.run([sys.executable, SCRIPT, server, report], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("server", "kind", "words"),
    [
        ("vllm", "adapter", [f"--lora-modules ft-{KEY[:12]}=/weights/{KEY}/adapter", f"--revision {'a' * 40}"]),
        ("vllm", "model", [f"vllm serve /weights/{KEY}/model --served-model-name ft-{KEY[:12]} "]),
        ("llama-cpp", "adapter", [f"--lora /weights/{KEY}/adapter.gguf", "--model /base/model.gguf"]),
        ("llama-cpp", "model", [f"--model /weights/{KEY}/model.gguf"]),
    ],
)
def test_a_server_gets_the_weights_under_the_name_in_the_program(
    server: str, kind: str, words: list[str], tmp_path: Path
) -> None:
    ended = printed(server, tmp_path, kind=kind)
    assert ended.returncode == 0, ended.stderr
    deployment, service = yaml.safe_load_all(ended.stdout)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert [word for word in [*words, f"ft-{KEY[:12]}"] if word not in f"{container} {deployment}"] == []
    [volume, *_] = deployment["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == "adapters"
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert "b" * 64 in ended.stdout
    assert ("llama-base" in ended.stdout) == (server == "llama-cpp" and kind == "adapter")
    assert "of the base" not in ended.stdout


def test_ollama_gets_base_and_adapter(tmp_path: Path) -> None:
    told = printed("ollama", tmp_path).stdout
    assert "FROM Qwen/Qwen3-0.6B" in told
    assert f"ADAPTER /weights/{KEY}/adapter" in told


def test_weights_in_a_bucket_are_refused_with_what_to_do(tmp_path: Path) -> None:
    ended = printed("vllm", tmp_path, place=f"s3://bucket/{KEY}")
    assert ended.returncode == 1
    assert "copy them to a volume" in ended.stderr
