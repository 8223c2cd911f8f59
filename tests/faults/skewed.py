"""`python -m faults.skewed`: the operator on a machine whose wall clock is wrong by $SKEW seconds.

+N or -N: by N seconds after the first moment of JUMPS, by 2N after the second; N: in every other second.
Python's wall clock is wrong in all code; `time.monotonic` continues, as on such a machine.
"""

import datetime
import os
import sys
import time
from typing import Any

JUMPS = 5.0, 20.0
"""Seconds: before the missing ConfigMap is created, and after the run's time and a pod's grace period have begun."""

SKEW = os.environ["SKEW"]
STARTED = time.monotonic()
true_time = time.time
TrueDatetime = datetime.datetime


def wrong() -> float:
    passed = time.monotonic() - STARTED
    return float(SKEW) * (sum(passed > jump for jump in JUMPS) if SKEW[0] in "+-" else int(passed) % 2)


def skewed_time() -> float:
    return true_time() + wrong()


class _Kind(type):
    def __instancecheck__(cls, found: Any) -> bool:
        return isinstance(found, TrueDatetime)


class SkewedDatetime(TrueDatetime, metaclass=_Kind):
    """Its `now` is wrong; its objects are ordinary datetimes."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return TrueDatetime.fromtimestamp(skewed_time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return TrueDatetime.fromtimestamp(skewed_time(), datetime.UTC).replace(tzinfo=None)


def skew() -> None:
    """Must run before any module imports these names."""
    time.time = skewed_time
    datetime.datetime = SkewedDatetime  # type: ignore[misc]


if __name__ == "__main__":
    skew()
    from swarm_operator.__main__ import main

    sys.exit(main())
