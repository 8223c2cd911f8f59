"""Pruning leaves out cells of evaluations that can no longer win, and finds the same winner as without pruning."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import dspy
import numpy as np
import pytest
from dspy.evaluate.evaluate import EvaluationResult
from hypothesis import given
from hypothesis import strategies as st

from support.models import CODEC, take_over
from support.plans import Planned, plan
from support.wire import plan_end
from swarm_wire.messages import Outcome, Result
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import Usage
from swarm_worker.errors import BadInput
from swarm_worker.journal.store import Store
from swarm_worker.pod.script import Progress, candidates
from swarm_worker.replay import calls
from swarm_worker.replay import pruning as policy
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.effects.registry import make_work
from swarm_worker.replay.effects.wave import Evaluation
from swarm_worker.replay.pruning import FEW, Bound, Contest, Entrant, Range, Standing, lost, wanted

UNIT = Range(0, 1)


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the constants of pruning to round numbers. `make bench-pruning` tunes the real constants."""
    monkeypatch.setattr(policy, "PART", 0.2)
    monkeypatch.setattr(policy, "LEADERS", 3)


def standing(scores: str, *, failed: Sequence[int] = (), max_errors: int = 10) -> Standing:
    """Returns an evaluation with these scores. A digit is a score in tenths, "x" is 1.0, and "." is unknown."""
    known = {at: 1.0 if score == "x" else int(score) / 10 for at, score in enumerate(scores) if score != "."}
    return Standing(tuple(map(str, range(len(scores)))), known, frozenset(failed), max_errors)


# --- lost evaluations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evaluations", "losers"),
    [
        ([], []),
        (["...."], []),
        (["xxxx", "...."], [1]),  # the first evaluation wins a tie
        (["....", "xxxx"], []),
        (["....", "xxxx", "...."], [2]),
        (["xxx0", "x..."], []),
        (["xxx0", "0..."], [1]),  # the second reaches 75 at most, and is later
        (["0...", "xxx0"], []),  # the first reaches 75 at most, but is earlier
        (["00..", "xxx0"], [0]),
        (["xx00", "000x"], []),  # the second has no missing cell
        (["xx..", "000."], [1]),  # the first reaches at least 50, the second at most 25
        (["xx..", "00.."], [1]),
        (["00..", "xx.."], []),
        (["00..", "xxx."], [0]),
        (["x5..", "05..", "xxxx"], [0, 1]),
    ],
    ids=str,
)
def test_an_evaluation_that_can_no_longer_win_counts_as_lost(evaluations: list[str], losers: list[int]) -> None:
    assert lost([standing(scores) for scores in evaluations], UNIT) == set(losers)


@pytest.mark.parametrize(
    ("limits", "best", "scores", "has_lost"),
    [
        (Range(0, 1), "x", "0.", True),
        (Range(0, 2), "x", "5.", False),
        (Range(-1, 0.5), "5", ".0", True),
        (Range(-1, 0.5), "5", ".5", True),
    ],
    ids=str,
)
def test_the_range_of_scores_determines_which_evaluations_count_as_lost(
    limits: Range, best: str, scores: str, has_lost: bool
) -> None:
    assert lost([standing(best * 2), standing(scores)], limits) == ({1} if has_lost else set())


def test_a_failed_example_counts_as_0_even_if_0_is_outside_of_the_range() -> None:
    both = ("0", "1")
    assert not lost([Standing(both, {0: -1.0, 1: -1.0}), Standing(both, {0: -1.0})], Range(-2, -1))
    assert not lost([Standing(both, {0: 5.0}), Standing(both, {0: 1.0})], Range(1, 5))


@pytest.mark.parametrize(
    ("failed", "max_errors", "has_lost"),
    [
        ([], 2, True),
        ([0], 2, False),  # if missing cells fail, too, stock ends the compile
        ([0], 4, False),
        ([0], 5, True),  # there are too few missing cells for so many errors
        ([0, 1], 3, False),
    ],
    ids=str,
)
def test_evaluations_that_might_end_the_compile_are_not_pruned(
    failed: list[int], max_errors: int, has_lost: bool
) -> None:
    found = [standing("xxxxx"), standing("00...", failed=failed, max_errors=max_errors)]
    assert lost(found, UNIT) == ({1} if has_lost else set())
    if not has_lost:
        assert wanted(found, UNIT, few=0) == {1: [2, 3, 4]}


def test_scores_that_differ_only_by_rounding_are_not_pruned() -> None:
    """DSPy rounds 12.125 to 12.12 or 12.13. The result depends on the order of the sum, which pruning does not know."""
    best = Standing(tuple(map(str, range(800))), {at: float(at < 97) for at in range(800)})
    behind = Standing(best.examples, {at: float(at < 96) for at in range(799)})
    assert lost([best, behind], UNIT) == set()


# --- cells requested next ----------------------------------------------------------------------------------------


def test_the_last_few_cells_are_requested_together() -> None:
    found = [standing("x" * 10), standing("." * 10)]
    assert wanted([standing("0" * 10), *found[1:]], UNIT, few=10) == {1: list(range(10))}
    assert wanted([standing("0" * 10), *found[1:]], UNIT, few=9) == {1: [0, 1]}


def test_cells_of_the_hardest_examples_are_requested_first() -> None:
    found = [standing("xxx0xxxxx0"), standing("." * 10), standing("." * 10)]
    assert wanted(found[1:], UNIT, others=found[:1], few=0) == {0: [3, 9], 1: [3, 9]}
    assert wanted(found, UNIT, few=0) == {1: [3, 9], 2: [3, 9]}


@pytest.mark.parametrize(
    ("evaluations", "cells"),
    [
        # By its known scores, an evaluation is as good as the best, a little worse, or much worse.
        (["xxxxxxx000", "xxx......."], [0, 7]),
        (["xxxxxxx000", *["xxx......."] * 4], [0, 7, 7, 7, 7]),
        (["xxxxxxx000", *["xxx......."] * 3, "xx0......."], [0, 7, 7, 7, 3]),
        (["xxxxxx0000", *["xxx......."] * 3, "xx0......."], [0, 7, 7, 7, 4]),
        (["xxxxxxx000", *["xxx......."] * 3, "000......."], [0, 7, 7, 7, 0]),
        (["xxxxxxx000", *["xxx......."] * 3, "xxxx0....."], [0, 7, 7, 7, 5]),
    ],
    ids=[
        "one is as good",
        "all are as good",
        "one is a little worse",
        "the best is worse",
        "one is much worse",
        "half of one is known",
    ],
)
def test_the_most_promising_evaluations_run_to_their_end_and_others_until_they_likely_lose(
    evaluations: list[str], cells: list[int]
) -> None:
    found = wanted([standing(scores) for scores in evaluations], UNIT, few=0)
    assert [len(found.get(number, [])) for number in range(len(evaluations))] == cells


def test_evaluations_that_may_tie_by_rounding_run_to_their_end() -> None:
    both = ("0", "1")
    assert wanted([Standing(both, {0: 0.0}), Standing(both, {0: 0.5, 1: 0.50002})], UNIT, few=0) == {0: [1]}


def test_a_greater_range_of_scores_has_a_greater_margin_for_rounding() -> None:
    """A floating-point sum of billions has no exact fourth decimal."""
    best = Standing(("0", "1"), {0: 1e9, 1: 0.000104})
    assert lost([best, Standing(best.examples, {0: 0.000096})], Range(0, 1e9)) == set()


def test_an_evaluation_that_continues_gets_a_minimum_number_of_cells() -> None:
    behind = "xx" + "." * 17 + "0"
    found = [standing("x" * 18 + "00"), *[standing("xx" + "." * 17 + "x")] * 3, standing(behind)]
    assert len(wanted(found, UNIT, few=0)[4]) == 4


# --- the winner is the same ---------------------------------------------------------------------------------------

VALUES = st.sampled_from([0.0, 1.0, 1.0, 1.0, 0.5, 0.1, 0.7, 1 / 3])


@st.composite
def matrices(draw: Any) -> list[list[float]]:
    """Draws scores by candidate and example, with many ties."""
    examples = draw(st.integers(1, 30))
    found: list[list[float]] = draw(
        st.lists(st.lists(VALUES, min_size=examples, max_size=examples), min_size=1, max_size=12)
    )
    return found


def stocks(scores: Sequence[float]) -> float:
    """Returns the score as `dspy.Evaluate` computes it."""
    return round(100 * sum(scores) / len(scores), 2)


def first_of_the_best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda number: (scores[number], -number))


@given(matrices(), st.sets(st.integers(0, 11)), st.sampled_from([0, 20, FEW]))
def test_the_winner_is_the_first_of_the_candidates_with_the_best_score(
    matrix: list[list[float]], known: set[int], few: int
) -> None:
    size = len(matrix[0])
    cells = [dict(enumerate(scores)) if number in known else {} for number, scores in enumerate(matrix)]
    examples, rounds = tuple(map(str, range(size))), 0
    while True:
        standings = [Standing(examples, scores, max_errors=3) for scores in cells]
        before = lost(standings, UNIT)
        asked = wanted(standings, UNIT, few=few)
        if not asked:
            break
        assert any(asked.values()), "every round brings something"
        assert not set(asked) & before
        rounds += 1
        for number, positions in asked.items():
            assert not set(positions) & set(cells[number]), "no cell is paid for twice"
            cells[number].update({position: matrix[number][position] for position in positions})
        assert before <= lost([Standing(examples, scores) for scores in cells], UNIT), "what has lost has lost"
    seen = [stocks([scores.get(position, 1.0) for position in range(size)]) for scores in cells]
    true = [stocks(scores) for scores in matrix]
    assert first_of_the_best(seen) == first_of_the_best(true)
    assert all(bound >= score for bound, score in zip(seen, true, strict=True))
    assert len(cells[first_of_the_best(true)]) == size
    assert rounds <= (1 if few == FEW and len(matrix) * size <= FEW else 12)


# --- evaluations that compete -------------------------------------------------------------------------------------


def entrant(name: str, scores: str) -> Entrant:
    return Entrant(name, [f"{name}{at}" for at in range(len(scores))], standing(scores))


def asked(contest: Contest, *at: Entrant) -> dict[str, set[str]]:
    return {found.digest: keys for found, keys in contest.decide(*at)}


def test_evaluations_compete_in_the_order_in_which_the_optimizer_runs_them() -> None:
    contest = Contest(UNIT, few=0)
    contest.is_on = True
    contest.sighted(entrant("b", "xxxx"))
    contest.sighted(entrant("c", "...."))
    assert asked(contest, entrant("a", "....")) == {"a": {"a0"}}
    assert contest.spared == {"c": {"c0", "c1", "c2", "c3"}}
    contest.passed(entrant("a", "xxxx"))
    contest.look_again()
    assert asked(contest, entrant("d", "..0.")) == {}
    assert contest.spared["d"] == {"d0", "d1", "d3"}


def test_pruning_forgets_an_evaluation_that_the_optimizer_drops() -> None:
    contest = Contest(UNIT)
    contest.sighted(entrant("a", "...."))
    contest.look_again()
    contest.sighted(entrant("b", "...."))
    assert set(asked(contest)) == {"b"}


def test_evaluations_before_the_optimizer_only_show_how_hard_examples_are() -> None:
    contest = Contest(UNIT, few=0)
    contest.passed(entrant("baseline", "xx0x"))
    assert asked(contest, entrant("a", "....")) == {"a": {"a2"}}


def test_evaluations_on_other_examples_do_not_compete() -> None:
    contest = Contest(UNIT, few=0)
    contest.is_on = True
    contest.passed(entrant("a", "xx"))
    assert asked(contest, entrant("b", "..."), entrant("c", "..")) == {"b": {"b0"}}


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("known", ["sighted", "passed"])
def test_a_score_out_of_range_ends_the_run(score: float, known: str) -> None:
    contest = Contest(UNIT)
    found = Entrant("a", ["a0", "a1"], Standing(("0", "1"), {0: 1.0, 1: score}))
    with pytest.raises(BadInput, match=r"scored .* on example 2 .*range is 0 \.\. 1\. .* range: \{min") as raised:
        getattr(contest, known)(found)
    assert raised.value.reason == "ScoreOutOfRange"


def test_a_failed_example_is_not_out_of_range() -> None:
    Contest(Range(1, 5)).passed(Entrant("a", ["a0"], Standing(("0",), {0: 0.0}, frozenset({0}))))


# --- in the engine ------------------------------------------------------------------------------------------------

Table = Sequence[float | None]


class Scripted(dspy.Module):
    """A program with a fixed score for each example; None means that it fails. Different names lead to different
    cells."""

    def __init__(self, name: str, scores: Table) -> None:
        super().__init__()
        self.name, self.scores, self.predict = name, list(scores), dspy.Predict("number -> score")

    def forward(self, number: int) -> Any:
        if (score := self.scores[number]) is None:
            raise ValueError("cannot read it")
        return dspy.Prediction(score=score)


def value(example: Any, prediction: Any, trace: Any = None) -> Any:
    return prediction.score


def examples(count: int) -> list[dspy.Example]:
    return [dspy.Example(number=at).with_inputs("number") for at in range(count)]


def evaluated(name: str, scores: Table, max_errors: int = 3) -> Any:
    return dspy.Evaluate(devset=examples(len(scores)), metric=value, max_errors=max_errors)(Scripted(name, scores))


def search(matrix: Sequence[Table], after: float, max_errors: int = 3) -> tuple[int, list[float]]:
    """Returns the number of the first best candidate, as stock optimizers find it, and the scores that it saw."""
    best, shown = -1, list[float]()
    for number, scores in enumerate(matrix):
        score = evaluated(f"candidate {number} after {after}", scores, max_errors).score
        if not shown or score > max(shown):
            best = number
        shown.append(score)
    return best, shown


Script = Callable[[Contest | None], Any]


def searching(matrix: Sequence[Table], max_errors: int = 3) -> Script:
    """Returns a script: a baseline, and an optimizer that starts from it. The value is ("failed", why) if it raises."""

    def script(contest: Contest | None) -> Any:
        baseline = evaluated("baseline", BASELINE).score
        try:
            return (contest.over(search) if contest else search)(matrix, baseline, max_errors)
        except Exception as error:
            return "failed", str(error)

    return script


def pruning() -> Contest:
    return Contest(UNIT, few=0)


def worked(planned: Planned) -> list[Record]:
    """Runs a plan's tasks as workers do, and returns the results."""
    blobs = {record.header["key"]: record.body for record in planned.of(RecordKind.BLOB)}
    records: list[Record] = []
    answers = Answers(CODEC, lambda key: None, records.append)
    with pytest.MonkeyPatch.context() as patch:
        take_over(patch)
        calls.install()
        for task in planned.tasks:
            work = make_work(task, blobs, CODEC)
            records += [work.run(position, answers) for position in range(len(task.cells))]
    return records


@dataclass
class Ran:
    """Holds a script's last plan, and the number of cells of each round."""

    last: Planned
    cells: list[int]


def ran(script: Script, contest: Callable[[], Contest | None], lost_results: int = 0, **options: Any) -> Ran:
    """Runs plans and workers until the script ends.

    Args:
        lost_results: how many results of each round are lost at most, as if workers had died.
    """
    journal: list[Record] = []
    cells: list[int] = []
    while True:
        competing = contest()
        found = plan(partial(script, competing), journal, contest=competing, **{"small": 0, **options})
        if not found.left or found.error:
            return Ran(found, cells)
        results = worked(found)
        stream = json.dumps(found.engine.course.stream)
        cells.append(len(results))
        journal += [*found.records, *results[min(lost_results, len(results) - 1) :], plan_end(len(cells) - 1, stream)]


EASY = [1.0] * 16
BASELINE, GOOD, WORSE, BAD = ([*EASY, *map(float, hard)] for hard in ("0000", "1101", "1100", "0100"))
"""Scores of four programs. Only the last examples are hard."""


@pytest.mark.parametrize(
    ("matrix", "winner", "cells"),
    [
        ([GOOD, BAD, BAD, BAD, BAD], 0, [20, 16]),
        ([BAD, BAD, BAD, BAD, GOOD], 4, [20, 16]),
        ([WORSE, GOOD, WORSE, GOOD, WORSE], 1, [20, 32]),
        ([GOOD], 0, [4, 16]),
        ([GOOD] * 4, 0, [16, 64]),
        ([BAD] * 4, 0, [16, 64]),
    ],
    ids=["the first wins", "the last wins", "several are best", "there is only one", "all are good", "all are bad"],
)
def test_with_pruning_the_winner_is_the_same_and_fewer_cells_run(
    matrix: list[Table], winner: int, cells: list[int]
) -> None:
    whole, found = ran(searching(matrix), lambda: None), ran(searching(matrix), pruning)
    assert whole.last.value[0] == found.last.value[0] == winner
    assert found.last.value[1][winner] == whole.last.value[1][winner]
    assert all(bound >= score for bound, score in zip(found.last.value[1], whole.last.value[1], strict=True))
    assert found.last.engine.course.stream == whole.last.engine.course.stream, "the same effects, in the same order"
    assert found.cells == [len(BASELINE), *cells]
    spared = sum(map(len, found.last.engine.results.spared.values()))
    assert sum(found.cells) + spared == sum(whole.cells)


def test_a_lost_evaluation_is_shown_to_the_optimizer_as_a_bound() -> None:
    shown: list[Any] = []

    def script(contest: Contest | None) -> None:
        assert contest is not None
        baseline = evaluated("baseline", BASELINE).score
        contest.over(lambda: shown.extend(evaluated(f"{name} {baseline}", name) for name in (GOOD, BAD)))()

    found = ran(script, pruning)
    good, bad = ([score for *_, score in result.results] for result in shown[-2:])
    assert good == GOOD
    assert [isinstance(score, Bound) for score in bad] == [True] * 16 + [False] * 4
    assert bad == [1.0] * 16 + BAD[16:]
    assert sum(map(len, found.last.engine.results.spared.values())) == 16


def test_a_bound_of_a_pruned_evaluation_does_not_count_as_its_score() -> None:
    program = dspy.Predict("number -> score")
    devset = [dspy.Example(number=at).with_inputs("number") for at in range(2)]
    progress = Progress(compiling=True, validation=devset)
    for call, score in (("a", 0.5), ("b", Bound(1.0)), ("c", 0.25)):
        results = [(example, None, score) for example in devset]
        progress.on_evaluate_start(call, dspy.Evaluate(devset=devset), {"program": program})
        progress.on_evaluate_end(call, EvaluationResult(score=100 * score, results=results))
    assert progress.best == 50.0
    program.candidate_programs = [
        {"score": 80.0, "subscores": [0.8, 0.8], "seed": 1},
        {"score": 75.0, "subscores": [0.5, Bound(1.0)], "seed": 0},
        {"score": 70.0},
    ]
    assert [(found.name, found.bound) for found in candidates(program)] == [
        ("seed 1", False),
        ("seed 0", True),
        ("candidate 2", False),
    ]


def test_candidates_without_a_numeric_score_are_not_listed() -> None:
    program = dspy.Predict("number -> score")
    program.candidate_programs = [{"score": float("nan"), "seed": 1}, {"score": 75.0, "seed": 0}]
    assert [found.name for found in candidates(program)] == ["seed 0"]


@pytest.mark.parametrize("own", ["a name", ["a name"], {"a": 1}, [{"score": "good"}]])
def test_a_programs_own_attribute_is_no_list_of_candidates(own: Any) -> None:
    program = dspy.Predict("number -> score")
    program.candidate_programs = own
    assert candidates(program) == []


@pytest.mark.parametrize("max_errors", [1, 2, 3, 5, 30])
def test_failing_examples_end_the_compile_as_without_pruning(max_errors: int) -> None:
    failing: Table = [0.0, None, *EASY[2:], 1.0, None, 0.0, 0.0]
    whole = ran(searching([GOOD, failing, BAD], max_errors), lambda: None)
    found = ran(searching([GOOD, failing, BAD], max_errors), pruning)
    assert found.last.value[0] == whole.last.value[0]
    assert (whole.last.value[0] == "failed") == (max_errors <= 2)
    if max_errors <= 2:
        assert found.last.engine.tally.scored_zero >= max_errors
    elif max_errors < len(failing) + 2:
        told, expected = (each.last.engine.tally.told(str) for each in (found, whole))
        assert told is not None
        assert expected is not None
        told = told.model_copy(update={"examples": expected.examples})  # pruning leaves out some failed cells
        assert told == expected, "all of the evidence"


def test_evaluations_before_and_after_the_optimizer_are_not_pruned() -> None:
    def script(contest: Contest | None) -> Any:
        assert contest is not None
        before = evaluated("before", BAD).score
        winner = contest.over(search)([GOOD, BAD], before)
        return winner, evaluated(f"candidate 1 after {before}", BAD).score

    found = ran(script, pruning)
    assert found.last.value[1] == 100 * sum(BAD) / len(BAD)
    assert found.cells == [20, 8, 16, 16]


def test_without_lookahead_nothing_is_pruned() -> None:
    found = ran(searching([GOOD, BAD, BAD]), pruning, looks_ahead=False)
    assert (found.cells, found.last.engine.results.spared) == ([20] * 4, {})


def test_evaluations_with_few_cells_run_in_a_single_round() -> None:
    assert ran(searching([GOOD, BAD, BAD]), lambda: Contest(UNIT, few=60)).cells == [20, 60]
    assert ran(searching([GOOD, BAD, BAD]), lambda: Contest(UNIT, few=59)).cells == [20, 12, 48]


def test_the_plan_itself_runs_the_last_cells_if_they_are_few() -> None:
    found = ran(searching([GOOD, BAD, BAD]), pruning, small=4)
    assert found.last.value == ran(searching([GOOD, BAD, BAD]), pruning).last.value
    assert found.cells == [12], "the baseline, and what is left of the best, are not more than it runs"


@pytest.mark.parametrize("lost_results", [1, 6])
def test_lost_results_of_a_round_do_not_change_the_winner(lost_results: int) -> None:
    matrix = [BAD, BAD, GOOD, BAD, GOOD, WORSE]
    found = ran(searching(matrix), pruning, lost_results)
    assert (found.last.value[0], found.last.value[1][2]) == (2, 95.0)
    assert found.last.engine.results.spared


def test_pruning_chooses_the_same_cells_from_the_same_journal() -> None:
    first = plan(lambda: evaluated("baseline", BASELINE), small=40).records

    def asked() -> list[tuple[str, list[int]]]:
        contest = pruning()
        found = plan(lambda: searching([BAD, GOOD, BAD])(contest), first, contest=contest, small=0)
        return [(task.digest, [cell.item for cell in task.cells]) for task in found.tasks]

    assert asked() == asked()
    assert [cells for _, cells in asked()] == [[16, 17, 18, 19]] * 3


def test_a_score_out_of_range_ends_the_plan_even_if_the_optimizer_catches_the_error() -> None:
    def script(contest: Contest | None) -> Any:
        try:
            return searching([GOOD, [*GOOD[:-1], 1.5]])(contest)
        except Exception:
            return "swallowed"

    error = ran(script, pruning).last.error
    assert isinstance(error, BadInput)
    assert error.reason == "ScoreOutOfRange"
    assert ran(script, lambda: None).last.value == (1, [95.0, 97.5])


def test_a_metric_value_that_cannot_be_compared_is_refused() -> None:
    odd: list[Any] = [*GOOD[:-1], "good"]
    with pytest.raises(BadInput, match="returns a str \\('good'\\), which is no score"):
        ran(searching([GOOD, odd, BAD]), pruning)


def test_an_evaluation_without_errors_passes_if_no_error_is_tolerated() -> None:
    assert plan(lambda: evaluated("any", [1.0, 0.0], max_errors=0)).value.score == 50.0


@pytest.mark.parametrize(
    "odd",
    [np.float32(2 / 3), np.float64(1), Decimal("0.5"), Fraction(1, 2), math.inf, math.nan, "good", None],
    ids=repr,
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_only_evaluations_with_plain_numbers_as_scores_compete(odd: Any, wrapped: bool) -> None:
    def standing(score: Any) -> Standing | None:
        wave = Evaluation(lambda item: item, [1], 10)
        value = Outcome.OK, (dspy.Prediction(), dspy.Prediction(score=score) if wrapped else score)
        header = Result(key=wave.keys[0], outcome=Outcome.OK, usage=Usage()).to_header()
        store = Store.of([Record(RecordKind.RESULT, header, CODEC.dumps(value))])
        return wave.standing(store, CODEC)

    assert standing(odd) is None
    assert [found and found.scores[0] for found in map(standing, (True, 1, 0.5))] == [1.0, 1.0, 0.5]


# --- runs that a limit has ended ----------------------------------------------------------------------------------


def best_so_far(matrix: Sequence[Table], lacking: Sequence[int], baseline: Table, **options: Any) -> str:
    """Returns the name of the best program that the last plan finds.

    Args:
        lacking: how many results each candidate lacks.
    """
    script = searching(matrix)
    first = plan(partial(script, None), small=0)
    journal = [*first.records, *worked(first), plan_end(0, json.dumps(first.engine.course.stream))]
    second = plan(partial(script, None), journal, small=0)
    cells = [(number, cell.item) for number, task in enumerate(second.tasks) for cell in task.cells]
    for (number, item), result in zip(cells, worked(second), strict=True):
        if item >= lacking[number]:
            journal.append(result)
    progress = Progress(keeps_best=True, validation=examples(len(BASELINE)))
    progress.keep(Scripted("student", baseline), stocks([score or 0.0 for score in baseline]))

    def last() -> Any:
        before = evaluated("baseline", BASELINE).score
        progress.compiling = True
        return search(matrix, before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dspy.Evaluate, "callbacks", [progress], raising=False)
        found = plan(last, journal, passes_over=lambda: progress.compiling, looks_ahead=False, small=0, **options)
    assert (found.left, found.error, found.tasks) == (False, None, [])
    assert found.engine.course.has_passed_over == any(lacking)
    name: str = progress.best_program.name
    return name.partition(" after")[0]


@pytest.mark.parametrize(
    ("matrix", "lacking", "best"),
    [
        ([BAD, WORSE, GOOD], [0, 0, 0], "candidate 2"),
        ([BAD, WORSE, GOOD], [16, 0, 0], "candidate 2"),
        ([BAD, WORSE, GOOD], [16, 16, 0], "candidate 2"),
        ([GOOD, WORSE, BAD], [1, 0, 0], "candidate 1"),
        ([WORSE, GOOD, WORSE], [0, 20, 0], "candidate 0"),
        ([GOOD, GOOD, GOOD], [20, 0, 0], "candidate 1"),
        ([GOOD, GOOD], [1, 20], "student"),
        ([BAD, BASELINE], [1, 0], "student"),  # the second is as good as the student, but later
    ],
    ids=str,
)
def test_the_best_program_so_far_is_the_first_complete_candidate_with_the_highest_score(
    matrix: list[Table], lacking: list[int], best: str
) -> None:
    assert best_so_far(matrix, lacking, BASELINE) == best


def test_the_best_score_so_far_comes_from_an_evaluation_on_the_validation_set_in_any_order() -> None:
    progress = Progress(compiling=True, validation=examples(3))
    for number, devset in enumerate([examples(4)[1:], examples(2), examples(3)[::-1]]):
        progress.on_evaluate_start(str(number), dspy.Evaluate(devset=devset), {"program": "any"})
        results = [(example, None, -1.0) for example in devset]
        progress.on_evaluate_end(str(number), EvaluationResult(score=-10.0 * number, results=results))
    assert progress.best == -20.0


def test_later_changes_by_the_optimizer_leave_the_best_program_so_far_unchanged() -> None:
    """InferRules changes the class of a signature, and copies of a program share this class."""
    program = dspy.Predict("number -> score")
    before = program.signature.instructions
    progress = Progress(keeps_best=True)
    progress.keep(program, 50.0)
    program.signature.instructions = "the next candidate's"
    assert progress.best_program.signature.instructions == before
