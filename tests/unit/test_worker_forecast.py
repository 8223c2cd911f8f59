"""Scouts assume values for missing scores, from forecasts by the known scores."""

from itertools import pairwise
from statistics import NormalDist

import pytest

from swarm_worker.lookahead.forecast import APART, RECENT, Forecast
from swarm_worker.lookahead.placeholder import EXTREMES, LIKELY, Outlook

POSITIONS = range(2, 40)


def examples(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def forecast(**scores: dict[str, float]) -> Forecast:
    made = Forecast()
    for program, values in scores.items():
        made.add(program, values)
    return made


def first(*scores: float) -> dict[str, float]:
    """Returns these scores by the names of the first examples."""
    return dict(zip(examples(len(scores)), scores, strict=True))


MEANS: list[tuple[str, dict[str, dict[str, float]], float]] = [
    ("nothing is known", {}, 0.5),
    ("its own scores", {"it": first(1, 0, 0, 0)}, 0.25),
    ("its own scores on all examples", {"it": first(*[1, 0] * 5), "other": first(*[0] * 9)}, 0.5),
    ("the mean of others, each counted once", {"one": first(1, 1), "two": first(0, 0, 0, 0, 0, 0)}, 0.5),
    ("one other", {"one": first(0.75)}, 0.75),
    ("scores beyond 1", {"one": first(30, 50)}, 40),
    ("one of which every example failed", {"one": first(0.75), "two": {}}, 0.75),
    ("itself, of which every example failed", {"it": {}, "other": first(0.75)}, 0.75),
    ("the last ones, as optimizers learn", {f"{n}": first(0.1 if n < 10 else 0.9) for n in range(10 + RECENT)}, 0.9),
    ("examples that were hard for others", {"one": {**first(*[0] * 10), **{f"easy {n}": 1 for n in range(10)}}}, 0.25),
]


@pytest.mark.parametrize(("case", "known", "mean"), MEANS, ids=[row[0] for row in MEANS])
def test_the_forecast_of_a_mean_depends_on_known_scores(
    case: str, known: dict[str, dict[str, float]], mean: float
) -> None:
    assert forecast(**known).of("it", examples(10))[0] == pytest.approx(mean)


def test_a_forecast_uses_scores_of_all_evaluations_of_a_program() -> None:
    made = forecast(it=first(1))
    made.add("it", {"1": 0, "2": 0})
    assert made.of("it", examples(10))[0] == pytest.approx(1 / 3)


DEVIATIONS: list[tuple[str, dict[str, dict[str, float]], int, float]] = [
    ("all of it is known", {"it": first(1, 0)}, 2, 0.001),
    ("no example", {"it": first(1, 0)}, 0, 0.1),
    ("one other program", {"one": {"a": 0, "b": 1}}, 100, (0.25 / 100 + APART**2 / 2) ** 0.5),
    (
        "others that are equal",
        {"one": {"a": 0, "b": 1}, "two": {"c": 0, "d": 1}},
        100,
        (0.25 / 100 + APART**2 / 3) ** 0.5,
    ),
    (
        "others that differ",
        {"one": {"else": 0.2}, "two": {"other": 0.6}},
        100,
        (0.24 / 100 + (APART**2 + 2 * 0.2**2) / 3) ** 0.5,
    ),
    ("others that are always right", {"one": {"a": 1}, "two": {"b": 1}}, 100, (APART**2 / 3) ** 0.5),
    ("scores beyond 1", {"one": {"a": 30}, "two": {"b": 50}}, 100, ((APART**2 + 2 * 10**2) / 3) ** 0.5),
]


@pytest.mark.parametrize(("case", "known", "count", "deviation"), DEVIATIONS, ids=[row[0] for row in DEVIATIONS])
def test_the_expected_error_of_a_forecast_depends_on_known_scores(
    case: str, known: dict[str, dict[str, float]], count: int, deviation: float
) -> None:
    assert forecast(**known).of("it", examples(count))[1] == pytest.approx(deviation)


def deviations(*known: int) -> list[float]:
    """Returns the expected deviations for 100 examples, of which so many have scores. Half of the scores are 1."""
    others: dict[str, dict[str, float]] = {f"{n}": {f"{n} {m}": m % 2 for m in range(100)} for n in range(RECENT)}
    return [forecast(**others, it=first(*[0, 1] * (count // 2))).of("it", examples(100))[1] for count in known]


def test_more_known_scores_make_a_forecast_more_precise() -> None:
    found = deviations(0, 2, 10, 30, 60, 90, 100)
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)


def test_more_known_scores_of_a_program_give_them_more_weight() -> None:
    others: dict[str, dict[str, float]] = {"one": {f"{n}": n % 2 for n in range(100)}}
    means = [forecast(**others, it=first(*[1] * count)).of("it", ["another"])[0] for count in (0, 2, 10, 30, 100)]
    assert means == sorted(means)
    assert means[0] == pytest.approx(0.5)
    assert means[-1] > 0.9


@pytest.mark.parametrize("position", POSITIONS)
def test_likely_placeholders_are_spread_around_the_forecast(position: int) -> None:
    first, *others = (outlook.score(position, 0.6, 0.1) for outlook in LIKELY)
    assert first == 0.6
    spread = [NormalDist(0.6, 0.1).cdf(score) * len(others) - 0.5 for score in sorted(others)]
    assert spread == pytest.approx(range(len(others)))


def test_likely_placeholders_rank_the_same_candidates_in_different_orders() -> None:
    orders = {tuple(sorted(range(2, 7), key=lambda it: outlook.score(it, 0.6, 0.1))) for outlook in LIKELY[1:]}
    assert len(orders) == len(LIKELY) - 1


def test_extreme_placeholders_are_further_apart_than_real_scores_and_in_opposite_orders() -> None:
    up, down = ([outlook.score(position, 0.6, 0.1) for position in POSITIONS] for outlook in EXTREMES)
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    apart = [abs(b - a) for scores in (up, down) for a, b in pairwise(scores)]
    assert min(apart) > 10
    assert max(down) < -10 < 10 < min(up)


def test_each_scout_has_its_own_placeholders() -> None:
    outlooks: list[Outlook] = [*EXTREMES, *LIKELY]
    letters = [outlook.letter for outlook in outlooks]
    assert len(set(letters)) == len(letters)
    assert all(letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for letter in letters), "the only ones that digests see through"
