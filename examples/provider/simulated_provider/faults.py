"""Decides what goes wrong at the provider, and when, by rules that use neither clock nor network.

Faults that a retry may cure (errors, hangs) depend on the request and on how often it was sent. Properties of an answer
(latency, a wrong format) depend only on the request.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from simulated_provider import chance


class FaultError(ValueError):
    """A rule is malformed. The text names the rule and the expected form."""


@dataclass(frozen=True)
class Latency:
    """A distribution of seconds: its kind, and the numbers of this kind."""

    kind: Literal["constant", "uniform", "lognormal"]
    first: float
    second: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Latency:
        """Reads `0.2` or `constant:0.2` (seconds), `uniform:LOW:HIGH` or `lognormal:MEDIAN:SIGMA`.

        Raises:
            FaultError: the kind is unknown, there are too many or too few numbers, or a number is negative.
        """
        first, *rest = text.split(":")
        kind, rest = (first, rest) if rest else ("constant", [first])
        try:
            numbers = [float(number) for number in rest]
        except ValueError:
            numbers = []
        expected = {"constant": 1, "uniform": 2, "lognormal": 2}.get(kind)
        if len(numbers) != expected or not all(0 <= number < math.inf for number in numbers):
            raise FaultError(
                f"latency {text!r}: expected SECONDS, constant:SECONDS, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA"
            )
        return cls(kind, *numbers)  # type: ignore[arg-type]

    def draw(self, *about: object) -> float:
        """Returns the seconds for a request, always the same seconds for the same `about`."""
        match self.kind:
            case "constant":
                return self.first
            case "uniform":
                return self.first + (self.second - self.first) * chance.unit("latency", *about)
            case "lognormal":
                return self.first * math.exp(self.second * chance.normal("latency", *about))


@dataclass(frozen=True)
class Faults:
    """The rules in force. Rates are between 0 and 1. Patterns are regular expressions, searched for in all messages."""

    latency: str = "0"
    """Seconds before an answer, as `Latency.parse` reads them."""
    rpm: float = 0.0
    """Requests per minute. The provider answers further requests with status 429. 0: no limit."""
    burst: int = 0
    """Number of requests that may come at once under `rpm`. 0: the requests of one second, but at least one."""
    error_rate: float = 0.0
    """Share of the attempts that get `error_status`."""
    error_pattern: str = ""
    """Pattern of the requests that get `error_status`."""
    error_status: int = 500
    """HTTP status of errors: 400 .. 599."""
    malformed_rate: float = 0.0
    """Share of the requests whose answer lacks the format that they ask for."""
    hang_rate: float = 0.0
    """Share of the attempts that never get an answer."""
    hang_pattern: str = ""
    """Pattern of the requests that never get an answer."""
    first_attempts: int = 0
    """Errors and hangs concern only this many first attempts of a request. 0: they concern all attempts."""
    varied: bool = False
    """Whether equal requests with a temperature above 0 and without a seed get different answers, in a fixed order."""
    random: bool = False
    """Whether equal requests get different answers each time, in no fixed order."""

    def __post_init__(self) -> None:
        Latency.parse(self.latency)
        for name in ("error_rate", "malformed_rate", "hang_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise FaultError(f"{name} must be between 0 and 1")
        for name in ("error_pattern", "hang_pattern"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise FaultError(f"{name}: {error}") from error
        if not 400 <= self.error_status <= 599:
            raise FaultError("error_status must be between 400 and 599")
        if self.rpm < 0 or self.burst < 0 or self.first_attempts < 0:
            raise FaultError("rpm, burst and first_attempts must not be negative")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Faults:
        """Returns the rules of a mapping. Rules that the mapping does not name keep their defaults.

        Raises:
            FaultError: the mapping has an unknown name, or a value of a wrong type or out of range.
        """
        known = {field.name: type(field.default) for field in fields(cls)}
        read: dict[str, Any] = {}
        for name, value in values.items():
            expected = known.get(name)
            if expected is None:
                raise FaultError(f"unknown rule {name!r}; known are {', '.join(known)}")
            if name == "latency" and _number(value):
                value = str(value)
            if name in _FRACTIONAL and _number(value):
                value = float(value)
            if type(value) is not (float if name in _FRACTIONAL else expected):
                raise FaultError(f"{name} must be of type {'number' if name in _FRACTIONAL else expected.__name__}")
            read[name] = value
        return cls(**read)

    def fate(self, seed: int, digest: str, attempt: int, text: str) -> Literal["answer", "error", "hang"]:
        """Returns what happens to a request.

        Args:
            digest: the request's digest.
            attempt: how often the request was sent, counting this time: 1, 2, ...
            text: all messages of the request.
        """
        if self.first_attempts and attempt > self.first_attempts:
            return "answer"
        if self.hang_pattern and re.search(self.hang_pattern, text):
            return "hang"
        if self.error_pattern and re.search(self.error_pattern, text):
            return "error"
        if self.hang_rate and chance.unit(seed, "hang", digest, attempt) < self.hang_rate:
            return "hang"
        if self.error_rate and chance.unit(seed, "error", digest, attempt) < self.error_rate:
            return "error"
        return "answer"

    def malformed(self, seed: int, digest: str) -> bool:
        """Whether the answer to a request lacks its format."""
        return chance.unit(seed, "malformed", digest) < self.malformed_rate


_FRACTIONAL = {"rpm", "error_rate", "malformed_rate", "hang_rate"}


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def spoil(text: str) -> str:
    """Returns an answer as a confused model would give it: without headers, braces and tags, and cut off."""
    return (
        "Sure! Here is what I think: " + re.sub(r"\[\[ ## \w+ ## \]\]|[{}<>\"]", " ", text)[: max(20, len(text) // 2)]
    )


class RateLimit:
    """Limits the rate of requests with a token bucket.

    Args:
        rpm: tokens that flow into the bucket in a minute.
        burst: tokens that the bucket holds; 0: the tokens of one second, but at least one.
    """

    def __init__(self, rpm: float, burst: int = 0) -> None:
        self._per_second = rpm / 60
        self._size = float(burst or max(1, int(self._per_second)))
        self._tokens = self._size
        self._at: float | None = None

    def wait(self, now: float) -> float:
        """Takes a token and returns 0, or takes none and returns the seconds until there is one.

        Args:
            now: seconds on any clock that does not go back.
        """
        if self._at is not None:
            self._tokens = min(self._size, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._per_second
