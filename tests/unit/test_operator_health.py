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


def test_the_operator_is_alive_but_not_ready_before_its_first_look_at_the_cluster(process: Process) -> None:
    process.minutes(20)
    assert process.state == (False, True)
    process.look_succeeds()
    assert process.state == (True, True)


def test_a_watch_without_events_is_fine_while_nothing_changes(process: Process) -> None:
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


def test_a_watch_may_recover_later_than_lists(process: Process) -> None:
    """The watch may report a change long after a list has shown it, if the API server was unreachable between."""
    process.minutes(1, process.changes, process.look_succeeds)
    process.minutes(60, process.look_fails)
    process.minutes(3, process.look_succeeds)
    assert process.state == (True, True)
    process.watch_tells()
    process.minutes(60, process.look_succeeds)
    assert process.state == (True, True)


@pytest.mark.parametrize("often", [True, False], ids=["at each look", "once"])
def test_a_watch_that_misses_changes_shown_by_lists_is_deaf(process: Process, often: bool) -> None:
    process.watch_tells()
    process.minutes(1, process.changes, process.look_succeeds)
    process.minutes(4, *[process.changes] * often, process.look_succeeds)
    assert process.state == (True, True)
    process.minutes(2, *[process.changes] * often, process.look_succeeds)
    assert process.state == (True, False)


def test_a_watch_that_reports_a_moment_later_is_not_deaf(process: Process) -> None:
    process.minutes(60, process.changes, process.look_succeeds, process.watch_tells)
    assert process.state == (True, True)


def test_a_watch_that_reports_only_other_objects_is_deaf(process: Process) -> None:
    process.minutes(10, process.look_succeeds, lambda: process.pulse.told("b", "1"))
    assert process.state == (True, False)


def test_a_deleted_object_needs_no_event(process: Process) -> None:
    process.minutes(1, process.look_succeeds)
    process.minutes(60, lambda: process.pulse.looked({}))
    assert process.state == (True, True)


def test_an_operator_that_stops_looking_is_not_alive(process: Process) -> None:
    """Events of its watches do not make such an operator alive."""
    process.minutes(1, process.look_succeeds)
    process.minutes(10, process.watch_tells)
    assert process.state == (True, False)
