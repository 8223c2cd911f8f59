"""A flow (a generator of steps) has the same results in a thread and in an event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from support.flows import awaiting
from swarm_worker.client.flow import Flow, Step, arun, pause, result_of, run
from swarm_worker.errors import causes

DRIVERS = pytest.mark.parametrize("drive", [run, lambda flow: asyncio.run(arun(flow))], ids=["thread", "loop"])
Drive = Callable[[Flow[Any]], Any]


def raising(error: BaseException) -> Step[Any]:
    def block() -> Any:
        raise error

    async def wait() -> Any:
        raise error

    return Step(block, wait)


def found(value: Any) -> Step[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return result_of(future)


@DRIVERS
def test_a_flow_continues_with_the_results_of_its_steps(drive: Drive) -> None:
    def flow() -> Flow[Any]:
        first = yield found(1)
        yield pause(0)
        return first, (yield Step.of(found(2).once)), (yield from found(3).once())

    assert drive(flow()) == (1, 2, 3)


@DRIVERS
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=repr)
def test_an_exception_of_a_step_is_raised_in_the_flow_and_by_the_flow(drive: Drive, error: BaseException) -> None:
    seen: list[Any] = []

    def flow(swallows: bool) -> Flow[Any]:
        try:
            yield raising(error)
        except type(error) as raised:
            seen.append(raised)
            if not swallows:
                raise
        return "went on"

    assert drive(flow(True)) == "went on"
    with pytest.raises(type(error)) as raised:
        drive(flow(False))
    assert raised.value is error
    assert seen == [error, error]


def test_a_stop_iteration_that_a_client_raises_is_raised_unchanged() -> None:
    """A client with a list of answers may raise StopIteration. Python turns it into RuntimeError in a generator."""
    error = StopIteration("no more answers")

    def inner() -> Flow[Any]:
        return (yield raising(error))

    def outer() -> Flow[Any]:
        return (yield Step.of(inner)), (yield from inner())

    for flow in (inner, outer, lambda: (yield from inner())):
        with pytest.raises(StopIteration) as raised:
            run(flow())
        assert raised.value is error
        assert [*causes(error)] == [error]


@DRIVERS
def test_an_exception_that_a_stop_iteration_caused_stays_unchanged(drive: Drive) -> None:
    error = RuntimeError("generator raised StopIteration")
    error.__cause__ = StopIteration()
    with pytest.raises(RuntimeError) as raised:
        drive(raising(error).once())
    assert raised.value is error


def test_a_cancelled_coroutine_ends_its_flow() -> None:
    ended: list[str] = []

    def flow() -> Flow[None]:
        try:
            yield awaiting(lambda: asyncio.sleep(60))
        finally:
            ended.append("ended")

    async def cancelled() -> None:
        task = asyncio.create_task(arun(flow()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert ended == ["ended"]
