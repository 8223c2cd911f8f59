"""The operator knows the cluster's time although its machine's clock is wrong and answers are slow or coarse."""

from datetime import UTC, datetime, timedelta

import pytest

from swarm_operator.cluster.clock import SET_BACK, ClusterClock

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


class Played:
    """A ClusterClock on a machine whose clock is an hour ahead. Its time passes only in `after`."""

    def __init__(self) -> None:
        self.seconds, self.machine = 5000.0, NOON + timedelta(hours=1)
        self.clock = ClusterClock(lambda: self.seconds, lambda: self.machine)

    def after(self, seconds: float) -> datetime:
        self.seconds += seconds
        return self.clock()

    def heard(self, ago: float = 0.0) -> None:
        """The API server, whose clock is right, answers. It began the answer `ago` seconds ago."""
        self.clock.heard(_date(NOON + timedelta(seconds=self.seconds - 5000.0 - ago)))


def _date(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.fixture
def played() -> Played:
    return Played()


def test_before_the_first_answer_the_operator_uses_the_clock_of_the_machine(played: Played) -> None:
    assert played.clock() == played.machine


def test_after_the_first_answer_the_operator_uses_the_clock_of_the_api_server(played: Played) -> None:
    played.heard()
    assert played.clock() == NOON
    assert played.after(90) == NOON + timedelta(seconds=90)


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_jump_of_the_machines_clock_has_no_effect(played: Played, jump: timedelta) -> None:
    played.heard()
    played.machine += jump
    assert played.after(1) == NOON + timedelta(seconds=1)


def test_slow_answers_and_whole_seconds_do_not_set_the_clock_back(played: Played) -> None:
    played.heard()
    before = played.clock()
    for ago in (0.0, 0.7, 30.0, 0.2, 60.0, 0.0):
        now = played.after(0.4)
        played.heard(ago)
        assert before < now <= played.clock()
        before = now
    assert abs((played.clock() - NOON).total_seconds() - (played.seconds - 5000.0)) < 1


def test_an_operator_that_was_stopped_corrects_its_clock_at_the_next_answer(played: Played) -> None:
    """While a machine sleeps, its monotonic clock stands still."""
    played.heard()
    played.clock.heard(_date(NOON + timedelta(minutes=10)))
    assert played.clock() == NOON + timedelta(minutes=10)


def test_the_clock_follows_an_api_server_whose_clock_is_set_back(played: Played) -> None:
    """If the operator kept the later time, it would take each new pod for hours old."""
    played.clock.heard(_date(NOON + timedelta(hours=1)))
    played.heard()
    assert played.clock() == NOON
    assert timedelta(hours=1) > SET_BACK


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sat, 21 Nov 99999 12:00:00 GMT"])
def test_an_invalid_date_in_an_answer_of_the_api_server_is_ignored(played: Played, date: str | None) -> None:
    played.heard()
    played.clock.heard(date)
    assert played.clock() == NOON
