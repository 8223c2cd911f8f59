"""A fine-tune by stock BootstrapFinetune: rows, tuned program and scores are those of stock, with one job."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from support.compiles import ROOT, Case, counted, run_local, start_local
from support.fake_cluster import Killed
from support.real_pods import SETTINGS, TICK_SECONDS, Run
from support.sampling import WHOLE, sample
from swarm_operator.cluster.resources import PODS
from swarm_operator.compilation.reconcile import Reconciler

TRAIN = ROOT / "examples" / "triage" / "data" / "train.jsonl"
ROWS = {"min_traces": 10, "min_examples": 20}
CASES = [
    (1, Case("one predictor", "bootstrapFinetune", ROWS, train=40, teacher=True)),
    (2, Case("two predictors, one model", "bootstrapFinetune", ROWS, program="Two", train=40, teacher=True)),
    (
        3,
        Case(
            "two predictors, a model for each",
            "bootstrapFinetune",
            {**ROWS, "multitask": False},
            program="Two",
            train=40,
            teacher=True,
        ),
    ),
    (4, Case("the student teaches itself", "bootstrapFinetune", ROWS, train=60)),
    (5, Case("with demonstrations", "bootstrapFinetune", {**ROWS, "exclude_demos": False}, train=40, teacher=True)),
    (
        10,
        Case(
            "after a random search",
            parameters={"num_candidate_programs": 2, "max_labeled_demos": 4},
            train=40,
            teacher=True,
            distill=ROWS,
        ),
    ),
    (
        9,
        Case(
            "after MIPROv2, with two predictors",
            "miprov2",
            {"num_candidates": 2, "num_trials": 3, "minibatch": False},
            program="Two",
            train=40,
            teacher=True,
            distill=ROWS,
        ),
    ),
    (11, Case("as guides write it", "bootstrapFinetune", ROWS, program="Guide", train=50, teacher=True)),
    (6, Case("in XML", "bootstrapFinetune", ROWS, train=40, teacher=True, adapter="xml")),
]


@pytest.mark.parametrize(
    ("seed", "case"), sample(CASES, 2), ids=lambda value: value.name if isinstance(value, Case) else None
)
def test_rows_program_and_scores_are_those_of_stock(providers: Any, tmp_path: Path, seed: int, case: Case) -> None:
    provider = providers(seed)
    before = len(provider.tuning()["jobs"])
    ours = case.swarm(provider, tmp_path)
    assert ours.status == 0, ours.output
    jobs = provider.tuning()["jobs"][before:]
    assert len(jobs) == (2 if case.parameters.get("multitask") is False else 1)
    stock = case.stock(provider)
    assert stock.error is None
    assert (ours.program, ours.scores) == (stock.program, stock.scores)
    # The report also scores the teacher, and its prompts with the small model. A script of stock's users does not.
    costs = ours.report["costs"]
    arms = sum(round(costs[name]["calls"] * 16) for name in ("teacher", "prompted") if name in costs)
    assert ours.calls == ours.requests
    if case.distill is None:
        assert ours.requests == stock.requests + arms
    else:  # an optimizer has scored its winner already, which is the teacher
        assert stock.requests <= ours.requests <= stock.requests + arms
        assert ours.report["prompted"] is not None
    tuned = {model["model"] for model in ours.report["tuned"]}
    assert tuned == {f"openai/{job['fine_tuned_model']}" for job in jobs}
    assert (ours.report.get("retention") is not None) == case.teacher
    assert ours.rounds <= (4 if case.distill is None else 12)


def test_a_program_that_changes_the_adapter_is_refused_before_a_call(providers: Any, tmp_path: Path) -> None:
    provider = providers(7)
    case = Case("another adapter", "bootstrapFinetune", ROWS, program="Switching", train=40, teacher=True)
    ours = case.swarm(provider, tmp_path)
    assert ours.status != 0
    assert "PromptSkew" in ours.output
    assert "JSONAdapter" in ours.output
    assert ours.requests == 0


BASELINE, TEACHER = 16, 40
"""The LM calls for the student's baseline, and for the teacher's runs."""
GATES: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
    ("TooFewExamples", {"min_examples": 41}, {}, 0),
    ("TrainTestOverlap", {}, {"data": {"validation": {"path": str(TRAIN), "limit": 16}}}, 0),
    ("AdapterUnsupported", {}, {"program": {"adapter": {"json": {}}}}, 0),
    ("PriceUnknown", {}, {"gate": {"minCostReduction": 0.5}}, 0),
    ("TooFewTraces", {"min_traces": 40}, {}, BASELINE + TEACHER),
    ("TeacherBelowGate", {"min_teacher_score": 100}, {}, BASELINE + TEACHER),
    ("BaseRetires", {}, {"finetune": {"minModelLifetimeDays": 90}}, BASELINE + TEACHER),
]


@pytest.mark.parametrize(("reason", "rows", "spec", "calls"), GATES, ids=[reason for reason, *_ in GATES])
def test_a_gate_ends_the_run_before_it_pays_for_anything_more(
    providers: Any, tmp_path: Path, reason: str, rows: dict[str, Any], spec: dict[str, Any], calls: int
) -> None:
    provider = providers(7)
    provider.set_tuning(retires=int(time.time()) + 30 * 86400)
    before = provider.tuning()
    case = Case("", "bootstrapFinetune", {**ROWS, **rows}, train=TEACHER, validation=BASELINE, teacher=True)
    manifest = case.manifest(provider.url)
    manifest["spec"]["finetune"] = {"seed": 11, "minModelLifetimeDays": 0}
    for field, changes in spec.items():
        manifest["spec"][field] = {**manifest["spec"].get(field, {}), **changes}
    with counted(provider) as requests:
        ended = run_local(manifest, tmp_path)
    after = provider.tuning()
    provider.set_tuning()
    assert ended.status != 0
    assert reason in ended.output
    assert requests == [calls]
    assert [len(after[kind]) - len(before[kind]) for kind in ("files", "jobs")] == [0, 0]


def test_a_limit_that_ends_a_distillation_advises_no_partial_artifact(providers: Any, tmp_path: Path) -> None:
    provider = providers(10)
    parameters = {"num_candidate_programs": 2, "max_labeled_demos": 4}
    case = Case("", parameters=parameters, train=40, teacher=True, distill=ROWS)
    manifest = case.manifest(provider.url)
    manifest["spec"]["limits"] = {"lmCalls": 60}
    ended = run_local(manifest, tmp_path)
    assert ended.status != 0
    assert "LimitReached" in ended.output
    assert "it is one for models.teacher" in ended.output
    assert "publishPartial" not in ended.output


PLENTY = SETTINGS.model_copy(update={"concurrent_logs": 100})
"""An operator whose passes run in one event loop each cannot wait for its turn to read a log."""


class Waiting(Run):
    """A run in a cluster with a simulated clock, which the provider's fine-tuning shares.

    Attributes:
        idle: seconds in which no pod ran.
    """

    idle = 0.0

    def restart(self) -> None:
        """Begins another process of the operator."""
        self._operator = Reconciler(self.cluster, PLENTY, clock=lambda: self.cluster.now)

    def finish(self, kills: int = 0, seed: int = 0) -> int:
        """Runs to the end, and kills operator and pods at random moments. Returns the number of kills."""
        dice, left = random.Random(seed), kills
        self.restart()
        for _ in range(4000):
            if left and dice.random() < 0.3:
                left -= 1
                if self.cluster.running and dice.random() < 0.5:
                    self.cluster.remove(PODS, dice.choice(sorted(self.cluster.running)))
                else:
                    self.cluster.kill_at = len(self.cluster.writes) + dice.randrange(3), dice.random() < 0.5
            try:
                wake_up = next((each for _ in range(50) if (each := asyncio.run(self._pass())) != 0), 1)
            except Killed:
                self.restart()
                wake_up = 1
            if self._is_over:
                return kills - left
            seconds = 0.0 if self.cluster.running else 1.0
            if wake_up is not None and wake_up > 4 and not self.cluster.running and self._waits:
                seconds = wake_up
                self.idle += wake_up
            self.cluster.step(seconds)
            self._provider.advance(seconds)
            if self.cluster.running:
                time.sleep(TICK_SECONDS)
        raise AssertionError(f"it does not end: {self.ready}")

    @property
    def _waits(self) -> bool:
        return self.status.run_id is not None and self.ready[1] == "WaitingForJob"


ALONE = Case("alone", "bootstrapFinetune", ROWS, train=40, teacher=True)
TWICE = Case(
    "between prompts",
    "betterTogether",
    {"strategy": "w -> p -> w", "p": {"labeledFewShot": {"k": 2}}, "w": ROWS},
    train=40,
    teacher=True,
)


@pytest.mark.parametrize(
    ("case", "count"),
    sample([(ALONE, 1), (TWICE, 2)], 2),
    ids=lambda value: value.name if isinstance(value, Case) else None,
)
def test_a_queue_of_hours_keeps_no_pod_and_kills_repeat_no_call_and_no_job(
    providers: Any, tmp_path: Path, case: Case, count: int
) -> None:
    provider = providers(7)
    queue = (43200 if WHOLE else 7200) // count
    provider.set_tuning(queue=queue, training=600)
    run = Waiting(case, provider, tmp_path / "cluster", limits={})
    assert run.finish(kills=20, seed=1) == 20
    calls = provider.stats()["requests"]
    assert run.idle > count * queue
    assert provider.stats()["answered_again"] == 0
    jobs = provider.tuning()["jobs"]
    assert len(jobs) == count
    provider.set_tuning()
    alone = case.swarm(provider, tmp_path / "alone")
    assert alone.status == 0, alone.output
    # The cluster's models have maxTokens, which is a part of their LMs.
    assert _without_arguments(run.artifact["program"]) == _without_arguments(alone.program)
    assert len(provider.tuning()["jobs"]) == count
    assert calls == alone.requests


def _without_arguments(program: dict[str, Any]) -> dict[str, Any]:
    return {name: {**state, "lm": state["lm"]["model"]} for name, state in program.items()}


def test_a_killed_driver_goes_on_waiting_for_its_job(providers: Any, tmp_path: Path) -> None:
    provider = providers(8)
    case = Case("", "bootstrapFinetune", ROWS, train=40, teacher=True)
    provider.set_tuning(queue=3600)
    process = start_local(case.manifest(provider.url), tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("waits until"):
            break
    process.kill()
    process.communicate()
    provider.advance(3600)
    before = provider.stats()["requests"]
    ended = case.swarm(provider, tmp_path)
    assert ended.status == 0, ended.output
    assert len(provider.tuning()["jobs"]) == 1
    assert ended.calls == before + ended.requests, "no call was made again"
