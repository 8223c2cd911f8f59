"""Two operators and one Lease: never do both write, and the next one need not wait for one that ended well."""

import asyncio
from typing import Any

import pytest

from support.fake_cluster import NAMESPACE, FakeCluster
from swarm_operator.cluster import errors
from swarm_operator.cluster.lease import LEASES, SECONDS, Deposed, Fenced, Lease
from swarm_operator.cluster.resources import CONFIG_MAPS


class Seconds:
    """Of a machine's own clock."""

    def __init__(self, start: float) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now


class Pair:
    """Two operators, each with seconds of its own."""

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
    """Whether an operator with this Lease may write."""
    name = f"written-{len(pair.cluster.objects)}"
    body = {"metadata": {"name": name}}
    try:
        asyncio.run(Fenced(pair.cluster, lease).create(CONFIG_MAPS, NAMESPACE, body))
    except errors.Unavailable:
        return False
    return True


def take(lease: Lease) -> str:
    return asyncio.run(lease.take())


def test_the_first_one_has_it(pair: Pair) -> None:
    assert not writes(pair, pair.first)
    assert take(pair.first) == ""
    assert take(pair.second) == "first"
    assert (writes(pair, pair.first), writes(pair, pair.second)) == (True, False)


def test_it_is_kept_by_renewing(pair: Pair) -> None:
    for _ in range(20):
        assert (take(pair.first), take(pair.second)) == ("", "first")
        pair.after(SECONDS - 1)
        assert (writes(pair, pair.first), writes(pair, pair.second)) == (True, False)


def test_one_that_ends_well_leaves_it_to_the_next(pair: Pair) -> None:
    take(pair.first)
    take(pair.second)
    asyncio.run(pair.first.release())
    assert take(pair.second) == ""
    assert (writes(pair, pair.first), writes(pair, pair.second)) == (False, True)


def test_one_that_died_is_waited_for(pair: Pair) -> None:
    take(pair.first)
    assert take(pair.second) == "first"
    pair.after(SECONDS - 1)
    assert take(pair.second) == "first"
    pair.after(2)
    assert (writes(pair, pair.first), writes(pair, pair.second)) == (False, False)
    assert take(pair.second) == ""
    assert writes(pair, pair.second)


def test_one_that_was_thought_dead_writes_nothing_and_ends(pair: Pair) -> None:
    take(pair.first)
    take(pair.second)
    pair.after(SECONDS + 1)
    assert take(pair.second) == ""
    assert not writes(pair, pair.first)
    with pytest.raises(Deposed):
        take(pair.first)


def test_it_ends_too_where_the_other_one_has_gone_again(pair: Pair) -> None:
    """What it knows is old all the same."""
    take(pair.first)
    take(pair.second)
    pair.after(SECONDS + 1)
    take(pair.second)
    asyncio.run(pair.second.release())
    with pytest.raises(Deposed):
        take(pair.first)


def test_one_that_nobody_took_it_from_goes_on(pair: Pair) -> None:
    """The API server was away."""
    take(pair.first)
    pair.after(SECONDS * 10)
    assert not writes(pair, pair.first)
    assert take(pair.first) == ""
    assert writes(pair, pair.first)


def test_a_container_that_is_started_again_goes_on_at_once(pair: Pair) -> None:
    take(pair.first)
    assert take(pair.operator("first", Seconds(7.0))) == ""


def test_of_two_that_want_it_at_once_one_gets_it(pair: Pair) -> None:
    """Both have seen that it is free before either writes."""
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


def test_a_lease_that_is_deleted_by_hand_is_lost(pair: Pair) -> None:
    """Somebody else may have had it in between."""
    take(pair.first)
    pair.cluster.remove(LEASES, "operator")
    with pytest.raises(Deposed):
        take(pair.first)
    assert not writes(pair, pair.first)


def test_time_counts_from_before_the_request(pair: Pair) -> None:
    """An answer that comes late may tell of a write that others saw long ago."""
    take(pair.first)
    get = pair.cluster.get

    async def slow(*arguments: Any, **options: Any) -> Any:
        found = await get(*arguments, **options)
        pair.after(SECONDS)
        return found

    pair.cluster.get = slow  # type: ignore[method-assign]
    assert take(pair.first) == ""
    assert not writes(pair, pair.first)
