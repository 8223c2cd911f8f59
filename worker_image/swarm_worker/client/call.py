"""An LM call, and the interface of an LM client, independent of DSPy's version."""

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
"""OpenAI's code for an exhausted account. DSPy 3.3 takes it for a rate limit, because both have the same status."""
_REFUSALS = LMAuthError, LMBillingError, LMInvalidRequestError, LMRateLimitError, LMServerError
ENDPOINT = ("api_base", "base_url")
ADDRESS = ("api_key", *ENDPOINT)
"""Parameters with a request's address and sender, which are not part of its content."""


@dataclass(frozen=True)
class LMCall:
    """An LM call that is about to be made. Can be pickled.

    Attributes:
        content: the model, the messages, and every parameter except the address.
        endpoint: the endpoint, if one is given.
        count: number of completions.
        cached: whether DSPy's cache may answer it. Equal calls may then share an answer.
        native: the call in the form of the installed client.
    """

    content: dict[str, Any]
    endpoint: str | None
    count: int
    cached: bool
    native: Any


@dataclass(frozen=True)
class ToolCall:
    """A tool call in an answer, by the provider's own function calling."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Completion:
    """One completion of an answer; `tokens` counts its text and its tool calls."""

    text: str
    tokens: int
    tool_calls: Sequence[ToolCall] = ()


def endpoint(parameters: Mapping[str, Any]) -> str | None:
    """The endpoint in a call's parameters."""
    return next((parameters[name] for name in ENDPOINT if parameters.get(name)), None)


Make = Step[Any]
"""Makes an LM call as stock DSPy does. Its result is the client's answer, which can be journaled."""
Around = Callable[[Any, LMCall, Make], Flow[Any]]
"""(LM, call, make) -> answer."""


@dataclass(frozen=True)
class Request:
    """One request to a provider. An LM call sends one for each completion, and another after each failure.

    Attributes:
        endpoint: the endpoint, if one is given.
        count: number of completions.
        call: returns the LM call of the request.
    """

    lm: Any
    endpoint: str | None
    count: int
    call: Callable[[], LMCall]


class TooManyRequests(Exception):
    """The provider objects to the number of requests, or of tokens.

    Attributes:
        error: the client's exception.
        retry_after: seconds that the provider asks us to wait, if any.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
        hint = getattr(error, "retry_after", None)
        self.retry_after = float(hint) if isinstance(hint, int | float) and 0 <= hint < inf else None


def is_refusal(error: Exception, raised: Exception) -> bool:
    """See Client.

    Args:
        error: DSPy's exception.
        raised: the exception from which DSPy made it.
    """
    if isinstance(error, LMServerError) and is_made_up(raised):
        return False
    status = getattr(error, "status", None)
    if isinstance(status, int) and isinstance(error, LMProviderError):
        return status >= HTTP_ERROR and not isinstance(error, LMTimeoutError)
    return isinstance(error, _REFUSALS)


def is_made_up(error: Exception) -> bool:
    """Whether LiteLLM made up a status 500: it does so for a lost connection, and for an unreadable answer."""
    found = [*causes(error)]
    if not any(type(cause).__module__.startswith("litellm.") for cause in found):
        return False
    from httpx import HTTPStatusError, TransportError  # LiteLLM has imported httpx; at the top it would slow the start

    # Both errors are there if LiteLLM itself has sent the request again.
    was_cut = any(isinstance(cause, TransportError) for cause in found)
    return was_cut or not any(isinstance(cause, HTTPStatusError) for cause in found)


@contextmanager
def objections(*errors: type[Exception]) -> Iterator[None]:
    """Within the block, turns these errors into TooManyRequests, or LMBillingError if waiting does not help."""
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
    """Within the block, turns TooManyRequests back into the client's exception."""
    try:
        yield
    except TooManyRequests as objection:
        raise objection.error from None


Send = Step[Usage]
"""Sends a request; its result is the usage. Raises TooManyRequests, or the client's exception."""
RequestAround = Callable[[Request, Send], Flow[None]]


class Client(Protocol):
    """A version of DSPy's LM client: a module with these functions."""

    def intercept(self, around: Around) -> Callable[[], None]:
        """Passes every LM call of this process through `around`; the latest interception is the outermost.

        Returns a function that removes the interception.
        """

    def intercept_requests(self, around: RequestAround) -> Callable[[], None]:
        """Passes every request of this process through `around`; the latest interception is the outermost. A call of a
        user's class that sends requests itself counts as one request.

        `around` sends the request, once or several times. The client raises its exceptions as its own. Returns a
        function that removes the interception.
        """

    def is_refusal(self, error: Exception) -> bool:
        """Whether the provider refused a request. After any other error, it may have answered the request."""

    def needs_litellm(self, lm: Any) -> bool:
        """Whether the LM's parameters show that LiteLLM makes its calls. A call's content may require it, too."""

    def maker(self) -> Callable[[Any, LMCall], Make]:
        """The present way of making LM calls, without later interceptions."""

    def others(self) -> Sequence[Any]:
        """Client classes whose calls are not intercepted."""

    def note(self, messages: list[dict[str, Any]], name: str, value: Any) -> None:
        """Adds a value to the first message that an adapter made; the call's content has it, too."""

    def usage(self, answer: Any) -> Usage:
        """The usage of an LM call; none if DSPy's own cache answered."""

    def answer(self, lm: Any, completions: Sequence[Completion], prompt_tokens: int) -> Any:
        """The client's answer with these completions, to a request of so many prompt tokens."""
