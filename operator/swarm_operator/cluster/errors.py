"""Errors of the API server. Each class stands for one reaction of the operator.

ApiError
├── Conflict      somebody else has written the object since it was read: the operator reads it again at once
├── Forbidden     a quota, a webhook or missing rights: the operator shows it to the user and tries again later
├── Unavailable   the API server is busy, away or slow: the operator tries again later
├── Rejected      the API server will never accept this object: the operator ends the run
├── NameTaken     somebody else's object has that name: the operator tries again later, and never overwrites the object
├── Exists        an object has that name: `apply` finds out whose object it is
└── Vanished      the object of the request is gone: the operator has nothing left to do
    └── Terminating   the namespace is being deleted: the operator removes its finalizers, so that they delay nothing
"""


class ApiError(Exception):
    """A request to the API server failed. The text is the API server's message."""


class Conflict(ApiError):
    """HTTP status 409: somebody has changed the object since it was read, or another field manager owns a field."""


class Forbidden(ApiError):
    """The API server forbids the request: HTTP status 401 or 403."""


class Unavailable(ApiError):
    """The API server cannot serve the request: HTTP status 429 or 5xx, no connection, or no answer in time.

    Attributes:
        retry_after: seconds that the server asks the operator to wait; None if it asks for nothing.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(ApiError):
    """The API server never accepts this request: HTTP status 400, 413, 422, or 500 because the request is too large."""


class NameTaken(ApiError):
    """HTTP status 409 AlreadyExists, and the existing object belongs to somebody else."""


class Exists(ApiError):
    """HTTP status 409 AlreadyExists. The class `Applier` then finds out whose object it is."""


class Vanished(ApiError):
    """The object of the request does not exist: HTTP status 404."""


class Terminating(Vanished):
    """The namespace is being deleted and accepts no new objects."""


def from_response(
    status: int, reason: str, message: str, causes: str = "", retry_after: float | None = None
) -> ApiError:
    """Returns the error for a failed response.

    Args:
        status: HTTP status of the response.
        reason: reason in the response's Status object, such as AlreadyExists.
        message: message in the Status object.
        causes: reasons of the causes in the Status object, separated by spaces.
        retry_after: seconds, from the Retry-After header.
    """
    text = f"{message or reason or 'no message'} (HTTP {status})"
    if "NamespaceTerminating" in causes or "being terminated" in message:
        return Terminating(text)
    if status == 404:
        return Vanished(text)
    if status == 409:
        return Exists(text) if reason == "AlreadyExists" else Conflict(text)
    if status in (401, 403):
        return Forbidden(text)
    if status in (400, 413, 422) or (status == 500 and "too large" in message):
        return Rejected(text)
    return Unavailable(text, retry_after)
