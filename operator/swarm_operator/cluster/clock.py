"""The cluster's time. Timestamps of pods and Jobs are compared with the clock of the API server that wrote them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SET_BACK = timedelta(minutes=2)
"""No answer takes so long. So an answer that seems so old means that the API server's clock was set back."""


def _local() -> datetime:
    return datetime.now(UTC)


class ClusterClock:
    """The API server's time: the `Date` of its answers plus the seconds since.

    The clock of this machine counts before the first answer only: it may be wrong, and it may jump. `Date` has whole
    seconds and is older than its arrival, so each answer gives a lower bound of the time. The largest bound counts.
    So this clock stands still or goes back only if the API server's clock is set back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, local: Callable[[], datetime] = _local) -> None:
        self._monotonic, self._local = monotonic, local
        self._zero: datetime | None = None

    def __call__(self) -> datetime:
        if self._zero is None:
            return self._local()
        return self._zero + timedelta(seconds=self._monotonic())

    def heard(self, date: str | None) -> None:
        """Takes the `Date` of an answer that has just begun. Ignores a missing or invalid date."""
        try:
            told = parsedate_to_datetime(date or "").astimezone(UTC)
        except (ValueError, OverflowError):
            return
        zero = told - timedelta(seconds=self._monotonic())
        if self._zero is None or zero > self._zero or self._zero - zero > SET_BACK:
            self._zero = zero
