"""An estimate makes no LM call. Its number of requests is near the real number, and its upper limit is never too
low."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.compiles import ROOT, Case, environment
from support.sampling import sample

MODELS = {"openai/small", "openai/large"}
TOLERANCE = 0.2

CASES = [
    Case("labeled", "labeledFewShot", {"k": 5}, program="Two"),
    Case("bootstrap", "bootstrapFewShot", {"max_bootstrapped_demos": 3}, program="Two", teacher=True),
    Case("random search", parameters={"num_candidate_programs": 5, "max_labeled_demos": 6}, program="Two"),
    Case("infer rules", "inferRules", {"num_candidates": 4}),
    Case("copro", "copro", {"breadth": 5, "depth": 2}, train=16),
    Case("miprov2", "miprov2", {"num_candidates": 4, "num_trials": 8, "minibatch": False}, prompt=True),
]


OTHERS = [
    Case("gepa", "gepa", {"max_metric_calls": 120, "reflection_minibatch_size": 3}, metric="feedback", prompt=True),
    Case("simba", "simba", {"bsize": 8, "num_candidates": 3, "max_steps": 2, "max_demos": 2}),
    Case("an agent", parameters={"num_candidate_programs": 3, "max_labeled_demos": 4}, program="Agent"),
    Case(
        "threads", "miprov2", {"num_candidates": 3, "num_trials": 6, "minibatch": False}, program="Panel", prompt=True
    ),
    Case("a partial score", parameters={"num_candidate_programs": 4}, program="Two", metric="partial"),
    Case("json", "bootstrapFewShot", {"max_bootstrapped_demos": 4}, adapter="json", train=40, validation=30),
]


def test_an_estimate_says_what_the_evaluation_of_the_published_program_costs_at_most(tmp_path: Path) -> None:
    manifest = Case("", "labeledFewShot", {"k": 2}).manifest("http://localhost:1")
    plain = json.loads(estimate(manifest, tmp_path / "plain", "--json").stdout)
    manifest["spec"]["gate"] = {"against": "published"}
    told = json.loads(estimate(manifest, tmp_path / "gated", "--json").stdout)
    assert told["total"] == plain["total"]
    assert told["atMost"] == plain["atMost"] + 16, "one LM call for each example"
    assert "up to 16 more LM calls" in told["notes"][0]


def test_an_estimate_of_a_fine_tune_creates_no_job_and_says_what_it_would_cost(providers: Any, tmp_path: Path) -> None:
    provider = providers(2)
    case = Case("", "bootstrapFinetune", {"min_examples": 20, "min_traces": 40}, train=40, teacher=True)
    before = len(provider.tuning()["files"])
    manifest = case.manifest(provider.url)
    manifest["spec"]["finetune"] = {"epochs": 3, "trainingPrice": 8}
    told = estimate(manifest, tmp_path, "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    found = json.loads(told.stdout)
    assert len(provider.tuning()["files"]) == before
    assert provider.stats()["requests"] == 0
    assert found["training"].startswith("a fine-tuning job with about ")
    assert found["training"].endswith(" USD")
    assert found["total"]["usage"]["calls"] == 16 + 40 + 16 + 16, "baseline, teacher's rows, winner, and teacher"


def test_an_estimate_of_better_together_counts_its_job_even_if_the_invented_winner_is_not_tuned(
    providers: Any, tmp_path: Path
) -> None:
    provider = providers(2)
    search = {"bootstrapFewShotWithRandomSearch": {"num_candidate_programs": 1, "max_errors": 1}}
    given = {"p": search, "w": {"min_examples": 20, "min_traces": 40}}
    case = Case("", "betterTogether", given, train=40, teacher=True)
    told = estimate(case.manifest(provider.url), tmp_path, "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    found = json.loads(told.stdout)
    assert provider.stats()["requests"] == 0
    assert found["training"].startswith("a fine-tuning job with about ")
    phases = sum(phase["usage"]["promptTokens"] for phase in found["phases"].values())
    models = sum(model["usage"]["promptTokens"] for model in found["models"].values())
    assert phases == models, "no table has the tokens of the training"


@pytest.mark.parametrize("case", sample(OTHERS, 2), ids=lambda case: case.name)
def test_a_compile_makes_at_least_half_of_the_calls_that_its_estimate_names_as_the_most(
    providers: Any, tmp_path: Path, case: Case
) -> None:
    provider = providers(1)
    asked = case.stock(provider).requests
    told = estimate(case.manifest(provider.url), tmp_path, "--json")

    assert told.returncode == 0, told.stdout + told.stderr
    assert asked <= json.loads(told.stdout)["atMost"] <= 2 * asked


UNSTEADY = """
import time

import dspy


class Program(dspy.Module):
    def __init__(self):
        self.classify = dspy.Predict("ticket, now -> category")

    def forward(self, ticket):
        return self.classify(ticket=ticket, now=str(time.time()))
"""


def estimate(manifest: dict[str, Any], folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    file = folder / "compilation.yaml"
    file.write_text(yaml.safe_dump(manifest), encoding="utf-8")
    command = [sys.executable, "-m", "swarm_worker", "estimate", "-f", str(file), *options]
    return subprocess.run(command, env=environment(**env), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("case", sample(CASES, 2), ids=lambda case: case.name)
def test_estimated_calls_and_tokens_are_near_the_numbers_that_the_provider_counts(
    providers: Any, tmp_path: Path, case: Case
) -> None:
    provider = providers(1)
    stock = case.stock(provider)
    asked = provider.stats()
    provider.reset()
    told = estimate(case.manifest(provider.url), tmp_path, "--json", "--pass-rate", str(stock.scores["baseline"] / 100))

    assert told.returncode == 0, told.stdout + told.stderr
    found = json.loads(told.stdout)
    usage = found["total"]["usage"]
    assert provider.stats()["requests"] == 0
    assert usage["calls"] == pytest.approx(asked["requests"], rel=TOLERANCE)
    assert asked["requests"] <= found["atMost"] <= 2 * asked["requests"]
    assert usage["promptTokens"] == pytest.approx(asked["prompt_tokens"], rel=0.35)
    for part in ("calls", "promptTokens", "completionTokens"):
        assert sum(entry["usage"][part] for entry in found["models"].values()) == usage[part]
        assert sum(entry["usage"][part] for entry in found["phases"].values()) == usage[part]
        assert sum(entry["usage"][part] for entry in found["rounds"]) == usage[part]
    others = MODELS if case.teacher or case.prompt else {"openai/small"}
    assert set(found["models"]) == others


def test_an_estimate_needs_no_api_key_and_leaves_nothing_behind(tmp_path: Path) -> None:
    manifest = Case("", "labeledFewShot", {"k": 2}, validation=10).manifest("http://127.0.0.1:9/v1")
    student = manifest["spec"]["models"]["student"]
    student["model"], student["apiKey"] = "openai/gpt-4o-mini", {"secret": {"name": "openai", "key": "key"}}
    manifest["spec"]["env"] = [{"name": "TOOL", "valueFrom": {"secretKeyRef": {"name": "tools", "key": "token"}}}]
    manifest["spec"]["envFrom"] = [{"secretRef": {"name": "tools"}}]
    manifest["spec"]["data"]["test"] = {"path": str(ROOT / "examples/triage/data/test.jsonl"), "limit": 4}
    told = estimate(manifest, tmp_path / "run", "--latency", "2", "--price-in", "1000000", "--price-out", "0")

    assert told.returncode == 0, told.stdout + told.stderr
    lines = [line.split() for line in told.stdout.splitlines() if line]
    assert ["baseline", "1", "10", "10"] in [line[:4] for line in lines]
    assert ["test", "2", "8", "8"] in [line[:4] for line in lines]
    [total] = [line for line in lines if line[0] == "total"]
    [model] = [line for line in lines if line[0] == "openai/gpt-4o-mini"]
    assert total[3] == model[1] == "28"
    assert model[-1].replace(",", "") == f"{int(model[2].replace(',', '')):.2f}"
    assert "Stock DSPy with one thread waits 56 s for its calls" in told.stdout
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["compilation.yaml"]


def test_an_estimate_names_the_input_that_a_run_would_refuse(tmp_path: Path) -> None:
    (tmp_path / "unsteady.py").write_text(UNSTEADY, encoding="utf-8")
    manifest = Case("", "labeledFewShot", {"k": 2}, validation=10).manifest("http://127.0.0.1:9/v1")
    manifest["spec"]["program"]["entrypoint"] = "unsteady:Program"
    told = estimate(manifest, tmp_path, SWARM_TWIN="1")
    assert told.returncode == 1
    assert "Nondeterministic: spec.program on validation example 1, LM call 1 (predictor classify)" in told.stdout
    assert "invented answers" not in told.stdout


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--price-in", "1"], 2, "Give both --price-in and --price-out, or none of them."),
        (["--pass-rate", "50"], 2, "must be between 0 and 1"),
        ([], 1, "An estimate runs the program on invented answers: it must be able to read them."),
    ],
)
def test_an_estimate_names_the_parts_of_a_compile_that_it_cannot_estimate(
    tmp_path: Path, options: list[str], status: int, said: str
) -> None:
    manifest = Case("", "labeledFewShot", {"k": 2}, program="Broken").manifest("http://127.0.0.1:9/v1")
    told = estimate(manifest, tmp_path, *options)
    assert told.returncode == status
    assert said in told.stdout + told.stderr
