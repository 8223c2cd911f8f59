"""A tiny model is really trained from the answers of a teacher, served by llama.cpp, and evaluated."""

import json
import os
import shutil
from pathlib import Path

import httpx
import pytest

from support.training import NAME, compiled, deliver, make_tiny, merge, serving, train, written

SEEDS = [int(seed) for seed in os.environ.get("TINY_SEEDS", "0").split()]
BEFORE, AFTER = 35.0, 80.0
"""The most that the base may score on the 200 test tickets, and the least that the trained model must score."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny(folder, seed=0)
    return folder


@pytest.fixture
def rows(tiny: Path) -> str:
    return (tiny / "prompts.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_student_that_knew_nothing_learns_from_its_teacher(tmp_path: Path, seed: int) -> None:
    make_tiny(tmp_path / "made", seed)
    scores = compiled("compilation.yaml", tmp_path, tmp_path / "made" / "base", seed)
    assert scores["testBaseline"] <= BEFORE
    assert scores["testWinner"] >= AFTER


def test_an_adapter_is_served_over_its_base_as_soon_as_it_is_delivered(tmp_path: Path, tiny: Path, rows: str) -> None:
    models, merged = tmp_path / "models", tmp_path / "merged"
    models.mkdir()
    merged.mkdir()
    out = train(tmp_path, rows, tiny / "base", method="lora", steps=8, batchSize=8, learningRate=0.02, gguf=True)
    assert {path.name for path in (out / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["steps"] == 8
    merge(tiny / "base", out / "adapter", merged)
    with serving("tiny", tiny / "base", models, tmp_path / "serve.log") as url:
        assert _served(url) == ["tiny"]
        assert _ask(url, NAME).status_code == 404
        deliver(out, models)
        deliver(merged, models, "merged")
        assert _served(url) == ["tiny", NAME, "merged"]
        said = {name: _tokens(_ask(url, name)) for name in ("tiny", NAME, "merged")}
    assert said[NAME] == pytest.approx(said["merged"], abs=0.001), "llama.cpp adds the adapter as PEFT does"
    assert said[NAME] != pytest.approx(said["tiny"], abs=0.1)


def _tokens(answer: httpx.Response) -> list[float]:
    """Returns the logarithms of the probabilities of an answer's tokens."""
    return [token["logprob"] for token in answer.raise_for_status().json()["choices"][0]["logprobs"]["content"]]


def _served(url: str) -> list[str]:
    return [model["id"] for model in httpx.get(f"{url}/models").raise_for_status().json()["data"]]


def _ask(url: str, model: str) -> httpx.Response:
    messages = [{"role": "user", "content": "Hello, it is about the invoice."}]
    body = {"model": model, "messages": messages, "max_tokens": 20, "temperature": 0, "logprobs": True}
    return httpx.post(f"{url}/chat/completions", json=body, timeout=60)


def test_rows_that_are_too_long_are_refused_with_their_number_and_the_longest(
    tmp_path: Path, tiny: Path, rows: str
) -> None:
    chats = [json.loads(line) for line in rows.splitlines()[:10]]
    chats[3]["messages"][1]["content"] += " again" * 300
    out = train(tmp_path, "\n".join(map(json.dumps, chats)), tiny / "base", maxLength=100)
    refused = (out / "refused").read_text(encoding="utf-8")
    assert "1 of 10 rows" in refused
    assert "finetune.trainer.parameters.maxLength = 100 tokens; the longest has 3" in refused
    assert [path.name for path in out.iterdir()] == ["refused"]


def test_code_that_a_base_brings_does_not_run(tmp_path: Path, tiny: Path, rows: str) -> None:
    base, ran = tmp_path / "base", tmp_path / "ran"
    shutil.copytree(tiny / "base", base)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (base / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: ...\n", encoding="utf-8")
    out = train(tmp_path, rows, base)
    assert "finetune.trainer.base" in (out / "refused").read_text(encoding="utf-8")
    assert not ran.exists()


def test_a_base_without_a_chat_template_is_refused(tmp_path: Path, tiny: Path, rows: str) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny / "base", base)
    (base / "chat_template.jinja").unlink()
    assert "has no chat template" in (train(tmp_path, rows, base) / "refused").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"attention_bias": True}, "only llama with the default rope, without biases, can be written"),
        ("config.json", {"model_type": "qwen3"}, "the base is a qwen3 with the rope default"),
        ("config.json", {"vocab_size": 9}, "but its vocab_size is 9"),
        ("tokenizer.json", {"pre_tokenizer": None}, "the base's tokenizer is no byte-level BPE like GPT-2's"),
    ],
)
def test_a_model_that_llama_cpp_would_misread_is_not_written(
    tmp_path: Path, tiny: Path, file: str, change: dict[str, object], said: str
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny / "base", base)
    given = json.loads((base / file).read_text(encoding="utf-8"))
    (base / file).write_text(json.dumps(given | change), encoding="utf-8")
    assert said in written(base, tmp_path / "model.gguf")
