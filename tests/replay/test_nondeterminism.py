"""If a program differs between processes, its run ends before the first LM call, with a message that says where."""

from pathlib import Path
from typing import Any

import pytest

from support.compiles import Case, run_local

MODULE = """
import random
import sys

import dspy

WORDS = ["order", "invoice", "parcel", "password", "refund", "screen", "delivery", "account", "battery", "tax"]


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict("ticket -> category")

    def forward(self, ticket):
        return self.classify(ticket=ticket)


def metric(example, prediction, trace=None):
    return example.category == prediction.category


def data():
    return [{"ticket": word, "category": word} for word in WORDS]
"""

CHANGES = {
    "metric": "\n\ndef metric(example, prediction, trace=None):\n    return random.random()\n",
    "program": """

class Program(Program):
    def forward(self, ticket):
        return super().forward(ticket) if random.random() < 0.5 else dspy.Prediction(category="none")
""",
    "data": "\n\ndef data():\n    return [{'ticket': word, 'category': word} for word in random.sample(WORDS, 10)]\n",
    "module": "\nif 'twin' in sys.argv:\n    raise ImportError('not this time')\n",
    "state": """

class Program(Program):
    last = ""

    def forward(self, ticket):
        ticket, self.last = f"{ticket} after {self.last}", ticket
        return super().forward(ticket)
""",
}


def manifest(url: str, folder: Path, change: str) -> dict[str, Any]:
    (folder / "unsteady.py").write_text(MODULE + change)
    document = Case("").manifest(url)
    spec = document["spec"]
    spec["program"], spec["metric"] = {"entrypoint": "unsteady:Program"}, {"entrypoint": "unsteady:metric"}
    spec["data"] |= {part: {"entrypoint": "unsteady:data"} for part in ("train", "validation")}
    spec["optimizer"] = {"labeledFewShot": {"k": 2}}
    return document


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("metric", "spec.metric on validation example 1, its value is not the same in two processes"),
        ("program", "spec.program on validation example"),
        ("data", "spec.data.train, example"),
        ("state", "spec.program on validation example 1, LM call 1 (predictor classify) is not the same in two"),
        ("module", "the loading of program, metric and data is not the same in two processes"),
    ],
)
def test_a_difference_between_two_processes_ends_the_run_before_the_first_lm_call(
    providers: Any, tmp_path: Path, change: str, told: str
) -> None:
    provider = providers(1)
    ours = run_local(manifest(provider.url, tmp_path, CHANGES[change]), tmp_path, SWARM_TWIN="1")

    assert ours.status == 1, ours.output
    assert "Nondeterministic: " in ours.output
    assert told in ours.output
    assert "No LM call was made." in ours.output
    assert provider.stats()["requests"] == 0


def test_a_deterministic_program_passes_the_comparison_with_its_twin_and_compiles(
    providers: Any, tmp_path: Path
) -> None:
    provider = providers(1)
    given = manifest(provider.url, tmp_path, "")
    first = run_local(given, tmp_path, SWARM_TWIN="1")
    assert first.status == 0, first.output
    assert first.report["usage"]["calls"] == provider.stats()["requests"] > 0

    # The journal has all results, and a plan goes on from them, with a twin or without.
    (tmp_path / "journal" / "artifact" / "program.json").unlink()
    second = run_local(given, tmp_path, SWARM_TWIN="1")
    assert second.status == 0, second.output
    assert second.program == first.program


def test_the_rehearsal_can_be_turned_off(providers: Any, tmp_path: Path) -> None:
    provider = providers(1)
    ours = run_local(manifest(provider.url, tmp_path, CHANGES["metric"]), tmp_path, SWARM_TWIN="0")
    assert "in two processes that differ only in" not in ours.output
    assert provider.stats()["requests"] > 0
