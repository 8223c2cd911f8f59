"""Errors of the API server, by their consequence.

ApiError
├── Conflict      somebody else wrote in between: read again at once
├── Forbidden     a quota, a webhook or missing rights: shown to the user, tried again later
├── Unavailable   the API server is busy, away or slow: tried again later
├── Rejected      it will never take this object: ends the run
├── NameTaken     an object of that name is not ours: tried again later, never overwritten
└── Vanished      the object of the request is gone: nothing left to do
    └── Terminating   its whole namespace is being deleted: nothing may hold that up
"""


class ApiError(Exception):
    """A request failed. The message is the API server's."""


class Conflict(ApiError):
    """409: the object changed since it was read, or another manager owns a field."""


class Forbidden(ApiError):
    """401 or 403."""


class Unavailable(ApiError):
    """429, 5xx, no connection, no answer in time.

    Attributes:
        retry_after: seconds that the server asks to wait, if it does.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(ApiError):
    """400, 413, 422, or a 500 because the request is too large."""


class NameTaken(ApiError):
    """409 AlreadyExists, and the object there belongs to somebody else."""


class Exists(ApiError):
    """409 AlreadyExists; `apply` finds out whose object it is."""


class Vanished(ApiError):
    """404."""


class Terminating(Vanished):
    """The namespace is being deleted and accepts no new objects."""


def from_response(
    status: int, reason: str, message: str, causes: str = "", retry_after: float | None = None
) -> ApiError:
    """The error that a failed response means.

    Args:
        status: HTTP status.
        reason: the Status object's reason, such as AlreadyExists.
        message: the Status object's message.
        causes: its causes' reasons, joined.
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
