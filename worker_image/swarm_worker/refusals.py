"""What ends a run at once, because another attempt would come to the same: a provider that cannot be reached, does not
know the model, or refuses all requests, as long as nothing in the run was answered; a package that is not installed; an
identity that Google does not know.

Later, all but the last two are as in stock DSPy, or tried again: a provider that restarts ends no long run.
"""

import asyncio
import errno
import importlib.util
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from dspy.utils.exceptions import ContextWindowExceededError, LMInvalidRequestError, LMUnsupportedModelError

from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.records import Record
from swarm_wire.words import sentence
from swarm_worker.advice import said
from swarm_worker.client.call import AsyncSend, Request, Send
from swarm_worker.client.installed import client
from swarm_worker.errors import BadInput, SwarmError, causes

PAUSES: Sequence[float] = (1.0, 2.0)
"""Seconds between attempts to reach a provider for the first time: pods may start before their network does."""
NOT_FOUND = 404
_GOOGLE = "google.auth.exceptions"
_UNREACHED = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)

Address = tuple[str, str | None]
"""Of a model: its name, and where it is asked, if that was said."""


class RequestRefused(SwarmError):
    """A cell whose requests were refused, when nothing in the run had been answered yet. It is an error of the model's
    parameters where that stays so; otherwise a result, as in stock.

    Args:
        record: the cell's result.

    Attributes:
        task: digest of its task; set by whoever runs it.
    """

    task = ""

    exit_code = ExitCode.BAD_INPUT
    reason = WorkerReason.REQUEST_REFUSED

    def __init__(self, error: BaseException, record: Record) -> None:
        super().__init__(
            f"the provider refuses every request: {sentence(said(error))} Correct models.*.parameters, models.*.model "
            "or models.*.endpoint."
        )
        self.record = record


class Refusals:
    """What the providers of this process have answered.

    Attributes:
        has_begun: whether anything in the run was answered before this process began.
    """

    def __init__(self, has_begun: bool, pauses: Sequence[float] = PAUSES) -> None:
        self.has_begun = has_begun
        self._answered: set[Address] = set()
        self._given_up: set[Address] = set()
        self._pauses, self._lock = pauses, threading.Lock()

    def around(self, request: Request, send: Send) -> None:
        """Sends a request. Raises BadInput."""
        pauses = iter(self._pauses)
        while True:
            try:
                self._note(request, send().calls)
                return
            except Exception as error:
                if (pause := self._pause_after(request, error, pauses)) is None:
                    raise
                time.sleep(pause)

    async def async_around(self, request: Request, send: AsyncSend) -> None:
        """As `around`."""
        pauses = iter(self._pauses)
        while True:
            try:
                self._note(request, (await send()).calls)
                return
            except Exception as error:
                if (pause := self._pause_after(request, error, pauses)) is None:
                    raise
                await asyncio.sleep(pause)

    @property
    def has_answers(self) -> bool:
        """Whether anything in the run was answered."""
        return self.has_begun or bool(self._answered)

    def doubted(self, errors: Iterable[BaseException]) -> BaseException | None:
        """The refusal among what the LM calls of a cell raised, if it may be one of all requests."""
        if self.has_answers:
            return None
        return next((cause for error in errors for cause in causes(error) if _is_refused(cause)), None)

    def _note(self, request: Request, calls: int) -> None:
        if calls:
            with self._lock:
                self._answered.add(_address(request))

    def _is_first(self, request: Request) -> bool:
        return _address(request) not in self._answered and not self.has_begun

    def _pause_after(self, request: Request, error: Exception, pauses: Iterator[float]) -> float | None:
        """Seconds until it is tried again; None where it is not. Raises BadInput where that is of no use."""
        if self._is_first(request) and unreached(error) is not None and _address(request) not in self._given_up:
            pause = next(pauses, None)
            if pause is not None:
                return pause
        self._check(request, error)
        return None

    def _check(self, request: Request, error: Exception) -> None:
        if (missing := missing_package(error)) is not None:
            raise missing from error
        if (unknown := unidentified(error)) is not None:
            raise BadInput(
                WorkerReason.CREDENTIALS_REJECTED,
                f"Google does not know who asks for model {request.lm.model!r}: {sentence(str(unknown))} Give the pods "
                "a service account by spec.swarm.serviceAccountName, or its key in VERTEXAI_CREDENTIALS by spec.env.",
            ) from error
        if not self._is_first(request):
            return
        where = request.endpoint or "the provider's own address"
        if (why := unreached(error)) is not None:
            self._given_up.add(_address(request))
            raise BadInput(
                WorkerReason.PROVIDER_UNREACHABLE,
                f"{where} cannot be reached for model {request.lm.model!r}: {sentence(str(why))} Correct "
                "models.*.endpoint, or start what listens there; then run again.",
            ) from error
        for cause in causes(error):
            if isinstance(cause, LMUnsupportedModelError) or getattr(cause, "status", None) == NOT_FOUND:
                raise BadInput(
                    WorkerReason.REQUEST_REFUSED,
                    f"{where} does not know model {request.lm.model!r}, or the path: {sentence(said(cause))} Correct "
                    "models.*.model; or models.*.endpoint, which often ends in /v1.",
                ) from error


def unreached(error: BaseException) -> OSError | None:
    """Why nobody was asked, if that is what the exception tells of: an unknown host, a refused connection."""
    for cause in causes(error):
        if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno in _UNREACHED):
            return cause
    return None


def unidentified(error: BaseException) -> Exception | None:
    """What Google's client says where it has no identity, or one that Google refuses. LiteLLM takes it for a failure of
    the line, which would be tried again.
    """
    found = [cause for cause in causes(error) if type(cause).__module__ == _GOOGLE]
    if any(type(cause).__name__ == "TransportError" or getattr(cause, "retryable", False) for cause in found):
        return None
    return next((cause for cause in found if isinstance(cause, Exception)), None)


def missing_package(error: BaseException) -> BadInput | None:
    """Set where a package that DSPy's client needs is not installed: LiteLLM, or one that a provider of its wants."""
    for cause in causes(error):
        if not isinstance(cause, ImportError):
            continue
        name = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
        if (name and _is_missing(name)) or "pip install" in str(cause):
            return BadInput(
                WorkerReason.PACKAGE_MISSING,
                f"a package that the model's client needs is not installed: {sentence(str(cause))} Install it here, or "
                "in an image of your own that spec.image names.",
            )
    return None


def _is_missing(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except (ImportError, ValueError):
        return False


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, LMInvalidRequestError | LMUnsupportedModelError) and not isinstance(
        error, ContextWindowExceededError
    )


def _address(request: Request) -> Address:
    return request.lm.model, request.endpoint


def install() -> Refusals:
    """Watches the requests of this process. To be called before others intercept them: these hear what it raises."""
    _process.refusals = refusals = Refusals(has_begun=False)
    client().intercept_requests(refusals.around, refusals.async_around)
    return refusals


def here() -> Refusals:
    """Of this process."""
    return _process.refusals


class _Process:
    refusals = Refusals(has_begun=True)


_process = _Process()
