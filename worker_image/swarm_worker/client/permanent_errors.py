"""Ends a run at once for errors that another attempt would meet again.

Until a model has answered in the run, three errors end the run: the model cannot be reached, its provider does not know
it, or the provider refuses all requests to it. Afterwards, such errors count as in stock DSPy, or lead to another
attempt, because a provider may restart during a long run. A missing package always ends the run, and so does a missing
or refused Google identity.

For each address that has answered, the journal has a CALL record with only a key.
"""

import errno
import hashlib
import importlib.util
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from dspy.utils.exceptions import ContextWindowExceededError, LMInvalidRequestError, LMUnsupportedModelError

from swarm_wire.messages import CallMade
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.words import sentence
from swarm_worker.client.advice import said
from swarm_worker.client.call import Request, Send
from swarm_worker.client.flow import Flow, pause
from swarm_worker.client.installed import client
from swarm_worker.errors import BadInput, ProviderFailed, SwarmError, causes

PAUSES: Sequence[float] = (1.0, 2.0)
"""Seconds between the first attempts to reach a provider, because a pod may start before its network works."""
NOT_FOUND = 404
_GOOGLE = "google.auth.exceptions"
_UNREACHED = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)

Address = tuple[str, str | None]
"""A model's name, and its endpoint, if one is given."""


class RequestRefused(SwarmError):
    """The provider refused a cell's requests, and their address has not answered in the run yet.

    If the address never answers, the model's parameters are wrong. If it answers other requests, the cell has a result,
    as in stock DSPy.

    Args:
        address: the requests' address.
        record: the cell's result.

    Attributes:
        task: digest of the cell's task; set by the code that runs it.
    """

    task = ""

    exit_code = ExitCode.BAD_INPUT
    reason = WorkerReason.REQUEST_REFUSED

    def __init__(self, address: Address, error: BaseException, record: Record) -> None:
        super().__init__(
            f"the provider refuses every request to model {address[0]!r}: {sentence(said(error))} Correct "
            "models.*.parameters, models.*.model or models.*.endpoint."
        )
        self.address, self.record = address, record


class Refusals:
    """Tracks which addresses have answered this process.

    Attributes:
        knows: says whether an address, given by its key, had answered before this process began.
        tell: prints a record.
        is_tuned: says whether a model at an endpoint was fine-tuned. Such a model was there when it was found, so it is
            a fault of its server if it is gone.
        revive: has the server load such a model again. Returns whether it has.
    """

    def __init__(
        self, knows: Callable[[str], bool], tell: Callable[[Record], None], pauses: Sequence[float] = PAUSES
    ) -> None:
        self.knows, self.tell = knows, tell
        self.is_tuned: Callable[[str, str | None], bool] = lambda model, endpoint: False
        self.revive: Callable[[str], bool] = lambda model: False
        self._answered: set[Address] = set()
        self._given_up: set[Address] = set()
        self._pauses, self._lock = pauses, threading.Lock()

    def around(self, request: Request, send: Send) -> Flow[None]:
        """Sends a request. Raises BadInput for a permanent error."""
        pauses = iter(self._pauses)
        while True:
            try:
                self._note(request, (yield send).calls)
                return
            except Exception as error:
                if (seconds := self._pause_after(request, error, pauses)) is None:
                    raise
                yield pause(seconds)

    def has_answered(self, address: Address) -> bool:
        """Whether the address has answered in the run."""
        return address in self._answered or self.knows(key_of(address))

    def doubted(self, failed: Iterable[tuple[Address, Exception]]) -> tuple[Address, BaseException] | None:
        """Returns the first refused call whose address has not answered yet.

        Such an address may refuse all requests.
        """
        for address, error in failed:
            if not self.has_answered(address):
                for cause in causes(error):
                    if _is_refused(cause):
                        return address, cause
        return None

    def _note(self, request: Request, calls: int) -> None:
        address = _address(request)
        with self._lock:
            if not calls or self.has_answered(address):
                return
            self._answered.add(address)
        self.tell(Record(RecordKind.CALL, CallMade(key=key_of(address)).to_header()))

    def _pause_after(self, request: Request, error: Exception, pauses: Iterator[float]) -> float | None:
        """Returns the seconds until the next attempt; None if there is no further attempt.

        Raises BadInput for a permanent error.
        """
        address = _address(request)
        if unreached(error) is not None and address not in self._given_up and not self.has_answered(address):
            seconds = next(pauses, None)
            if seconds is not None:
                return seconds
        if (unknown := _unknown_model(error)) is not None and self.is_tuned(*address):
            if (seconds := next(pauses, None)) is not None and self.revive(request.lm.model):
                return seconds
            where = request.endpoint or "the provider"
            raise ProviderFailed(
                f"{where} no longer has the tuned model {request.lm.model!r}: {sentence(said(unknown))} Have it served "
                "again."
            ) from error
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
        if self.has_answered(_address(request)):
            return
        where = request.endpoint or "the provider's own address"
        if (why := unreached(error)) is not None:
            self._given_up.add(_address(request))
            raise BadInput(
                WorkerReason.PROVIDER_UNREACHABLE,
                f"{where} cannot be reached for model {request.lm.model!r}: {sentence(str(why))} Correct "
                "models.*.endpoint, or start what listens there; then run again.",
            ) from error
        if (unknown_model := _unknown_model(error)) is not None:
            raise BadInput(
                WorkerReason.REQUEST_REFUSED,
                f"{where} does not know model {request.lm.model!r}, or the path: {sentence(said(unknown_model))} "
                "Correct models.*.model; or models.*.endpoint, which often ends in /v1.",
            ) from error


def _unknown_model(error: BaseException) -> BaseException | None:
    """Returns the cause if the provider does not know the model, or the path; else None."""
    for cause in causes(error):
        if isinstance(cause, LMUnsupportedModelError) or getattr(cause, "status", None) == NOT_FOUND:
            return cause
    return None


def unreached(error: BaseException) -> OSError | None:
    """Returns the cause if a request did not reach its host (unknown host, refused connection); else None."""
    for cause in causes(error):
        if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno in _UNREACHED):
            return cause
    return None


def unidentified(error: BaseException) -> Exception | None:
    """Returns the error of Google's client if an identity is missing or refused; else None.

    LiteLLM reports this error as a network failure, after which the request would be tried again.
    """
    found = [cause for cause in causes(error) if type(cause).__module__ == _GOOGLE]
    if any(type(cause).__name__ == "TransportError" or getattr(cause, "retryable", False) for cause in found):
        return None
    return next((cause for cause in found if isinstance(cause, Exception)), None)


_PACKAGES: Final = {"bedrock": "boto3", "sagemaker": "boto3", "vertex_ai": "google.auth"}
"""Packages by provider. LiteLLM imports such a package at the first request, but does not install it."""


def check_packages(lms: Iterable[Any]) -> None:
    """Raises BadInput if an LM needs a package that is missing. This check does not import LiteLLM."""
    for lm in lms:
        package = _PACKAGES.get(lm.model.partition("/")[0])
        if package is not None and client().needs_litellm(lm) and _is_missing(package):
            raise _lacks(f"{lm.model} takes {package}")


def missing_package(error: BaseException) -> BadInput | None:
    """Returns the error to raise if the cause is a missing package; else None.

    The package is LiteLLM, or one that LiteLLM needs for a provider.
    """
    for cause in causes(error):
        if not isinstance(cause, ImportError):
            continue
        name = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
        if (name and _is_missing(name)) or "pip install" in str(cause):
            return _lacks(str(cause))
    return None


def _lacks(what: str) -> BadInput:
    return BadInput(
        WorkerReason.PACKAGE_MISSING,
        f"a package that the model's client needs is not installed: {sentence(what)} Install it here, or "
        "in an image of your own that spec.image names.",
    )


def _is_missing(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except ModuleNotFoundError:  # a parent package is missing
        return True
    except (ImportError, ValueError):
        return False


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, LMInvalidRequestError | LMUnsupportedModelError) and not isinstance(
        error, ContextWindowExceededError
    )


def _address(request: Request) -> Address:
    return request.lm.model, request.endpoint


def key_of(address: Address) -> str:
    """Returns the key of the CALL record which says that the address has answered: 32 hex digits."""
    return hashlib.blake2b(json.dumps(["answered", *address]).encode(), digest_size=16).hexdigest()


def install() -> Refusals:
    """Tracks the requests of this process. Call it before other interceptions, so that they see its errors."""
    _process.refusals = refusals = Refusals(lambda key: False, lambda record: None)
    client().intercept_requests(refusals.around)
    return refusals


def here() -> Refusals:
    """Returns the tracker of this process."""
    return _process.refusals


class _Process:
    refusals = Refusals(lambda key: True, lambda record: None)


_process = _Process()
