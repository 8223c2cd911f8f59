"""`python -m faults.skewed` runs the operator as on a machine whose wall clock is wrong. SKEW says by how much.

With SKEW=+N or SKEW=-N, the clock is wrong by N seconds after the first moment of JUMPS, and by 2N after the second.
With SKEW=N, the clock is wrong by N seconds in every other second. Python's wall clock is wrong in all code, and
`time.monotonic` stays right, as on such a machine.
"""

import datetime
import os
import sys
import time
from typing import Any

JUMPS = 5.0, 20.0
"""The seconds of the two jumps: before the missing ConfigMap is created, and while run and grace period last."""

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
    """A datetime class whose `now` is wrong. Its objects are ordinary datetimes."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return TrueDatetime.fromtimestamp(skewed_time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return TrueDatetime.fromtimestamp(skewed_time(), datetime.UTC).replace(tzinfo=None)


def skew() -> None:
    """Replaces `time.time` and `datetime.datetime`. It must run before any module imports them."""
    time.time = skewed_time
    datetime.datetime = SkewedDatetime  # type: ignore[misc]


if __name__ == "__main__":
    skew()
    from swarm_operator.__main__ import main

    sys.exit(main())
