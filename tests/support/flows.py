"""Makes steps and flows (generators of steps) for tests."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from swarm_worker.client.call import Around, LMCall, Make
from swarm_worker.client.flow import Flow, Step, run

T = TypeVar("T")


def blocking(block: Callable[[], T]) -> Step[T]:
    """Returns a step that runs only in a thread."""
    return Step(block, _never)


def awaiting(wait: Callable[[], Awaitable[T]]) -> Step[T]:
    """Returns a step that runs only in an event loop."""
    return Step(_never, wait)


def _never() -> NoReturn:
    raise AssertionError("a thread runs the step of an event loop, or the reverse")


def answering(answer: Any) -> Around:
    """Returns an interceptor that answers LM calls without making them."""

    def around(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        yield from ()  # makes the function a generator
        return answer

    return around


def around(flow: Callable[..., Flow[Any]], *given: Any, block: Callable[[], Any]) -> Any:
    """Runs a flow around a call or a request, in this thread.

    Args:
        block: the function that makes the call.
    """
    return run(flow(*given, blocking(block)))
