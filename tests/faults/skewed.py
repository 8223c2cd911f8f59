"""`python -m faults.skewed`: the operator on a machine whose wall clock is wrong by $SKEW seconds.

+N or -N: from the first moment of JUMPS on, and twice that from the second on; N: in every second one of its seconds.
All that Python tells of the wall clock is wrong, in our code and in that of others; `time.monotonic` goes on as it does
on such a machine.
"""

import datetime
import os
import sys
import time
from typing import Any

JUMPS = 5.0, 20.0
"""Seconds: before a ConfigMap that is missing is brought, and when the run's time and a pod's grace have begun."""

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
    """Its `now` is wrong; what it makes are true datetimes."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return TrueDatetime.fromtimestamp(skewed_time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return TrueDatetime.fromtimestamp(skewed_time(), datetime.UTC).replace(tzinfo=None)


def skew() -> None:
    """Before anything that imports these names."""
    time.time = skewed_time
    datetime.datetime = SkewedDatetime  # type: ignore[misc]


if __name__ == "__main__":
    skew()
    from swarm_operator.__main__ import main

    sys.exit(main())
