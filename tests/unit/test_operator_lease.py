"""Two operators with one Lease never both write. If the first ends well, the second need not wait."""

import asyncio
from typing import Any

import pytest

from support.fake_cluster import NAMESPACE, FakeCluster
from swarm_operator.cluster import errors
from swarm_operator.cluster.lease import LEASES, SECONDS, Deposed, Fenced, Lease
from swarm_operator.cluster.resources import CONFIG_MAPS


class Seconds:
    """A simulated monotonic clock of a machine."""

    def __init__(self, start: float) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now


class Pair:
    """Two operators, each with its own clock."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.seconds = Seconds(100.0), Seconds(90_000.0)
        self.first, self.second = map(self.operator, ("first", "second"), self.seconds)

    def operator(self, holder: str, seconds: Seconds) -> Lease:
        return Lease(self.cluster, NAMESPACE, "operator", holder, lambda: self.cluster.now, seconds)

    def after(self, seconds: float) -> None:
        for clock in self.seconds:
            clock.now += seconds


@pytest.fixture
def pair() -> Pair:
    return Pair()


def writes(pair: Pair, lease: Lease) -> bool:
    """Returns whether an operator with this Lease may write."""
    name = f"written-{len(pair.cluster.objects)}"
    body = {"metadata": {"name": name}}
    try:
        asyncio.run(Fenced(pair.cluster, lease).create(CONFIG_MAPS, NAMESPACE, body))
    except errors.Unavailable:
        return False
    return True


def take(lease: Lease) -> str:
    return asyncio.run(lease.take())


def test_the_first_operator_gets_the_lease(pair: Pair) -> None:
    assert not writes(pair, pair.first)
    assert take(pair.first) == ""
    assert take(pair.second) == "first"
    assert (writes(pair, pair.first), writes(pair, pair.second)) == (True, False)


def test_an_operator_keeps_the_lease_by_renewing_it(pair: Pair) -> None:
    for _ in range(20):
        assert (take(pair.first), take(pair.second)) == ("", "first")
        pair.after(SECONDS - 1)
        assert (writes(pair, pair.first), writes(pair, pair.second)) == (True, False)


def test_an_operator_that_ends_without_an_error_releases_the_lease(pair: Pair) -> None:
    take(pair.first)
    take(pair.second)
    asyncio.run(pair.first.release())
    assert take(pair.second) == ""
    assert (writes(pair, pair.first), writes(pair, pair.second)) == (False, True)


def test_the_next_operator_waits_until_the_lease_of_a_dead_operator_expires(pair: Pair) -> None:
    take(pair.first)
    assert take(pair.second) == "first"
    pair.after(SECONDS - 1)
    assert take(pair.second) == "first"
    pair.after(2)
    assert (writes(pair, pair.first), writes(pair, pair.second)) == (False, False)
    assert take(pair.second) == ""
    assert writes(pair, pair.second)


def test_an_operator_whose_lease_another_operator_has_taken_writes_nothing_and_ends(pair: Pair) -> None:
    take(pair.first)
    take(pair.second)
    pair.after(SECONDS + 1)
    assert take(pair.second) == ""
    assert not writes(pair, pair.first)
    with pytest.raises(Deposed):
        take(pair.first)


def test_an_operator_that_lost_the_lease_ends_even_if_the_lease_is_free_again(pair: Pair) -> None:
    """Another operator has changed the cluster since, so this operator's memory is outdated."""
    take(pair.first)
    take(pair.second)
    pair.after(SECONDS + 1)
    take(pair.second)
    asyncio.run(pair.second.release())
    with pytest.raises(Deposed):
        take(pair.first)


def test_an_operator_continues_if_no_other_operator_took_its_expired_lease(pair: Pair) -> None:
    """The Lease expires while the API server is unreachable, since no operator can renew it."""
    take(pair.first)
    pair.after(SECONDS * 10)
    assert not writes(pair, pair.first)
    assert take(pair.first) == ""
    assert writes(pair, pair.first)


def test_a_restarted_container_keeps_its_lease_and_continues_at_once(pair: Pair) -> None:
    take(pair.first)
    assert take(pair.operator("first", Seconds(7.0))) == ""


def test_only_one_of_two_competing_operators_gets_the_lease(pair: Pair) -> None:
    """Both operators see that the Lease is free before one of them writes."""
    get = pair.cluster.get

    async def slow(*arguments: Any, **options: Any) -> Any:
        found = await get(*arguments, **options)
        await asyncio.sleep(0.01)
        return found

    pair.cluster.get = slow  # type: ignore[method-assign]

    async def both() -> None:
        await asyncio.gather(pair.first.take(), pair.second.take(), return_exceptions=True)

    asyncio.run(both())
    assert [pair.first.held, pair.second.held].count(True) == 1
    asyncio.run(pair.first.release())
    pair.after(SECONDS * 2)
    asyncio.run(both())
    assert [pair.first.held, pair.second.held].count(True) == 1


def test_an_operator_whose_lease_was_deleted_by_hand_has_lost_it(pair: Pair) -> None:
    """Another operator may have held a Lease since somebody deleted it."""
    take(pair.first)
    pair.cluster.remove(LEASES, "operator")
    with pytest.raises(Deposed):
        take(pair.first)
    assert not writes(pair, pair.first)


def test_the_term_of_a_lease_begins_before_the_request_that_renews_it(pair: Pair) -> None:
    """The answer may come late. Other operators count the term from the write, which they saw before."""
    take(pair.first)
    get = pair.cluster.get

    async def slow(*arguments: Any, **options: Any) -> Any:
        found = await get(*arguments, **options)
        pair.after(SECONDS)
        return found

    pair.cluster.get = slow  # type: ignore[method-assign]
    assert take(pair.first) == ""
    assert not writes(pair, pair.first)
