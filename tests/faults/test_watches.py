"""A run survives faults of the operator's watches.

An event of a watch only starts a pass, which observes the cluster anew, so a wrong event cannot mislead the operator.
kopf, the operator's framework, ends the process at an event that it does not understand, and the kubelet restarts it.
"""

from typing import Any

import pytest

from faults import harm
from faults.kinds import case
from faults.proxy import Fault
from faults.stage import Stage
from support.sampling import DAY

ON_AND_ON = None
A_WHILE = 12
"""The number of watches of a run."""
WATCHED = ("dspycompilations", "jobs", "pods")
Edits = list[tuple[harm.Edit, int | None]]
"""Faults, each with the number of watches that it affects, or None for all."""

SILENT: dict[str, tuple[harm.Edit, int | None]] = {"watch silent, connection alive": (harm.silent, ON_AND_ON)}
PASSING: dict[str, tuple[harm.Edit, int | None]] = {
    "watch cut in the middle of a line": (harm.cut_in_a_line, A_WHILE),
    "watch ends after each event": (harm.ended_at_once, ON_AND_ON),
    "watch events repeated": (harm.repeated, ON_AND_ON),
    "watch events disordered": (harm.disordered, ON_AND_ON),
    "watch goes back in time": (harm.back_in_time, ON_AND_ON),
    "watch events of unknown type": (harm.strange(), ON_AND_ON),
    "watch events lost: ADDED": (harm.without("ADDED"), ON_AND_ON),
    "watch events lost: MODIFIED": (harm.without("MODIFIED"), ON_AND_ON),
    "watch events lost: DELETED": (harm.without("DELETED"), ON_AND_ON),
    "watch ends in ERROR 410": (harm.with_error(410), A_WHILE),
}
ENDING: dict[str, tuple[harm.Edit, int | None]] = {
    "watch event that is no JSON": (harm.garbage, 3),
    "watch ends in ERROR 500": (harm.with_error(500), 3),
    "watch ends in ERROR 504": (harm.with_error(504), 3),
}


def watches(name: str, kinds: dict[str, tuple[harm.Edit, int | None]], ends: bool = False, **options: bool) -> Any:
    kind, *others = kinds
    return case(kind, [*kinds.values()], ends, id=name, besides=others, **options)


def by_threes() -> list[Any]:
    """Returns groups of faults that a process survives, one for each watch. Groups change from day to day."""
    kinds = [*PASSING][DAY % len(PASSING) :] + [*PASSING][: DAY % len(PASSING)]
    return [
        watches(f"side by side, {at // 3 + 1}", {kind: PASSING[kind] for kind in kinds[at : at + 3]}, some=not at)
        for at in range(0, len(kinds), 3)
    ]


@pytest.mark.parametrize(
    ("edits", "ends"), [watches("silent", SILENT, some=True), *by_threes(), watches("ending kopf", ENDING, ends=True)]
)
def test_a_run_survives_lost_repeated_and_reordered_events_of_watches(stage: Stage, edits: Edits, ends: bool) -> None:
    """A case with one fault has it in all watches. In a case with several faults, each fault affects one watch."""
    # The rule does not affect watches that are already open.
    rules = [
        stage.proxy.add(
            lambda call, at=at: call.verb == "watch" and WATCHED.index(call.resource) % len(edits) == at,  # type: ignore[misc]
            harm.edited(edit),
            times=times,
        )
        for at, (edit, times) in enumerate(edits)
    ]
    stage.operator.kill()
    stage.begin()
    stage.holds(restarts=ends)
    assert all(rule.hit for rule in rules)
    assert {call.resource for rule in rules for call in rule.hit} == {*WATCHED}


def failures(name: str, faults: dict[str, Fault], ends: bool, times: int) -> Any:
    kind, *others = faults
    return case(kind, [*faults.values()], ends, times, id=name, besides=others)


@pytest.mark.parametrize(
    ("faults", "ends", "times"),
    [
        failures(
            "passing",
            {
                **{
                    f"watch answered {code}": harm.answered(code, retry_after=1 if code == 429 else None)
                    for code in (403, 429, 500, 503)
                },
                "watch request lost": harm.dropped,
            },
            False,
            A_WHILE,
        ),
        failures(
            "ending kopf",
            {
                "watch answered 401": harm.answered(401),
                "watch answered 410": harm.answered(410),
                "watch answered with HTML": harm.garbled,
            },
            True,
            3,
        ),
    ],
)
def test_a_run_survives_watches_that_cannot_be_opened(
    stage: Stage, faults: list[Fault], ends: bool, times: int
) -> None:
    rule = stage.proxy.add(lambda call: call.verb == "watch", harm.in_turn(faults), times=times)
    stage.operator.kill()
    stage.begin()
    stage.holds(restarts=ends)
    assert len(rule.hit) >= len(faults)
