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
"""OpenAI's code for an exhausted account. DSPy 3.3 mistakes it for a rate limit, which has the same HTTP status."""
_REFUSALS = LMAuthError, LMBillingError, LMInvalidRequestError, LMRateLimitError, LMServerError
ENDPOINT = ("api_base", "base_url")
ADDRESS = ("api_key", *ENDPOINT)
"""Parameters that say where a request goes and who sends it. They are no part of the request's content."""


@dataclass(frozen=True)
class LMCall:
    """An LM call that is about to be made. It can be pickled.

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
    """A tool call in an answer that uses the provider's own function calling."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Completion:
    """One completion of an answer; `tokens` counts its text and its tool calls."""

    text: str
    tokens: int
    tool_calls: Sequence[ToolCall] = ()


def endpoint(parameters: Mapping[str, Any]) -> str | None:
    """Returns the endpoint in a call's parameters; None if they name none."""
    return next((parameters[name] for name in ENDPOINT if parameters.get(name)), None)


Make = Step[Any]
"""A step that makes an LM call as stock DSPy does. Its result is the client's answer, which can be journaled."""
Around = Callable[[Any, LMCall, Make], Flow[Any]]
"""Takes an LM, a call, and the step that makes the call. Returns a flow that gives the answer."""


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
    """Implements `Client.is_refusal`.

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
    from httpx import HTTPStatusError, TransportError  # an import at the top would slow every start

    # If LiteLLM itself has sent the request again, both kinds of errors may be among the causes.
    was_cut = any(isinstance(cause, TransportError) for cause in found)
    return was_cut or not any(isinstance(cause, HTTPStatusError) for cause in found)


@contextmanager
def objections(*errors: type[Exception]) -> Iterator[None]:
    """Within the block, turns these errors into TooManyRequests, or into LMBillingError if the account is exhausted."""
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
"""A step that sends a request. Its result is the usage. It raises TooManyRequests, or the client's exception."""
RequestAround = Callable[[Request, Send], Flow[None]]


class Client(Protocol):
    """One version of DSPy's LM client. It is a module with these functions."""

    def intercept(self, around: Around) -> Callable[[], None]:
        """Passes every LM call of this process through `around`; the latest interception is the outermost.

        Returns a function that removes the interception.
        """

    def intercept_requests(self, around: RequestAround) -> Callable[[], None]:
        """Passes every request of this process through `around`; the latest interception is the outermost.

        `around` sends the request, once or several times. DSPy's client raises exceptions of `around` as its own. If a
        user's class sends requests itself, each call of it counts as one request. Returns a function that removes the
        interception.
        """

    def is_refusal(self, error: Exception) -> bool:
        """Whether the provider refused a request. After any other error, it may have answered the request."""

    def needs_litellm(self, lm: Any) -> bool:
        """Whether the LM's parameters show that LiteLLM makes its calls. A call's content may need LiteLLM, too."""

    def maker(self) -> Callable[[Any, LMCall], Make]:
        """Returns the function that makes LM calls now. Later interceptions do not change it."""

    def others(self) -> Sequence[Any]:
        """Returns the client classes whose calls are not intercepted."""

    def note(self, messages: list[dict[str, Any]], name: str, value: Any) -> None:
        """Adds a value to the first message that an adapter made.

        The content of the LM call then has this value, too.
        """

    def usage(self, answer: Any) -> Usage:
        """Returns the usage of an LM call. It is zero if DSPy's own cache answered."""

    def answer(self, lm: Any, completions: Sequence[Completion], prompt_tokens: int) -> Any:
        """Makes an answer of the client with these completions. Its request has `prompt_tokens` tokens."""
