"""What watches may do. They only wake a pass, which looks at everything anew: at worst they wake none.

What kopf does not understand at all ends the process, by its design; a kubelet starts it again.
"""

import pytest

from faults import harm
from faults.kinds import case
from faults.proxy import Fault
from faults.stage import Stage

ON_AND_ON = None
A_WHILE = 12


@pytest.mark.parametrize(
    ("edit", "times", "ends"),
    [
        case("watch cut in the middle of a line", harm.cut_in_a_line, A_WHILE, False, some=True),
        case("watch ends after each event", harm.ended_at_once, ON_AND_ON, False),
        case("watch silent, connection alive", harm.silent, ON_AND_ON, False, some=True),
        case("watch events repeated", harm.repeated, ON_AND_ON, False),
        case("watch events disordered", harm.disordered, ON_AND_ON, False),
        case("watch goes back in time", harm.back_in_time, ON_AND_ON, False),
        case("watch event that is no JSON", harm.garbage, A_WHILE, True),
        case("watch events of unknown type", harm.strange(), ON_AND_ON, False),
        case("watch events lost: ADDED", harm.without("ADDED"), ON_AND_ON, False),
        case("watch events lost: MODIFIED", harm.without("MODIFIED"), ON_AND_ON, False),
        case("watch events lost: DELETED", harm.without("DELETED"), ON_AND_ON, False),
        case("watch ends in ERROR 410", harm.with_error(410), A_WHILE, False),
        case("watch ends in ERROR 500", harm.with_error(500), A_WHILE, True),
        case("watch ends in ERROR 504", harm.with_error(504), A_WHILE, True),
    ],
)
def test_what_becomes_of_events(stage: Stage, edit: harm.Edit, times: int | None, ends: bool) -> None:
    # The watches that are open already are of before the rule.
    rule = stage.proxy.add(lambda call: call.verb == "watch", harm.edited(edit), times=times)
    stage.operator.kill()
    stage.begin()
    stage.holds(restarts=ends)
    assert len({call.resource for call in rule.hit}) == 3


@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        *(
            case(
                f"watch answered {code}",
                harm.answered(code, retry_after=1 if code == 429 else None),
                code in (401, 410),
            )
            for code in (401, 403, 410, 429, 500, 503)
        ),
        case("watch request lost", harm.dropped, False),
        case("watch answered with HTML", harm.garbled, True),
    ],
)
def test_watches_that_do_not_come_about(stage: Stage, fault: Fault, ends: bool) -> None:
    rule = stage.proxy.add(lambda call: call.verb == "watch", fault, times=3 if ends else A_WHILE)
    stage.operator.kill()
    stage.begin()
    stage.holds(restarts=ends)
    assert rule.hit
