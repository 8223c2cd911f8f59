"""The kubelet restarts an operator whose watch misses changes, but not one whose API server is unreachable."""

from collections.abc import Callable

import pytest

from swarm_operator.runtime.health import Pulse

PATIENCE, MINUTE = 300.0, 60.0


class Process:
    """Simulates an operator that lists the cluster each minute and has a watch."""

    def __init__(self) -> None:
        self.seconds, self.version = 0.0, 1
        self.pulse = Pulse(PATIENCE, lambda: self.seconds)

    def minutes(self, number: int, *moments: Callable[[], None]) -> None:
        for _ in range(number):
            self.seconds += MINUTE
            for moment in moments:
                moment()

    # What may happen in a minute

    def changes(self) -> None:
        self.version += 1

    def watch_tells(self) -> None:
        self.pulse.told("a", str(self.version))

    def look_succeeds(self) -> None:
        self.pulse.looked({"a": str(self.version)})

    def look_fails(self) -> None:
        self.pulse.failed()

    @property
    def state(self) -> tuple[bool, bool]:
        """Returns whether the operator is ready, and whether it is alive."""
        return self.pulse.ready, not self.pulse.trouble


@pytest.fixture
def process() -> Process:
    return Process()


def test_the_operator_is_alive_but_not_ready_before_it_first_lists_the_cluster(process: Process) -> None:
    process.minutes(20)
    assert process.state == (False, True)
    process.look_succeeds()
    assert process.state == (True, True)


def test_a_watch_without_events_is_healthy_while_nothing_changes(process: Process) -> None:
    process.watch_tells()
    process.minutes(60, process.look_succeeds)
    assert process.state == (True, True)


def test_an_unreachable_api_server_does_not_restart_the_operator(process: Process) -> None:
    process.watch_tells()
    process.minutes(1, process.look_succeeds)
    process.minutes(60, process.look_fails)
    assert process.state == (False, True)
    process.minutes(1, process.look_succeeds)
    assert process.state == (True, True)


def test_the_operator_stays_alive_if_a_watch_recovers_later_than_lists(process: Process) -> None:
    """The watch may report a change long after a list has shown it, if the API server was unreachable in between."""
    process.minutes(1, process.changes, process.look_succeeds)
    process.minutes(60, process.look_fails)
    process.minutes(3, process.look_succeeds)
    assert process.state == (True, True)
    process.watch_tells()
    process.minutes(60, process.look_succeeds)
    assert process.state == (True, True)


@pytest.mark.parametrize("often", [True, False], ids=["at each look", "once"])
def test_a_watch_that_misses_changes_that_lists_show_restarts_the_operator(process: Process, often: bool) -> None:
    process.watch_tells()
    process.minutes(1, process.changes, process.look_succeeds)
    process.minutes(4, *[process.changes] * often, process.look_succeeds)
    assert process.state == (True, True)
    process.minutes(2, *[process.changes] * often, process.look_succeeds)
    assert process.state == (True, False)


def test_a_watch_that_reports_a_change_a_moment_later_is_healthy(process: Process) -> None:
    process.minutes(60, process.changes, process.look_succeeds, process.watch_tells)
    assert process.state == (True, True)


def test_a_watch_that_reports_only_other_objects_restarts_the_operator(process: Process) -> None:
    process.minutes(10, process.look_succeeds, lambda: process.pulse.told("b", "1"))
    assert process.state == (True, False)


def test_a_watch_without_an_event_for_a_deleted_object_is_healthy(process: Process) -> None:
    process.minutes(1, process.look_succeeds)
    process.minutes(60, lambda: process.pulse.looked({}))
    assert process.state == (True, True)


def test_an_operator_that_no_longer_lists_the_cluster_is_restarted(process: Process) -> None:
    """Events of its watches do not make such an operator alive."""
    process.minutes(1, process.look_succeeds)
    process.minutes(10, process.watch_tells)
    assert process.state == (True, False)
