"""Errors in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping


class ApiError(Exception):
    """An answer in OpenAI's form for errors: HTTP status and message, with the error's type, code and parameter."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
