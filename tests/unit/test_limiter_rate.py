"""A group of requests uses up its rate limit in each minute and never exceeds it. A simulated clock tells the time."""

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count, pairwise
from math import inf

import pytest

from swarm_limiter.rate import RECOVERY, Rate, Turn
from swarm_wire.rates import Answered, RateLimit


def limit(requests: int | None = None, tokens: int | None = None, concurrency: int | None = None) -> RateLimit:
    return RateLimit(group="g", requests_per_minute=requests, tokens_per_minute=tokens, concurrency=concurrency)


@dataclass
class Sent:
    at: float
    tokens: int
    until: float


@dataclass
class Play:
    """Simulates the clock, requests that wait for the limiter, and a provider that answers them."""

    limit: RateLimit
    latency: Callable[[random.Random], float] = lambda chance: 1.0
    tokens: Callable[[random.Random], int] = lambda chance: 100
    most: int = 100
    answer: Callable[[float], Answered | None] = lambda now: None
    rate: Rate = field(default_factory=Rate)
    seed: int = 1

    def run(self, seconds: float, begin: float = 0.0) -> list[Sent]:
        chance, now, sent, order = random.Random(self.seed), begin, [], count()
        under_way: list[tuple[float, int, Turn, Answered]] = []
        while now < begin + seconds:
            found = self.rate.take(self.limit, self.most, now)
            if isinstance(found, Turn):
                used, took = self.tokens(chance), self.latency(chance)
                answered = self.answer(now) or Answered(tokens=used)
                heapq.heappush(under_way, (now + took, next(order), found, answered))
                sent.append(Sent(now, used, now + took))
                continue
            assert found > 0
            over = under_way[0][0] if under_way else inf
            assert min(now + found, over) < inf, "nobody would ever go on"
            now = min(now + found, over)
            while under_way and under_way[0][0] <= now:
                _, _, turn, answered = heapq.heappop(under_way)
                self.rate.end(turn, answered, now, chance.random())
        return sent


def most_in_a_minute(events: Iterable[tuple[float, int]]) -> int:
    """Returns the greatest sum of amounts within any sixty seconds."""
    events = sorted(events)
    worst = total = begin = 0
    for at, amount in events:
        total += amount
        while events[begin][0] <= at - 60:
            total -= events[begin][1]
            begin += 1
        worst = max(worst, total)
    return worst


def each_full_minute(events: Iterable[tuple[float, int]], seconds: float) -> list[int]:
    minutes = [0] * int(seconds // 60)
    for at, amount in events:
        if at // 60 < len(minutes):
            minutes[int(at // 60)] += amount
    return minutes


LATENCIES: dict[str, Callable[[random.Random], float]] = {
    "quick": lambda chance: 0.1,
    "slow": lambda chance: 20.0,
    "uneven": lambda chance: chance.expovariate(1 / 3),
}


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("requests", [1, 7, 60, 600, 6000])
def test_requests_use_up_their_rate_limit_and_never_exceed_it(requests: int, latency: str) -> None:
    """A provider counts a request when it arrives, up to two seconds after the limiter has allowed it."""
    sent = Play(limit(requests), LATENCIES[latency]).run(300)

    on_their_way = random.Random(2)
    arrived = [(one.at + on_their_way.uniform(0, 2), 1) for one in sent]
    assert most_in_a_minute(arrived) <= requests
    assert len(sent) >= 0.9 * requests * 5 - 1
    assert min(each_full_minute(((one.at, 1) for one in sent), 300)) >= int(0.85 * requests)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("requests", [1, 7, 60, 600])
def test_a_restarted_limiter_keeps_to_a_limit_of_requests(requests: int, latency: str) -> None:
    before = Play(limit(requests), LATENCIES[latency]).run(90)
    after = Play(limit(requests), LATENCIES[latency], rate=Rate(since=90.0)).run(90, begin=90.0)
    assert most_in_a_minute((one.at, 1) for one in [*before, *after]) <= requests
    assert len(after) >= 0.9 * requests * 1.5 - 1


TAKES: dict[str, tuple[int, Callable[[random.Random], int]]] = {
    "a quarter of the most": (2_000, lambda chance: chance.randint(400, 600)),
    "anything": (2_000, lambda chance: chance.randint(1, 2_000)),
    "as much as it may": (1_000, lambda chance: 1_000),
    "little, and seldom all": (2_000, lambda chance: 2_000 if chance.random() < 0.05 else 100),
}


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("takes", TAKES)
@pytest.mark.parametrize("tokens", [100_000, 1_000_000])
def test_tokens_use_up_their_rate_limit_and_never_exceed_it(tokens: int, takes: str, latency: str) -> None:
    """The limiter learns the tokens of a request from its answer. Before, it knows only their maximum."""
    most, takes_ = TAKES[takes]
    sent = Play(limit(tokens=tokens), LATENCIES[latency], takes_, most).run(660)

    assert most_in_a_minute((one.at, one.tokens) for one in sent) <= tokens
    minutes = each_full_minute(((one.at, one.tokens) for one in sent), 660)
    # In the first minute, the limiter does not know how few tokens requests use. If few large requests fit into a
    # minute, a part of it stays unused.
    assert min(minutes[1:]) >= (0.85 if tokens >= 200 * most or takes.endswith(("most", "may")) else 0.6) * tokens


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize(("first", "then"), [(100, 1_000), (100, 2_000), (500, 1_500)])
@pytest.mark.parametrize("tokens", [100_000, 1_000_000])
def test_only_requests_in_flight_exceed_the_limit_when_answers_suddenly_become_longer(
    tokens: int, first: int, then: int, latency: str
) -> None:
    short = iter([first] * (3 * tokens // first))
    sent = Play(limit(tokens=tokens), LATENCIES[latency], lambda chance: next(short, then), 2_000).run(660)

    known = min(one.until for one in sent if one.tokens == then)
    assert most_in_a_minute((one.at, one.tokens) for one in sent if one.at > known) <= tokens
    assert latency != "quick" or most_in_a_minute((one.at, one.tokens) for one in sent) <= tokens
    assert each_full_minute(((one.at, one.tokens) for one in sent), 660)[-1] >= 0.85 * tokens


def test_a_request_that_is_larger_than_the_limit_is_sent_alone() -> None:
    sent = Play(limit(tokens=50), tokens=lambda chance: 80, most=100, latency=lambda chance: 30).run(600)
    assert len(sent) > 3
    assert all(later.at >= one.until for one, later in pairwise(sent))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_requests_in_flight_never_exceed_the_limit_of_concurrent_requests(concurrency: int) -> None:
    sent = Play(limit(concurrency=concurrency), LATENCIES["uneven"]).run(60)
    under_way = [sum(other.at <= one.at < other.until for other in sent) for one in sent]
    assert max(under_way) == concurrency


def test_a_group_keeps_to_all_of_its_limits_at_the_same_time() -> None:
    sent = Play(limit(60, 3_000, 2), lambda chance: 0.5, lambda chance: 100, 100).run(600)
    assert most_in_a_minute((one.at, 1) for one in sent) <= 30
    assert len(sent) >= 0.85 * 300


def test_requests_that_a_group_leaves_unused_do_not_accumulate() -> None:
    rate = Rate()
    assert isinstance(rate.take(limit(600), 0, 0.0), Turn)
    burst = 0
    while isinstance(rate.take(limit(600), 0, 300.0), Turn):
        burst += 1
    assert burst <= 10


def test_without_limits_no_request_waits() -> None:
    rate = Rate()
    assert all(isinstance(rate.take(limit(), 0, 0.0), Turn) for _ in range(1000))


# Answers of the provider


def objects(rate: Rate, at: float, retry_after: float | None = None, luck: float = 0.0, **of: int) -> None:
    turn = rate.take(limit(**of), 0, at)
    assert isinstance(turn, Turn)
    rate.end(turn, Answered(throttled=True, retry_after=retry_after), at, luck)


@pytest.mark.parametrize(
    ("retry_after", "luck", "expected"),
    [(7.0, 0.0, 7.0), (7.0, 1.0, 8.75), (0.0, 1.0, 1.25), (None, 0.0, 1.0), (1e9, 0.0, 600.0)],
)
def test_after_a_rate_limit_error_no_request_is_sent_for_a_while(
    retry_after: float | None, luck: float, expected: float
) -> None:
    rate = Rate()
    objects(rate, 100.0, retry_after, luck)
    assert rate.take(limit(), 0, 100.0) == pytest.approx(expected)
    assert isinstance(rate.take(limit(), 0, 100.0 + expected), Turn)


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_pauses_grow_while_the_provider_returns_only_rate_limit_errors(retry_after: float | None) -> None:
    rate, now, pauses = Rate(), 0.0, []
    for _ in range(8):
        objects(rate, now, retry_after)
        pause = rate.take(limit(), 0, now)
        assert not isinstance(pause, Turn)
        pauses.append(pause)
        now += pause
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("retry_after", [None, 0.0, 0.5])
def test_a_pause_after_rate_limit_errors_never_exceeds_a_minute(retry_after: float | None) -> None:
    rate, now = Rate(), 0.0
    for _ in range(3000):
        objects(rate, now, retry_after)
        pause = rate.take(limit(), 0, now)
        assert not isinstance(pause, Turn)
        assert pause <= 60
        now += pause


def test_many_rate_limit_errors_at_once_halve_the_rate_once_and_the_rate_recovers() -> None:
    rate = Rate()
    turns = [turn for turn in (rate.take(limit(6000), 0, at / 10) for at in range(10)) if isinstance(turn, Turn)]
    for turn in turns:
        rate.end(turn, Answered(throttled=True, retry_after=1e-9), 1.0)
    halved = Play(limit(6000), rate=rate).run(6, begin=1.1)
    assert 250 <= len(halved) <= 400  # the full rate would allow 570 in six seconds
    grown = Play(limit(6000), rate=rate).run(6, begin=1.0 + RECOVERY)
    assert len(grown) >= 560


def test_the_rate_adapts_to_a_provider_that_allows_less_than_the_limit() -> None:
    allowed, passed = 300, list[float]()

    def answer(now: float) -> Answered | None:
        if sum(at > now - 1 for at in passed[-50:]) >= allowed / 60:
            return Answered(throttled=True, retry_after=1)
        passed.append(now)
        return None

    sent = Play(limit(1200), answer=answer).run(1200)
    assert len(passed) >= 0.5 * allowed * 20
    assert len(sent) - len(passed) <= 0.15 * len(sent)


def test_without_a_limit_a_rate_limit_error_lowers_concurrency_for_a_while() -> None:
    rate = Rate()
    turns = [rate.take(limit(), 0, 0.0) for _ in range(64)]
    for turn in turns[:32]:
        assert isinstance(turn, Turn)
        rate.end(turn, Answered(throttled=True, retry_after=1e-9), 1.0)
    assert rate.take(limit(), 0, 1.1) == inf
    for turn in turns[32:]:
        assert isinstance(turn, Turn)
        rate.end(turn, Answered(), 2.0)
    under_way = 0
    while isinstance(rate.take(limit(), 0, 3.0), Turn):
        under_way += 1
    assert 32 <= under_way <= 40
