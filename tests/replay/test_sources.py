"""A package with subfolders and data compiles from a folder, as on a laptop, and from an archive, as on a cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from support.compiles import ROOT

ASK = """
import dspy
from pathlib import Path
from app.metrics import scores

HINT = (Path(__file__).parent / "prompts" / "hint.txt").read_text()
try:
    import beside
    HINT = beside.HINT
except ImportError:
    pass

class Ask(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict(dspy.Signature("question -> answer", HINT))
    def forward(self, question):
        return self.ask(question=question)
"""
FILES = {
    "app/__init__.py": "",
    "app/ask.py": ASK,
    "app/metrics/__init__.py": "",
    "app/metrics/scores.py": "class Scores:\n    @staticmethod\n    def exact(example, prediction, trace=None):\n"
    "        return example.answer == prediction.answer\n",
    "app/prompts/hint.txt": "Answer with one word.",
    "data/train.jsonl": "".join(json.dumps({"question": f"q{n}", "answer": "a"}) + "\n" for n in range(4)),
}


def compilation(endpoint: str, **program: Any) -> str:
    spec = {
        "program": {"entrypoint": "app.ask:Ask", **program},
        "metric": {"entrypoint": "app.metrics.scores:Scores.exact"},
        "data": {"inputs": ["question"], "train": {"path": "data/train.jsonl"}},
        "models": {"student": {"model": "openai/small", "endpoint": endpoint, "price": {"prompt": 1, "completion": 1}}},
        "optimizer": {"labeledFewShot": {"k": 2}},
    }
    return yaml.safe_dump(
        {"apiVersion": "dspy-swarm.dev/v1alpha1", "kind": "DSPyCompilation", "metadata": {"name": "ask"}, "spec": spec}
    )


def swarm(*arguments: str, cwd: Path) -> str:
    path = os.pathsep.join(str(ROOT / each) for each in ("worker_image", "tests"))
    done = subprocess.run(
        [sys.executable, "-m", "swarm_worker", *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_packed_package_compiles_to_the_same_program_as_its_folder(tmp_path: Path, providers: Any) -> None:
    endpoint = providers(0).url
    mine, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    for path, text in FILES.items():
        (mine / path).parent.mkdir(parents=True, exist_ok=True)
        (mine / path).write_text(text)
    (mine / "c.yaml").write_text(compilation(endpoint))
    told = swarm("run", "-f", str(mine / "c.yaml"), "--output", "beside", cwd=tmp_path)
    assert " USD, " in told

    manifest = swarm("pack", str(mine), "--name", "code", cwd=tmp_path)
    elsewhere.mkdir()
    (elsewhere / "beside.py").write_text("HINT = 'not of the source'")
    (elsewhere / "source.yaml").write_text(manifest)
    (elsewhere / "compilation.yaml").write_text(compilation(endpoint, source={"configMap": {"name": "code"}}))
    (elsewhere / "kustomization.yaml").write_text("resources: [source.yaml, compilation.yaml]\n")
    swarm("run", "-f", ".", "--output", str(tmp_path / "packed"), cwd=elsewhere)
    assert (tmp_path / "packed" / "program.json").read_text() == (tmp_path / "beside" / "program.json").read_text()
