"""When schedules are due (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from swarm_operator.trigger.spec import Schedule


@dataclass(frozen=True, order=True)
class Cause:
    """Something that begins a run.

    Attributes:
        at: the time of the schedule. For a change, the time at which its run begins or is delayed.
        kind: "schedule", or the kind of what has changed: git, configMaps, drift or models.
        revision: says what a change has led to, such as a model's name; empty for a schedule.
    """

    at: datetime
    kind: str = "schedule"
    revision: str = ""

    def __str__(self) -> str:
        """Returns the cause as the value of an annotation, which ends with the time."""
        return " ".join(filter(None, (self.kind, self.revision, f"{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")))


def due(schedules: Iterable[Schedule], after: datetime, now: datetime) -> Cause | None:
    """Returns the newest cause after `after` and not later than `now`; None if there is none.

    Older causes of the same time are passed over: an operator that was away for days begins one run, not many.
    """
    found = [time for each in schedules if (time := _before(each, now)) > after]
    return Cause(max(found)) if found else None


def upcoming(schedules: Iterable[Schedule], now: datetime) -> datetime | None:
    """Returns the next time of the schedules after `now`; None without schedules."""
    times: list[datetime] = [next(CronSim(each.cron, now.astimezone(ZoneInfo(each.time_zone)))) for each in schedules]
    return min(times).astimezone(UTC) if times else None


def _before(schedule: Schedule, now: datetime) -> datetime:
    """Returns the newest time of a schedule that is not later than `now`."""
    local = (now + timedelta(seconds=1)).astimezone(ZoneInfo(schedule.time_zone))
    found: datetime = next(CronSim(schedule.cron, local, reverse=True))
    return found.astimezone(UTC)
