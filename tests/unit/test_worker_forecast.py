"""What a missing score is taken for: forecasts, and the outlooks of scouts."""

from itertools import pairwise

import pytest

from swarm_worker.replay.forecast import RECENT, Forecast
from swarm_worker.replay.placeholder import EXTREMES, LIKELY, Outlook

POSITIONS = range(2, 40)


def forecast(**scores: list[float]) -> Forecast:
    made = Forecast()
    for program, values in scores.items():
        made.add(program, values)
    return made


MEANS: list[tuple[str, dict[str, list[float]], float]] = [
    ("nothing is known", {}, 0.5),
    ("its own scores", {"it": [1, 0, 0, 0], "other": [1, 1]}, 0.25),
    ("the mean of others, each counted once", {"one": [1, 1], "two": [0, 0, 0, 0, 0, 0]}, 0.5),
    ("one other", {"one": [0.75]}, 0.75),
    ("scores beyond 1", {"one": [30, 50]}, 40),
    ("one of which every example failed", {"one": [0.75], "two": []}, 0.75),
    ("itself, of which every example failed", {"it": [], "other": [0.75]}, 0.75),
    ("the last ones, as optimizers learn", {f"{n}": [0.1 if n < 10 else 0.9] for n in range(10 + RECENT)}, 0.9),
]


@pytest.mark.parametrize(("case", "known", "mean"), MEANS, ids=[row[0] for row in MEANS])
def test_the_mean_that_is_expected(case: str, known: dict[str, list[float]], mean: float) -> None:
    assert forecast(**known).of("it", 10)[0] == pytest.approx(mean)


def test_scores_of_several_evaluations_add_up() -> None:
    made = forecast(it=[1.0])
    made.add("it", [0.0, 0.0])
    assert made.of("it", 10)[0] == pytest.approx(1 / 3)


DEVIATIONS: list[tuple[str, dict[str, list[float]], int, float]] = [
    ("a sample of itself", {"it": [1, 0]}, 100, 0.05),
    ("fewer examples, wider", {"it": [1, 0]}, 1, 0.5),
    ("others that differ", {"one": [0.2], "two": [0.6]}, 100, (0.2**2 + 0.24 / 100) ** 0.5),
    ("always right", {"it": [1, 1]}, 10, 0.001),
    ("scores beyond 1", {"it": [30, 50]}, 10, 0.001),
    ("no example", {"it": [1, 0]}, 0, 0.5),
]


@pytest.mark.parametrize(("case", "known", "items", "deviation"), DEVIATIONS, ids=[row[0] for row in DEVIATIONS])
def test_how_far_off_it_may_be(case: str, known: dict[str, list[float]], items: int, deviation: float) -> None:
    assert forecast(**known).of("it", items)[1] == pytest.approx(deviation)


@pytest.mark.parametrize("position", POSITIONS)
def test_likely_scores_are_near_the_forecast_and_differ_between_scouts(position: int) -> None:
    scores = [outlook.score(position, 0.6, 0.1) for outlook in LIKELY]
    assert all(abs(score - 0.6) <= 0.1 for score in scores)
    assert len({round(score, 9) for score in scores}) == len(LIKELY)


def test_likely_scouts_rank_the_same_effects_in_different_orders() -> None:
    orders = {tuple(sorted(range(2, 6), key=lambda it: outlook.score(it, 0.6, 0.1))) for outlook in LIKELY[1:]}
    assert len(orders) == len(LIKELY) - 1
    assert {LIKELY[0].score(position, 0.6, 0.1) for position in POSITIONS} == {0.6}, "one takes the forecast itself"


def test_extreme_scores_are_further_apart_than_real_ones_and_in_opposite_orders() -> None:
    up, down = ([outlook.score(position, 0.6, 0.1) for position in POSITIONS] for outlook in EXTREMES)
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    apart = [abs(b - a) for scores in (up, down) for a, b in pairwise(scores)]
    assert min(apart) > 10
    assert max(down) < -10 < 10 < min(up)


def test_scouts_have_marks_of_their_own() -> None:
    outlooks: list[Outlook] = [*EXTREMES, *LIKELY]
    letters = [outlook.letter for outlook in outlooks]
    assert len(set(letters)) == len(letters)
    assert all(letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for letter in letters), "the only ones that digests see through"
