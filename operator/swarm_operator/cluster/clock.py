"""The cluster's time: what a pod's or Job's timestamps are compared with is read from the clock that wrote them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SET_BACK = timedelta(minutes=2)
"""An answer as old as that was not slow: no request waits so long, so the API server's clock has been set back."""


def _local() -> datetime:
    return datetime.now(UTC)


class ClusterClock:
    """The API server's time, by the `Date` of its answers and the seconds since.

    The clock of this machine counts before the first answer only: it may be wrong, and it may jump. `Date` is in whole
    seconds and was written a while before it is heard of, so each answer says what the time is at least; the one that
    says most is believed. So this clock stands still or goes back only where the API server's is set back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, local: Callable[[], datetime] = _local) -> None:
        self._monotonic, self._local = monotonic, local
        self._zero: datetime | None = None

    def __call__(self) -> datetime:
        if self._zero is None:
            return self._local()
        return self._zero + timedelta(seconds=self._monotonic())

    def heard(self, date: str | None) -> None:
        """An answer with this `Date` has just begun. One that says nothing, or nothing that is a date, changes
        nothing."""
        try:
            told = parsedate_to_datetime(date or "").astimezone(UTC)
        except (ValueError, OverflowError):
            return
        zero = told - timedelta(seconds=self._monotonic())
        if self._zero is None or zero > self._zero or self._zero - zero > SET_BACK:
            self._zero = zero
