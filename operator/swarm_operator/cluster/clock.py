"""The cluster's time. The operator compares timestamps of pods and Jobs with the clock of the API server.

The API server wrote these timestamps, and the clock of the operator's node may differ.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SET_BACK = timedelta(minutes=2)
"""If the `Date` of an answer is this much behind, somebody has set the API server's clock back.

An answer of the API server never takes two minutes to arrive.
"""


def _local() -> datetime:
    return datetime.now(UTC)


class ClusterClock:
    """The API server's time: the `Date` header of one of its answers plus the seconds since that answer.

    The operator uses the clock of its own machine only before the first answer, because that clock may be wrong or
    jump. `Date` has whole seconds, and an answer takes time to arrive. So each answer gives a lower bound of the
    server's time, and this class uses the largest bound. This clock goes back only if somebody sets the API server's
    clock back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, local: Callable[[], datetime] = _local) -> None:
        self._monotonic, self._local = monotonic, local
        self._zero: datetime | None = None

    def __call__(self) -> datetime:
        if self._zero is None:
            return self._local()
        return self._zero + timedelta(seconds=self._monotonic())

    def heard(self, date: str | None) -> None:
        """Adjusts the clock by the `Date` header of an answer that begins to arrive.

        Ignores a missing or invalid date.
        """
        try:
            told = parsedate_to_datetime(date or "").astimezone(UTC)
        except (ValueError, OverflowError):
            return
        zero = told - timedelta(seconds=self._monotonic())
        if self._zero is None or zero > self._zero or self._zero - zero > SET_BACK:
            self._zero = zero
