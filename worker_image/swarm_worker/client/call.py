"""One LM call, and what a client must do, in words of no version of DSPy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from dspy.utils.exceptions import (
    LMAuthError,
    LMBillingError,
    LMInvalidRequestError,
    LMProviderError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
)

from swarm_wire.spending import Usage
from swarm_worker.client.flow import Flow, Step
from swarm_worker.errors import causes

HTTP_ERROR = 400
NO_QUOTA = "insufficient_quota"
"""OpenAI's code for an exhausted account. Its status is that of too many requests, and DSPy 3.3 takes it for that."""
_REFUSALS = LMAuthError, LMBillingError, LMInvalidRequestError, LMRateLimitError, LMServerError
ENDPOINT = ("api_base", "base_url")
ADDRESS = ("api_key", *ENDPOINT)
"""Parameters that say where a request is sent and by whom, not what is asked."""


@dataclass(frozen=True)
class LMCall:
    """An LM call that is about to be made. Can be pickled.

    Attributes:
        content: what is asked: the model, the messages, every parameter; not the address.
        endpoint: where it is asked, if that was said.
        count: completions asked for.
        cached: whether DSPy's cache would answer it: equal calls may then have the same answer.
        native: what the installed client calls it with.
    """

    content: dict[str, Any]
    endpoint: str | None
    count: int
    cached: bool
    native: Any


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool, as providers' own function calling answers it."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Completion:
    """One completion of an answer; `tokens` of its text and its tool calls."""

    text: str
    tokens: int
    tool_calls: Sequence[ToolCall] = ()


def endpoint(parameters: Mapping[str, Any]) -> str | None:
    """Where the parameters of a call say that it goes."""
    return next((parameters[name] for name in ENDPOINT if parameters.get(name)), None)


Make = Step[Any]
"""Makes an LM call as stock DSPy does; it comes to the client's answer, which can be journaled."""
Around = Callable[[Any, LMCall, Make], Flow[Any]]
"""(LM, call, make) -> answer."""


@dataclass(frozen=True)
class Request:
    """One request to a provider: an LM call makes one for each completion, and others where one fails.

    Attributes:
        endpoint: where it goes, if that was said.
        count: completions that it asks for.
        call: what it is made for.
    """

    lm: Any
    endpoint: str | None
    count: int
    call: Callable[[], LMCall]


class TooManyRequests(Exception):
    """The provider objects to the number of requests, or of tokens.

    Attributes:
        error: what the client raised.
        retry_after: seconds that the provider wants us to wait, if it said so.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
        hint = getattr(error, "retry_after", None)
        self.retry_after = float(hint) if isinstance(hint, int | float) and 0 <= hint < inf else None


def is_refusal(error: Exception, raised: Exception) -> bool:
    """See Client.

    Args:
        error: one of DSPy's own, for what was raised.
    """
    if isinstance(error, LMServerError) and is_made_up(raised):
        return False
    status = getattr(error, "status", None)
    if isinstance(status, int) and isinstance(error, LMProviderError):
        return status >= HTTP_ERROR and not isinstance(error, LMTimeoutError)
    return isinstance(error, _REFUSALS)


def is_made_up(error: Exception) -> bool:
    """Whether no server said so: LiteLLM says 500 of a line that was cut, too, and of an answer that it cannot read."""
    found = [*causes(error)]
    if not any(type(cause).__module__.startswith("litellm.") for cause in found):
        return False
    from httpx import HTTPStatusError, TransportError  # imported by now: otherwise it would take a start's time

    # Both, where it sent the request a second time by itself.
    was_cut = any(isinstance(cause, TransportError) for cause in found)
    return was_cut or not any(isinstance(cause, HTTPStatusError) for cause in found)


@contextmanager
def objections(*errors: type[Exception]) -> Iterator[None]:
    """Within, these errors are raised as TooManyRequests; as LMBillingError where waiting is of no use."""
    try:
        yield
    except errors as error:
        if any(
            NO_QUOTA in (getattr(cause, "provider_code", None), getattr(cause, "code", None)) for cause in causes(error)
        ):
            raise LMBillingError(str(error)) from error
        raise TooManyRequests(error) from error


@contextmanager
def as_raised() -> Iterator[None]:
    """Within, an objection is what the client raised."""
    try:
        yield
    except TooManyRequests as objection:
        raise objection.error from None


Send = Step[Usage]
"""Sends a request; it comes to what that took. Raises TooManyRequests, or what the client raises."""
RequestAround = Callable[[Request, Send], Flow[None]]


class Client(Protocol):
    """A version of DSPy's LM client; a module that has these functions."""

    def intercept(self, around: Around) -> Callable[[], None]:
        """From now on every LM call of this process goes through it, the last that came being the outermost.

        Returns what takes it away again.
        """

    def intercept_requests(self, around: RequestAround) -> Callable[[], None]:
        """From now on every request that this process sends to a provider goes through it, the last that came being
        the outermost. A class of the user's own may send requests by itself: its call is one.

        It sends the request, once or several times, until it returns; what it raises is what the client raised.
        Returns what takes it away again.
        """

    def is_refusal(self, error: Exception) -> bool:
        """Whether the provider said no to a request: whatever else a client raises, it may have been answered."""

    def needs_litellm(self, lm: Any) -> bool:
        """Whether LiteLLM makes this LM's calls, as far as its parameters tell. What is asked may need it, too."""

    def maker(self) -> Callable[[Any, LMCall], Make]:
        """How LM calls are made now, whatever intercepts them later."""

    def others(self) -> Sequence[Any]:
        """Classes of clients whose calls do not come here."""

    def note(self, messages: list[dict[str, Any]], name: str, value: Any) -> None:
        """Adds to the first of the messages that an adapter made; it will be there in the call's content, too."""

    def usage(self, answer: Any) -> Usage:
        """What an LM call cost: nothing, if DSPy's own cache answered."""

    def answer(self, lm: Any, completions: Sequence[Completion], prompt_tokens: int) -> Any:
        """What the client would answer with these completions to a request of so many tokens."""
