"""A run survives an API server or a network that answers wrongly, late or not at all for a while."""

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from faults import harm
from faults.kinds import case
from faults.proxy import Call, Fault
from faults.stage import Stage
from support.sampling import of_the_day

WRITES = ("create", "patch", "delete")
READS = ("get", "list")

ENDS_KOPF = (401, 409, 410)
"""kopf ends the operator's process if its first list gets one of these status codes. The kubelet restarts it."""
AWAY = 20.0
"""Seconds for which requests fail. They are longer than several of the operator's delays between tries."""


def first(*verbs: str) -> Callable[[Call], bool]:
    """Returns a condition that the first request of every kind (verb and resource) fulfils."""
    seen: set[tuple[str, str]] = set()

    def fits(call: Call) -> bool:
        kind = call.verb, call.resource
        if call.verb not in verbs or kind in seen:
            return False
        seen.add(kind)
        return True

    return fits


def refusals(name: str, *codes: int, **options: bool) -> Any:
    first, *others = [f"{what} answered {code}" for code in codes for what in ("write", "read")]
    return case(first, codes, id=name, besides=others, **options)


@pytest.mark.parametrize(
    "codes", [refusals("passing", 403, 429, 500, 503, 504, some=True), refusals("ending kopf", *ENDS_KOPF)]
)
def test_a_run_survives_a_failed_request_of_every_kind(stage: Stage, codes: tuple[int, ...]) -> None:
    """The first request of each kind fails with one of the codes, also requests of kopf, the operator's framework."""
    faults = [harm.answered(code, retry_after=2 if code == 429 else None) for code in codes]
    rule = stage.proxy.add(first(*WRITES, *READS), harm.in_turn(faults), times=None)
    stage.begin()
    stage.holds(restarts=codes == ENDS_KOPF)
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
def test_a_write_that_the_api_server_rejects_ends_the_run_or_is_repeated(
    stage: Stage, verb: str, resource: str, reason: str | None
) -> None:
    """If the API server rejects a body, the run ends with a message. The operator repeats a rejected delete."""
    rule = stage.proxy.add(lambda call: (call.verb, call.resource) == (verb, resource), harm.answered(422))
    stage.begin()
    if reason:
        stage.ends(reason, "injected")
    else:
        stage.holds()
    assert rule.hit


def transport(name: str, faults: dict[str, Fault]) -> Any:
    kind, *others = faults
    return case(kind, [*faults.values()], id=name, besides=others)


TRANSPORT = [
    transport(
        "passing",
        {
            "request lost on its way": harm.dropped,
            "answer lost": harm.unanswered,
            "request delayed": harm.delayed(1.5),
            "answer after the client's patience": harm.answered_late(5),
        },
    ),
    # kopf, the operator's framework, ends the process if it cannot read a list. It lists every few minutes.
    transport(
        "ending kopf",
        {
            "answer cut in the middle": harm.cut_short,
            "answer of somebody else (HTML, 200)": harm.garbled,
        },
    ),
]


@pytest.mark.parametrize("stage", [{"request_timeout": 3, "log_timeout": 3}], indirect=True, ids=[""])
@pytest.mark.parametrize("faults", TRANSPORT)
def test_a_run_survives_disturbed_connections(stage: Stage, faults: list[Fault]) -> None:
    """Every kind of request meets one of the faults, each day another fault."""
    rule = stage.proxy.add(first(*WRITES, *READS), harm.in_turn(faults), times=None)
    stage.begin()
    stage.holds(restarts=harm.garbled in faults)
    assert len(rule.hit) > 12


@pytest.mark.fault("one in ten requests lost")
@pytest.mark.parametrize("seed", of_the_day([1, 2]))
def test_a_run_survives_the_loss_of_every_tenth_request(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)
    before = stage.proxy.add(lambda call: call.verb != "watch" and chance.random() < 0.05, harm.dropped, times=None)
    after = stage.proxy.add(lambda call: call.verb != "watch" and chance.random() < 0.05, harm.unanswered, times=None)
    stage.begin()
    stage.over()
    before.times = after.times = 0
    stage.holds()


@pytest.mark.fault("every request delayed")
def test_a_run_survives_a_slow_network(stage: Stage) -> None:
    stage.proxy.add(lambda call: call.verb != "watch", harm.delayed(0.3), times=None)
    stage.begin()
    stage.holds()


@pytest.mark.fault("connections refused for a while")
def test_a_run_survives_an_api_server_that_refuses_connections(stage: Stage) -> None:
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
def test_a_run_survives_the_failure_of_all_requests_for_a_while(stage: Stage, code: int) -> None:
    """kopf, the operator's framework, ends the process after 54 seconds of errors."""
    stage.slow()
    stage.begin()
    stage.pod("work")
    rule = stage.proxy.add(lambda call: True, harm.answered(code), times=None)
    # The closed port also ends open watches.
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
def test_a_run_survives_output_that_cannot_be_read(stage: Stage, fault: Fault, times: int) -> None:
    """Cells whose output cannot be read run again, and the operator invents no record. The faults use up one or two of
    a cell's three attempts."""
    since = time.monotonic()
    rule = stage.proxy.add(
        lambda call: call.resource == "pods/log" and time.monotonic() < since + 25, fault, times=times
    )
    stage.begin()
    assert stage.reference
    stage.holds(lost=2 * stage.reference.requests)
    assert rule.hit


@pytest.mark.fault("stale reads after a restart")
@pytest.mark.parametrize("role", of_the_day(["plan", "work"]))
def test_a_run_survives_an_api_server_that_returns_old_state(stage: Stage, role: str) -> None:
    """The new process reads old state. The API server checks its writes, so the operator does nothing twice."""
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
