"""If the rehearsal accepts a program, the compile ends as in stock. Otherwise a message names what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.compiles import PATHS, Case, LocalRun, counted, environment, run_local
from support.sampling import sample

MODULE = """
import functools
import time
from pathlib import Path

import dspy

WORDS = ["order", "invoice", "parcel", "password", "refund", "screen", "delivery", "account", "battery", "tax"]
KINDS = list({"billing", "shipping", "technical"})


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict("ticket -> category")

    def forward(self, ticket):
        return self.classify(ticket=ticket)


class Exact:
    def __init__(self):
        self.seen = set()

    def __call__(self, example, prediction, trace=None):
        return example.category[:1] <= prediction.category[:1]


metric = Exact()


def data():
    return [{"ticket": f"{word} {n}", "category": word} for n in range(3) for word in WORDS]


def best_of(student, trainset, valset, metric):
    demos = [dspy.LabeledFewShot(k=k).compile(student, trainset=trainset) for k in (1, 2)]
    evaluate = dspy.Evaluate(devset=valset, metric=metric, num_threads=1)
    return max(demos, key=lambda program: evaluate(program).score)
"""

MEMORY = """

class Exact(Exact):
    def __call__(self, example, prediction, trace=None):
        self.seen.add(example.ticket)
        return super().__call__(example, prediction, trace)


metric = Exact()
"""
CACHED = """

@functools.cache
def first(text):
    return text[:1]


def metric(example, prediction, trace=None):
    return first(example.category) <= first(prediction.category)
"""
SETS = """

class Program(Program):
    def __init__(self):
        super().__init__()
        self.classify = dspy.Predict(dspy.Signature("ticket -> category", f"One of {KINDS}."))
"""
BEST = """

def reward(arguments, prediction):
    if prediction.category.endswith("."):
        raise ValueError(prediction.category)  # as invented answers end
    return len(prediction.category) / 10


class Program(Program):
    def __init__(self):
        super().__init__()
        self.classify = dspy.KIND(module=dspy.Predict("ticket -> category"), N=3, reward_fn=reward, threshold=1.0)
"""
CALLBACK = """
from dspy.utils.callback import BaseCallback


class Counts(BaseCallback):
    calls = 0

    def on_module_end(self, call_id, outputs, exception=None):
        self.calls += 1


counts = Counts()


class Program(Program):
    def __init__(self):
        super().__init__()
        self.classify.callbacks = [counts]
"""
MUTATES = """

def metric(example, prediction, trace=None):
    example.category = example.category.upper()
    return example.category == prediction.category
"""
SLOW = """

class Program(Program):
    def forward(self, ticket):
        if ticket.endswith("invoice 0"):
            with open(Path(__file__).with_name("begun"), "a") as begun:
                begun.write("x")
            time.sleep(8)
        return super().forward(ticket)
"""

DEMOS = {"bootstrapFewShotWithRandomSearch": {"numCandidatePrograms": 1, "maxBootstrappedDemos": 2}}
CUSTOM = {"custom": {"entrypoint": "rehearsed:best_of"}}

STOCK = """
import json, sys
import dspy

dspy.configure(lm=dspy.LM("openai/small", api_base=sys.argv[1], api_key="none"))
import rehearsed

examples = [dspy.Example(row).with_inputs("ticket") for row in rehearsed.data()]
student, metric = rehearsed.Program(), rehearsed.metric
dspy.Evaluate(devset=examples, metric=metric, num_threads=1, max_errors=99)(student)
if sys.argv[2] == "custom":
    winner = rehearsed.best_of(student, examples, examples, metric)
else:
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=metric, num_candidate_programs=1, max_bootstrapped_demos=2, num_threads=1
    )
    winner = optimizer.compile(student, trainset=examples, valset=examples)
print(json.dumps(winner.dump_state(), default=str))
"""


def manifest(url: str, folder: Path, change: str, optimizer: dict[str, Any], **swarm: Any) -> dict[str, Any]:
    (folder / "rehearsed.py").write_text(MODULE + change)
    document = Case("").manifest(url, **swarm)
    spec = document["spec"]
    spec["program"], spec["metric"] = {"entrypoint": "rehearsed:Program"}, {"entrypoint": "rehearsed:metric"}
    spec["data"] |= {part: {"entrypoint": "rehearsed:data"} for part in ("train", "validation")}
    spec["optimizer"] = optimizer
    return document


def stock(url: str, folder: Path, optimizer: dict[str, Any], **env: str) -> dict[str, Any]:
    paths = os.pathsep.join(map(str, [folder, *PATHS]))
    done = subprocess.run(
        [sys.executable, "-c", STOCK, url, next(iter(optimizer))],
        env=environment(PYTHONHASHSEED="0", DSPY_CACHEDIR=str(folder / "cache"), **env) | {"PYTHONPATH": paths},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def log(ours: LocalRun) -> str:
    return (ours.journal / "logs" / "plan-0000-1.log").read_text(encoding="utf-8")


def without_lm(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in part.items() if key != "lm"} if isinstance(part, dict) else part
        for name, part in state.items()
    }


@pytest.mark.parametrize(
    ("change", "optimizer"),
    sample(
        [
            pytest.param(MEMORY, DEMOS, id="a memory"),
            pytest.param(CACHED, CUSTOM, id="functools.cache and custom"),
            pytest.param(SETS, DEMOS, id="the order of a set"),
            pytest.param(BEST.replace("KIND", "BestOfN"), DEMOS, id="BestOfN"),
            pytest.param(BEST.replace("KIND", "Refine"), DEMOS, id="Refine"),
        ],
        2,
    ),
)
def test_a_program_with_harmless_state_compiles_to_the_program_of_stock(
    providers: Any, tmp_path: Path, change: str, optimizer: dict[str, Any]
) -> None:
    provider = providers(1)
    ours = run_local(manifest(provider.url, tmp_path, change, optimizer), tmp_path, SWARM_TWIN="1")
    assert ours.status == 0, ours.output
    assert without_lm(ours.program) == without_lm(stock(provider.url, tmp_path, optimizer))
    assert ours.report["hashSeed"] == 0
    assert ("note: spec.program, predictor classify depends on the hash seed" in log(ours)) == (change == SETS)


@pytest.mark.parametrize(
    ("change", "optimizer", "told"),
    [
        (CALLBACK, DEMOS, "the callback rehearsed.counts.calls ("),
        (MUTATES, DEMOS, "program or metric changes validation example 1, field category."),
        (MEMORY, CUSTOM, "rehearsed.metric.seen ("),
    ],
    ids=["a callback", "an example", "a memory and custom"],
)
def test_state_that_is_missing_in_other_processes_is_refused_before_the_first_lm_call(
    providers: Any, tmp_path: Path, change: str, optimizer: dict[str, Any], told: str
) -> None:
    provider = providers(1)
    with counted(provider) as requests:
        ours = run_local(manifest(provider.url, tmp_path, change, optimizer), tmp_path, SWARM_TWIN="1")
    assert ours.status == 1
    assert f"SideEffect: {told}" in ours.output
    assert requests == [0]


@pytest.mark.parametrize(("seconds", "rehearsed"), [(8, 1), (0, 0)])
def test_a_slow_example_is_rehearsed_once_before_the_first_lm_call(
    providers: Any, tmp_path: Path, seconds: int, rehearsed: int
) -> None:
    provider = providers(1)
    given = manifest(provider.url, tmp_path, SLOW, {"labeledFewShot": {"k": 2}}, rehearsalSeconds=seconds)
    ours = run_local(given, tmp_path, SWARM_TWIN="1")
    assert ours.status == 0, ours.output
    assert len((tmp_path / "begun").read_text()) == rehearsed + 2
    assert ("Validation example 2 is not rehearsed: it had not come to its end after " in log(ours)) == rehearsed
    assert ours.program
