"""A winner that does not meet spec.gate is refused, with a text that says what is missing."""

import pytest

from swarm_engine.gate import refusals
from swarm_engine.verdicts import compare, retention
from swarm_wire.costs import Cost
from swarm_wire.report import TEST_SET, VALIDATION_SET, Copied, Report, Scores
from swarm_wire.spec.gate import Gate

BETTER = compare([0.0] * 20, [100.0] * 10 + [0.0] * 10, seed="run")
SAME = compare([50.0] * 20, [50.0] * 20, seed="run")
WORSE = compare([100.0] * 10 + [0.0] * 10, [0.0] * 20, seed="run")
UNDECIDED = compare([0.0] * 20, [100.0] * 2 + [0.0] * 18, seed="run")
COPIED = Copied(tokens=9, text="nine words", predictor="answer", example="training example 3")
COST = Cost(examples=20, calls=2, prompt_tokens=200, completion_tokens=12, usd=0.5)

DEAR = COST.model_copy(update={"usd": 2.5})
KEPT = retention([100.0] * 40, [100.0] * 40, seed="run", least=0.9)
OPEN = retention([100.0] * 40, [100.0] * 37 + [0.0] * 3, seed="run", least=0.9)
HALVED = retention([100.0] * 40, [100.0] * 20 + [0.0] * 20, seed="run", least=0.9)


def report(comparison: object = BETTER, **fields: object) -> Report:
    scores = Scores(baseline=0.0, best=60.0, test_baseline=0.0, test_winner=50.0)
    return Report(scores=scores, comparison=comparison, **{"compared_on": TEST_SET, **fields})


@pytest.mark.parametrize(
    ("gate", "found", "says"),
    [
        (Gate(), report(), []),
        (Gate(), report(SAME), ["the test set must begin above 0 (gate.minImprovement). Same: +0.0 points"]),
        (Gate(), report(WORSE), ["Worse: -50.0 points"]),
        (Gate(), report(UNDECIDED), ["Inconclusive: +10.0 points", "examples would decide"]),
        (Gate(), report(None), ["the winner was not compared with the baseline"]),
        (Gate(), report(partial="limits.lmCalls: 3"), ["a partial artifact is not the optimizer's winner"]),
        (
            Gate(),
            report(SAME, against="published"),
            ["the test set, against the published program must begin above 0"],
        ),
        (Gate(), report(None, against="published"), ["the winner was not compared with the published program"]),
        (Gate(), report(partial="a limit", against="published"), ["it was not compared with the published program"]),
        (Gate(min_improvement=20), report(), []),
        (Gate(min_improvement=45), report(), ["must begin above 45 (gate.minImprovement)"]),
        (Gate(min_improvement=-1), report(SAME), []),
        (Gate(min_improvement=-1), report(WORSE), ["must begin above -1 (gate.minImprovement)"]),
        (Gate(min_score=50), report(), []),
        (Gate(min_score=51), report(), ["the winner needs 51 on the test set (gate.minScore), and has 50"]),
        (Gate(min_score=51), report(compared_on=VALIDATION_SET), []),
        (Gate(max_cost_usd=0.5), report(costs={"winner": COST}), []),
        (Gate(max_cost_usd=0.4), report(costs={"winner": COST}), ["may cost 0.4 USD", "and it costs 0.5000 USD"]),
        (Gate(max_cost_usd=1), report(), ["and its cost is not known"]),
        (
            Gate(max_cost_usd=1),
            report(costs={"winner": COST.model_copy(update={"usd": None, "unpriced": ["openai/own"]})}),
            ["and the price of openai/own is not known: add a role with this model to models, with its price"],
        ),
        (Gate(min_retention=0.9), report(retention=KEPT), []),
        (Gate(min_retention=0.9), report(retention=HALVED), ["must keep 90 % of the teacher's score", "Lost: 50.0 %"]),
        (Gate(min_retention=0.9), report(retention=OPEN), ["Inconclusive: 92.5 %", "examples would decide"]),
        (Gate(min_retention=0.9, when_inconclusive="publish"), report(retention=OPEN), []),
        (Gate(min_retention=0.9, when_inconclusive="publish"), report(retention=HALVED), ["Lost: 50.0 %"]),
        (Gate(min_retention=0.9, when_inconclusive="publish"), report(), ["the scores of the teacher are not known"]),
        (Gate(min_retention=0.9), report(), ["the scores of the teacher are not known"]),
        (Gate(min_cost_reduction=0.5), report(costs={"winner": COST, "teacher": DEAR}), []),
        (
            Gate(min_cost_reduction=0.9),
            report(costs={"winner": COST, "teacher": DEAR}),
            ["must save 90 % of what the teacher costs (gate.minCostReduction), and it saves 80.0 %"],
        ),
        (Gate(min_cost_reduction=0.5), report(costs={"winner": COST}), ["what it saves is not known"]),
        (Gate(), report(copied=COPIED), []),
        (Gate(max_copied_tokens=9), report(copied=COPIED), []),
        (
            Gate(max_copied_tokens=8),
            report(copied=COPIED),
            ["9 words from training example 3, and gate.maxCopiedTokens allows 8"],
        ),
    ],
    ids=[
        "better",
        "the same",
        "worse",
        "undecided",
        "not compared",
        "partial",
        "the same as the published program",
        "not compared with the published program",
        "partial, against the published program",
        "better by enough",
        "better by too little",
        "not worse by more than allowed",
        "worse by more than allowed",
        "a score that is enough",
        "a score that is too low on the test set",
        "a score that is enough on the validation set",
        "a cost that is allowed",
        "a cost that is too high",
        "a cost that is not known",
        "a price that is not known",
        "enough of the teacher's score",
        "too little of the teacher's score",
        "perhaps too little of the teacher's score",
        "perhaps too little of the teacher's score, which is allowed",
        "too little of the teacher's score, though doubt is allowed",
        "no teacher, though doubt is allowed",
        "no teacher",
        "a saving that is enough",
        "a saving that is too small",
        "a saving that is not known",
        "copied words without a limit",
        "as many copied words as allowed",
        "too many copied words",
    ],
)
def test_a_winner_is_refused_for_each_condition_that_it_does_not_meet(
    gate: Gate, found: Report, says: list[str]
) -> None:
    refused = refusals(gate, found)
    assert len(refused) == bool(says)
    for text in says:
        assert text in refused[0]


def test_all_conditions_that_a_winner_does_not_meet_are_named() -> None:
    gate = Gate(min_improvement=99, min_score=99, max_copied_tokens=1)
    conditions = ("gate.minImprovement", "gate.minScore", "gate.maxCopiedTokens")
    texts = refusals(gate, report(copied=COPIED))
    assert [name for name, text in zip(conditions, texts, strict=True) if name in text] == [*conditions]
