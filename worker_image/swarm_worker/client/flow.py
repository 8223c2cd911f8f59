"""Flows: code that waits, written once for threads and for coroutines.

A flow is a generator. It yields a Step for each operation that takes time, and goes on with the step's result or
exception. `run` runs the steps in the calling thread; `arun` awaits them, so that other coroutines go on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Step(Generic[T]):
    """An operation that takes time.

    Attributes:
        block: runs it in a thread.
        wait: runs it in an event loop.
    """

    block: Callable[[], T]
    wait: Callable[[], Awaitable[T]]

    @classmethod
    def of(cls, flow: "Callable[[], Flow[T]]") -> "Step[T]":
        """Returns a step that runs a flow."""
        return cls(lambda: run(flow()), lambda: arun(flow()))

    def once(self) -> "Flow[T]":
        """Returns a flow of only this step."""
        came: T = yield self
        return came


Flow = Generator[Step[Any], Any, T]


def pause(seconds: float) -> Step[None]:
    return Step(lambda: time.sleep(seconds), lambda: asyncio.sleep(seconds))


def result_of(future: Future[T]) -> Step[T]:
    return Step(future.result, lambda: asyncio.wrap_future(future))


def run(flow: Flow[T]) -> T:
    """Runs a flow in this thread. Returns or raises as the flow does."""
    came, raised = None, None
    try:
        while not isinstance(step := _next(flow, came, raised), _Returned):
            came, raised = None, None
            try:
                came = step.block()
            except BaseException as error:
                raised = error
        return step.value
    finally:
        raised = None  # this breaks a reference cycle, because the exception's traceback has this frame


async def arun(flow: Flow[T]) -> T:
    """Runs a flow in an event loop. Returns or raises as the flow does."""
    came, raised = None, None
    try:
        while not isinstance(step := _next(flow, came, raised), _Returned):
            came, raised = None, None
            try:
                came = await step.wait()
            except BaseException as error:
                raised = error
        return step.value
    finally:
        raised = None


@dataclass(frozen=True)
class _Returned(Generic[T]):
    value: T


def _next(flow: Flow[T], came: Any, raised: BaseException | None) -> Step[Any] | _Returned[T]:
    try:
        return flow.send(came) if raised is None else flow.throw(raised)
    except StopIteration as end:
        return _Returned(end.value)
    except RuntimeError as error:
        if error is raised or not isinstance(error.__cause__, StopIteration):
            raise
        stopped = error.__cause__
    # A generator turns a client's StopIteration into a RuntimeError, so this raises the original again.
    raise stopped
