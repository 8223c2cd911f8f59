"""Steps and flows of tests."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from swarm_worker.client.call import Around, LMCall, Make
from swarm_worker.client.flow import Flow, Step, run

T = TypeVar("T")


def blocking(block: Callable[[], T]) -> Step[T]:
    """A step of a thread."""
    return Step(block, _never)


def awaiting(wait: Callable[[], Awaitable[T]]) -> Step[T]:
    """A step of an event loop."""
    return Step(_never, wait)


def _never() -> NoReturn:
    raise AssertionError("a thread runs the step of an event loop, or the reverse")


def answering(answer: Any) -> Around:
    """Answers LM calls without making them."""

    def around(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        yield from ()  # takes no time
        return answer

    return around


def around(flow: Callable[..., Flow[Any]], *given: Any, block: Callable[[], Any]) -> Any:
    """Runs a flow around a call or a request, in this thread.

    Args:
        block: makes the call.
    """
    return run(flow(*given, blocking(block)))
