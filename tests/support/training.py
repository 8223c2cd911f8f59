"""The tiny model of examples/tiny: made, trained by examples/trainers/trl, and served by llama.cpp."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from simulated_provider.testing import running_provider
from support.compiles import KNOWLEDGE, ROOT, environment, run_local

EXAMPLES = ROOT / "examples"
PYTHON = ROOT / ".venv-train" / "bin" / "python"
"""The Python that has PyTorch and llama.cpp."""
KEY = "0123456789abcdef0123456789abcdef"
NAME = f"ft-{KEY[:12]}"
MERGE = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, target = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
model.merge_and_unload().save_pretrained(target)
AutoTokenizer.from_pretrained(base).save_pretrained(target)
"""


def make_tiny(folder: Path, seed: int) -> None:
    """Makes tickets, and a base that has learned nothing in `folder`/base."""
    tiny, more = EXAMPLES / "tiny", ("--seed", str(seed))
    _run(sys.executable, tiny / "make_data.py", *more, folder)
    _run(PYTHON, tiny / "make_base.py", *more, folder / "prompts.jsonl", folder / "base")


def train(folder: Path, rows: str, base: Path, **parameters: Any) -> Path:
    """Runs the trainer as dspy-swarm does. Returns the folder to which it has written."""
    given, out = folder / "finetune", folder / "out"
    given.mkdir(parents=True)
    out.mkdir()
    (given / "data.jsonl").write_text(rows, encoding="utf-8")
    named = {"name": "tiny", "revision": None, "path": str(base)}
    request = {"key": KEY, "name": NAME, "seed": 0, "base": named, "parameters": {"threads": 1, **parameters}}
    (given / "params.json").write_text(json.dumps(request), encoding="utf-8")
    folders = {"SWARM_FINETUNE_DIR": str(given), "SWARM_OUT_DIR": str(out)}
    _run(PYTHON, EXAMPLES / "trainers" / "trl" / "train.py", HF_HUB_OFFLINE="1", **folders)
    return out


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Writes `target`/model.gguf, a whole model in which PEFT has added the adapter to the weights of its base."""
    _run(PYTHON, "-c", MERGE, base, adapter, target / "merged")
    _run(PYTHON, EXAMPLES / "trainers" / "trl" / "gguf_llama.py", target / "merged", target / "model.gguf")


def deliver(out: Path, folder: Path, name: str = NAME) -> None:
    """Puts a trainer's result where a server looks for it."""
    target = folder / name
    out.rename(target)
    manifest = {"key": KEY, "name": name, "base": {"name": "tiny"}}
    (target / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def compiled(file: str, folder: Path, base: Path, seed: int) -> dict[str, float]:
    """Compiles an example of examples/tiny in a folder that has its data. Returns the scores of the report.

    The simulated provider is the teacher, and llama.cpp serves the base and what is trained.
    """
    tiny = EXAMPLES / "tiny"
    shutil.copy(tiny / "triage4.py", folder)
    manifest = yaml.safe_load((tiny / file).read_text(encoding="utf-8"))
    spec, name = manifest["spec"], manifest["metadata"]["name"]
    spec["finetune"]["seed"] = seed
    trainer = spec["finetune"]["trainer"]
    trainer["command"] = [str(PYTHON), str(EXAMPLES / "trainers" / "trl" / "train.py")]
    trainer["base"]["path"] = str(base)
    models = folder / "journal" / "models"
    with (
        running_provider(knowledge=KNOWLEDGE, model={"large": 0.95}, seed=seed) as provider,
        serving(name, base, models, folder / "serve.log") as url,
    ):
        spec["models"]["student"]["endpoint"], spec["models"]["teacher"]["endpoint"] = url, provider.url
        run = run_local(manifest, folder)
    assert run.status == 0, run.output
    print(json.dumps({key: run.report[key] for key in ("scores", "retention", "tuned")}))
    found: dict[str, float] = run.report["scores"]
    return found


@contextmanager
def serving(name: str, base: Path, models: Path, log: Path) -> Iterator[str]:
    """Serves a base under a name, and what is delivered in `models`. Yields the URL, which ends in /v1."""
    program, file = EXAMPLES / "serving" / "llama_cpp" / "serve.py", base / "model.gguf"
    command = [PYTHON, program, "--port", "0", "--base", f"{name}={file}", "--models", models, "--threads", "1"]
    with (
        log.open("w") as errors,
        subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, log.read_text(encoding="utf-8")
            yield url
        finally:
            process.terminate()


def written(folder: Path, target: Path) -> str:
    """Writes a Transformers model as GGUF. Returns the error."""
    command = [PYTHON, EXAMPLES / "trainers" / "trl" / "gguf_llama.py", folder, target]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def _run(*command: object, **variables: str) -> None:
    given: Mapping[str, str] = {**environment(), **variables}
    assert Path(str(command[0])).exists(), f"{command[0]} is missing; run: make .venv-train/.installed"
    done = subprocess.run(list(map(str, command)), env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
