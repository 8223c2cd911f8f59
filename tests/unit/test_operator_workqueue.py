"""The queue runs one pass at a time for each key, merges many events, and repeats failed passes with growing delays."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from swarm_operator.cluster import errors
from swarm_operator.runtime.workqueue import Schedule

PAUSE = 0.01


@contextlib.asynccontextmanager
async def running(work: Callable[[str], Awaitable[float | None]], **options: int) -> AsyncIterator[Schedule[str]]:
    schedule = Schedule(work, pause=PAUSE, **options)
    task = asyncio.create_task(schedule.run())
    try:
        yield schedule
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_many_events_for_one_object_cause_few_passes() -> None:
    passes = 0

    async def work(key: str) -> float | None:
        nonlocal passes
        passes += 1
        await asyncio.sleep(PAUSE)
        return None

    async with running(work) as schedule:
        for _ in range(100):
            schedule.wake("a")
            await asyncio.sleep(0)
        await asyncio.sleep(10 * PAUSE)
    assert 1 <= passes <= 3


async def test_passes_for_one_object_run_in_turn_and_passes_for_different_objects_at_the_same_time() -> None:
    inside: set[str] = set()
    most = 0

    async def work(key: str) -> float | None:
        nonlocal most
        assert key not in inside
        inside.add(key)
        most = max(most, len(inside))
        await asyncio.sleep(2 * PAUSE)
        inside.discard(key)
        return 0

    async with running(work, concurrency=2) as schedule:
        for key in "abc":
            schedule.wake(key)
        await asyncio.sleep(20 * PAUSE)
    assert most == 2


async def test_an_event_during_a_pass_causes_another_pass() -> None:
    passes = 0

    async def work(key: str) -> float | None:
        nonlocal passes
        passes += 1
        if passes == 1:
            schedule.wake("a")
        return None

    async with running(work) as schedule:
        schedule.wake("a")
        await asyncio.sleep(10 * PAUSE)
    assert passes == 2


async def test_a_pass_may_schedule_the_next_pass() -> None:
    moments: list[float] = []

    async def work(key: str) -> float | None:
        moments.append(asyncio.get_running_loop().time())
        return 0.05 if len(moments) == 1 else None

    async with running(work) as schedule:
        schedule.wake("a")
        await asyncio.sleep(0.15)
    assert len(moments) == 2
    assert moments[1] - moments[0] >= 0.05


@pytest.mark.parametrize("error", [errors.Unavailable("503"), errors.Conflict("409"), ValueError("ours")])
async def test_a_failed_pass_is_repeated_after_a_delay_even_if_events_come(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm_operator.runtime.workqueue.FIRST_DELAY", 0.1)
    moments: list[float] = []

    async def work(key: str) -> float | None:
        moments.append(asyncio.get_running_loop().time())
        if len(moments) < 3:
            raise error
        return None

    async with running(work) as schedule:
        schedule.wake("a")
        for _ in range(50):
            schedule.wake("a")
            await asyncio.sleep(0.01)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert len(moments) >= 3
    assert gaps[0] >= 0.09
    assert gaps[1] >= 0.19


@pytest.mark.parametrize(
    ("places", "gaps"), [("aaa", [0.1, 0.2, 0.4]), ("aba", [0.1, 0.1, 0.1]), ("aab", [0.1, 0.2, 0.1])]
)
async def test_delays_do_not_grow_while_failed_passes_make_progress(
    places: str, gaps: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the API server does each write but never answers, each pass fails at the next write."""
    monkeypatch.setattr("swarm_operator.runtime.workqueue.FIRST_DELAY", 0.1)
    left = list(places)
    done = asyncio.Event()

    async def work(key: str) -> float | None:
        if left:
            error = errors.Unavailable("no answer")
            error.add_note(left.pop(0))
            raise error
        done.set()
        return None

    async with running(work) as schedule:
        schedule.wake("a")
        await asyncio.wait_for(done.wait(), 30)
    assert [record.getMessage().partition("tried again in ")[2] for record in caplog.records] == [
        f"{gap:g} s" for gap in gaps
    ]
