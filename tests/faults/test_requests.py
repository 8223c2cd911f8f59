"""The API server, or what is between, answers wrongly, late or not at all; then as it should."""

import random
import time
from collections.abc import Callable

import pytest

from faults import harm
from faults.kinds import case
from faults.proxy import Call, Fault
from faults.stage import Stage

WRITES = ("create", "patch", "delete")
READS = ("get", "list")

ENDS_KOPF = (401, 409, 410)
"""What ends the process where kopf's own first look is answered so; its kubelet starts it again."""
AWAY = 20.0
"""Seconds: longer than several of the operator's delays between tries."""


def first(*verbs: str) -> Callable[[Call], bool]:
    """Of every kind of request (verb and resource), the first one."""
    seen: set[tuple[str, str]] = set()

    def fits(call: Call) -> bool:
        kind = call.verb, call.resource
        if call.verb not in verbs or kind in seen:
            return False
        seen.add(kind)
        return True

    return fits


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(
            code,
            marks=[
                pytest.mark.fault(f"write answered {code}"),
                pytest.mark.fault(f"read answered {code}"),
                *([pytest.mark.some] if code == 503 else []),
            ],
        )
        for code in (401, 403, 409, 410, 429, 500, 503, 504)
    ],
)
def test_every_kind_of_request_fails_once(stage: Stage, code: int) -> None:
    """kopf's own are among them."""
    fault = harm.answered(code, retry_after=2 if code == 429 else None)
    rule = stage.proxy.add(first(*WRITES, *READS), fault, times=None)
    stage.begin()
    stage.holds(restarts=code in ENDS_KOPF)
    assert {(call.verb, call.resource) for call in rule.hit} >= {
        ("create", "configmaps"),
        ("create", "jobs"),
        ("create", "events"),
        ("patch", "dspycompilations/status"),
        ("patch", "pods"),
        ("patch", "configmaps"),
        ("delete", "jobs"),
        ("delete", "configmaps"),
        ("list", "dspycompilations"),
        ("list", "pods"),
        ("list", "jobs"),
        ("list", "configmaps"),
        ("get", "dspycompilations"),
        ("get", "pods"),
        ("get", "pods/log"),
        ("get", "configmaps"),
    }


@pytest.mark.parametrize(
    ("verb", "resource", "reason"),
    [
        case("create configmaps refused with 422", "create", "configmaps", "InvalidSpec", some=True),
        case("create jobs refused with 422", "create", "jobs", "InvalidSpec"),
        case("patch status refused with 422", "patch", "dspycompilations/status", None),
        case("patch pods refused with 422", "patch", "pods", None),
        case("delete jobs refused with 422", "delete", "jobs", None),
    ],
)
def test_what_the_api_server_refuses(stage: Stage, verb: str, resource: str, reason: str | None) -> None:
    """A body that it will never take ends the run, and says so. What only tidies up is tried again."""
    rule = stage.proxy.add(lambda call: (call.verb, call.resource) == (verb, resource), harm.answered(422))
    stage.begin()
    if reason:
        stage.ends(reason, "injected")
    else:
        stage.holds()
    assert rule.hit


TRANSPORT = [
    case("request lost on its way", harm.dropped),
    case("answer lost", harm.unanswered),
    case("answer cut in the middle", harm.cut_short),
    case("answer of somebody else (HTML, 200)", harm.garbled),
    case("request delayed", harm.delayed(1.5)),
    case("answer after the client's patience", harm.answered_late(5)),
]


@pytest.mark.parametrize("stage", [{"request_timeout": 3, "log_timeout": 3}], indirect=True, ids=[""])
@pytest.mark.parametrize("fault", TRANSPORT)
def test_what_networks_do(stage: Stage, fault: Fault) -> None:
    rule = stage.proxy.add(first(*WRITES, *READS), fault, times=None)
    stage.begin()
    # kopf ends where it cannot read what it lists; it lists anew every few minutes.
    stage.holds(restarts=fault in (harm.cut_short, harm.garbled))
    assert len(rule.hit) > 12


@pytest.mark.fault("one in ten requests lost")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_bad_line(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)
    before = stage.proxy.add(lambda call: call.verb != "watch" and chance.random() < 0.05, harm.dropped, times=None)
    after = stage.proxy.add(lambda call: call.verb != "watch" and chance.random() < 0.05, harm.unanswered, times=None)
    stage.begin()
    stage.over()
    before.times = after.times = 0
    stage.holds()


@pytest.mark.fault("every request delayed")
def test_a_slow_line(stage: Stage) -> None:
    stage.proxy.add(lambda call: call.verb != "watch", harm.delayed(0.3), times=None)
    stage.begin()
    stage.holds()


@pytest.mark.fault("connections refused for a while")
def test_the_api_server_is_away(stage: Stage) -> None:
    stage.slow()
    stage.begin()
    stage.pod("work")
    stage.proxy.close_port()
    time.sleep(AWAY)
    stage.proxy.open_port()
    stage.holds()


@pytest.mark.parametrize(
    "code",
    [
        case("everything answered 503 for longer than kopf's patience", 503),
        case("everything answered 401 for a while", 401),
    ],
)
def test_everything_fails_for_a_while(stage: Stage, code: int) -> None:
    """Of itself, kopf ends the process after 54 seconds of errors."""
    stage.slow()
    stage.begin()
    stage.pod("work")
    rule = stage.proxy.add(lambda call: True, harm.answered(code), times=None)
    # Watches that are open must fail, too.
    stage.proxy.close_port()
    stage.proxy.open_port()
    time.sleep(65 if code == 503 else AWAY)
    rule.times = 0
    stage.holds(restarts=code in ENDS_KOPF)
    assert len(rule.hit) < 300, "no tight loop"


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        case("pod's output halved", harm.halved, 4),
        case("pod's output empty", harm.emptied, 4),
        case("pod's output not readable for longer than the deadline", harm.answered(500), 40),
    ],
)
def test_output_that_cannot_be_had(stage: Stage, fault: Fault, times: int) -> None:
    """It counts as not there: what it had told of is done again, and nothing is taken for what it is not. Of three
    attempts, one or two are lost to it."""
    since = time.monotonic()
    rule = stage.proxy.add(
        lambda call: call.resource == "pods/log" and time.monotonic() < since + 25, fault, times=times
    )
    stage.begin()
    assert stage.reference
    stage.holds(lost=2 * stage.reference.requests)
    assert rule.hit


@pytest.mark.fault("stale reads after a restart")
@pytest.mark.parametrize("role", ["plan", "work"])
def test_an_api_server_whose_cache_stands_still(stage: Stage, role: str) -> None:
    """What the new process sees is old; what it writes is checked by the API server, so nothing is done twice."""
    cache = harm.StandingStill()
    stage.proxy.add(lambda call: call.verb in READS and call.resource != "pods/log", cache, times=None)
    stage.slow()
    stage.begin()
    stage.pod(role)
    cache.still = True
    stage.operator.kill()
    time.sleep(8)
    cache.still = False
    stage.holds()
