"""An estimate assigns calls to rounds and phases, and computes their cost and their time."""

import json
from typing import Any

import dspy
import pytest
from rich.console import Console

from swarm_wire.messages import CallMade, Cell, EffectKind, Outcome, PlanEnd, PlanOutcome, Result, Task
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import Waste
from swarm_wire.spending import Usage
from swarm_worker.imaginary.mode import Assumed, Imagination
from swarm_worker.local.estimate.display import show
from swarm_worker.local.estimate.figures import Estimate, ModelCost, Part, Phase, Printed, figures
from swarm_worker.provider.price_list import Price, listed


def key(name: str) -> str:
    return name.encode().hex().ljust(32, "0")


def task(name: str, *cells: str, kind: EffectKind = EffectKind.WAVE) -> Record:
    made = Task(digest=key(name), kind=kind, payload=key("p"), cells=[Cell(key=key(cell)) for cell in cells])
    return Record(RecordKind.TASK, made.to_header())


def result(name: str, calls: int) -> Record:
    usage = Usage(calls=calls, prompt_tokens=100 * calls, completion_tokens=10 * calls)
    return Record(RecordKind.RESULT, Result(key=key(name), outcome=Outcome.OK, usage=usage).to_header())


def call(name: str, cell: str | None = None) -> Record:
    made = CallMade(key=key(name), cell=cell and key(cell), usage=Usage(calls=1))
    return Record(RecordKind.CALL, made.to_header())


def plan(number: int, *stream: str) -> Record:
    """Returns the record of a plan that needed these effects, each written as "kind name"."""
    end = PlanEnd(outcome=PlanOutcome.BLOCKED, round=number, binding="b")
    kinds = [entry.split() for entry in stream]
    return Record(RecordKind.PLAN, end.to_header(), json.dumps([(kind, key(name)) for kind, name in kinds]).encode())


STREAM = ("wave base", "bootstrap boot", "call idea", "call refused", "wave small", "wave next")
RUN = [
    Printed(0, True, task("base", "b1", "b2")),
    Printed(0, True, task("boot", "boot", kind=EffectKind.BOOTSTRAP)),
    Printed(0, True, plan(0, "wave base")),
    Printed(0, False, result("b1", 2)),
    Printed(0, False, call("first", "b2")),
    Printed(0, False, result("b2", 2)),
    Printed(0, False, call("first", "boot")),  # two cells made this call at the same time, so it is paid twice
    Printed(0, False, result("boot", 4)),
    Printed(0, False, result("b2", 2)),  # this result is from another attempt, so it does not count
    Printed(1, True, call("idea")),
    Printed(1, True, result("refused", 1)),
    Printed(1, True, result("in place", 1)),
    Printed(1, True, task("next", "n1", "b1")),
    Printed(1, True, plan(1, *STREAM)),
    Printed(1, False, result("n1", 1)),
    Printed(2, True, plan(2, *STREAM)),
]


def calls(part: Part) -> tuple[int, int, int]:
    return part.effects, part.cells, part.usage.calls


def test_an_estimate_assigns_calls_to_rounds_and_phases() -> None:
    found = figures(RUN, has_test=False)
    assert [calls(round_.part) for round_ in found.rounds] == [(2, 3, 10), (4, 3, 4)]
    assert {phase: calls(part) for phase, part in found.phases.items()} == {
        Phase.BASELINE: (1, 2, 5),
        Phase.BOOTSTRAPS: (1, 1, 5),
        Phase.EVALUATION: (2, 3, 2),
        Phase.PROPOSALS: (2, 0, 2),
    }
    assert calls(found.total) == (6, 6, 14)


def test_the_evaluation_on_a_test_set_is_a_phase_of_its_own() -> None:
    stream = ("wave base", "wave first", "wave next", "wave last")
    tasks = [task(name, name) for name in ("base", "first", "next", "last")]
    results = [result(name, number) for number, name in enumerate(("base", "first", "next", "last"), 1)]
    printed = [*(Printed(0, True, record) for record in [*tasks, plan(0, *stream)])]
    printed += [Printed(0, False, record) for record in results]
    found = figures(printed, has_test=True)
    assert {phase: part.usage.calls for phase, part in found.phases.items()} == {
        Phase.BASELINE: 1,
        Phase.EVALUATION: 3,
        Phase.TEST: 6,
    }


@pytest.mark.parametrize(
    ("latency", "pods", "threads", "seconds"),
    [
        (1, 1, 1, 10 + (1 + 2 + 1)),
        (1, 100, 1, 5 + (1 + 2 + 1)),
        (1, 100, 2, 5 + (1 + 2 + 0.5)),
        (0.5, 100, 1, 0.5 * 9),
        (0, 4, 4, 0),
    ],
)
def test_the_estimated_time_of_a_round_is_that_of_its_longest_cell_or_of_all_its_calls(
    latency: float, pods: int, threads: int, seconds: float
) -> None:
    found = figures(RUN, has_test=False)
    taken = sum(round_.seconds(latency, pods=pods, threads=threads) for round_ in found.rounds)
    assert taken == pytest.approx(seconds)


def test_prices_come_from_the_list_of_dspy() -> None:
    price = listed("openai/gpt-4o-mini")
    assert price == Price(0.15, 0.6)
    assert price.of(Usage(calls=1, prompt_tokens=2_000_000, completion_tokens=500_000)) == pytest.approx(0.6)
    assert listed("openai/nobody-knows-this") is None


# --- assumed scores -----------------------------------------------------------------------------------------------


def accepts(example: Any, prediction: Any, trace: Any = None) -> bool:
    return True


def raises(example: Any, prediction: Any, trace: Any = None) -> bool:
    raise ValueError("what is this?")


def tells(example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    return dspy.Prediction(score=0.3, feedback=f"of {pred_name}")


def pairs(count: int) -> list[Any]:
    return [(dspy.Example(question=str(n)), dspy.Prediction(answer=str(n % 7))) for n in range(count)]


@pytest.mark.parametrize("metric", [accepts, raises])
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9, 1.0])
def test_the_assumed_metric_of_an_estimate_accepts_the_assumed_share_of_predictions(metric: Any, rate: float) -> None:
    given = pairs(400)
    passed = [Assumed(metric, rate)(*pair) for pair in given]
    assert sum(passed) / 400 == pytest.approx(rate, abs=0.08)
    assert [Assumed(metric, rate)(*pair, None) for pair in given] == passed


def test_the_assumed_score_depends_on_the_prediction() -> None:
    example = dspy.Example(question="q")
    assert len({Assumed(accepts, 0.5)(example, dspy.Prediction(answer=str(n))) for n in range(20)}) == 2


def test_an_estimate_keeps_the_feedback_of_a_metric() -> None:
    values = [Assumed(tells, 0.5)(*pair, None, "classify", None) for pair in pairs(20)]
    assert {value.score for value in values} == {0.0, 1.0}
    assert {value.feedback for value in values} == {"of classify"}


def test_a_process_of_an_estimate_reads_its_assumptions_from_the_environment_and_removes_them(tmp_path: Any) -> None:
    imagination = Imagination(0.5, 3, tmp_path / "calls")
    environment = {"PATH": "/bin", **imagination.environment()}
    assert Imagination.of(environment) == imagination
    assert environment == {"PATH": "/bin"}
    assert Imagination.of(environment) is None


# --- displayed tables --------------------------------------------------------------------------------------------


def test_tables_of_an_estimate_mark_unknown_figures() -> None:
    found = figures(RUN, has_test=False)
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        show(
            console,
            Estimate(
                name="triage",
                pass_rate=0.5,
                rounds=[round_.part for round_ in found.rounds],
                phases=found.phases,
                models={
                    "openai/known": ModelCost(usage=Usage(calls=2000), cost=1234.5),
                    "own": ModelCost(usage=Usage(calls=1), cost=None),
                },
                total=found.total,
                cost=None,
                wasted=Waste(cells=1, calls=3),
                at_most=9,
                prunes=True,
                by_agents=1200,
                tool_calls=3,
                seconds=6.4,
                serial_seconds=7201,
                swarm_seconds=61,
                training="a fine-tuning job with about 900 tokens of rows and epochs, 0.01 USD",
            ),
        )
    text = captured.get()
    for line in (
        f"triage: about {found.total.usage.calls} LM calls; at most 9 LM calls; besides, a fine-tuning job with about "
        "900 tokens of rows and epochs, 0.01 USD.",
        "Found without an LM call in 6 s. Assumed:",
        "- The metric accepts 50% of the predictions (--pass-rate).",
        "- An agent calls 3 tools before it finishes (--tool-calls), and may call more: see its max_iters.",
        "Agents make 1,200 of the calls.",
        "baseline          1      2         5            400                 40",
        "openai/known     2,000              0                  0  1,234.50",
        "give --price-in and --price-out",
        "3 of the calls are guesses that will not be needed.",
        "Pruning lowers this: candidates that can no longer win are not finished.",
        "Stock DSPy with one thread waits 2.0 h for its calls, this swarm 61 s.",
    ):
        assert line in text, text
