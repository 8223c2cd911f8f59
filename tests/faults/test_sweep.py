"""A run survives a fault at every write: the operator dies before or after it, its answer is lost, or it arrives
twice."""

import re
from collections.abc import Callable

import pytest

from faults import harm
from faults.kinds import every_kind
from faults.proxy import Call, Fault, Rule
from faults.stage import Stage, Undisturbed

MOST_WRITES = 40
"""The writes of a run without faults. Their number varies by a few, since status writes in one second are merged."""
SOME = (3,)
"""The numbers of the runs that take place for every change of the code."""


FAULTS: dict[str, Callable[[Stage], Fault]] = {
    "operator killed before a write": lambda stage: harm.before(stage.operator.kill),
    "operator killed after a write": lambda stage: harm.after(stage.operator.kill),
    "answer to a write lost": lambda stage: harm.unanswered,
    "write sent twice": lambda stage: harm.twice,
}
ROUNDS = 4
"""How many times a run has each fault."""
RUNS = MOST_WRITES // ROUNDS
VARYING = {("patch", "dspycompilations/status"), ("create", "events")}
"""The number of these writes depends on timing, since writes in one second are merged."""


def written(call: Call) -> tuple[str, str, str]:
    """Returns what identifies a write in every run: verb, resource, and the part of the name that is the same in every
    run."""
    of_run = re.search(r"-[0-9a-f]{10}-([a-z]+\d*(?:-\d+)?)", call.name)
    kind = of_run[1] if of_run else call.name.rpartition("-")[2] if call.resource == "configmaps" else ""
    return call.verb, call.resource, kind


def always(write: tuple[str, str, str]) -> bool:
    """Returns whether every run has this write. The number of ConfigMaps with results differs from run to run."""
    verb, resource, kind = write
    return (verb, resource) not in VARYING and not re.fullmatch(r"r\d+-0", kind)


@pytest.mark.parametrize("first", [pytest.param(n, marks=[pytest.mark.some] * (n in SOME)) for n in range(RUNS)])
@every_kind(FAULTS)
def test_a_run_survives_each_kind_of_fault_at_every_write(stage: Stage, first: int) -> None:
    """Each run has several faults, about equally many writes apart. All runs together have each kind of fault at each
    write."""
    assert stage.reference
    usual = [written(call) for call in stage.reference.writes]
    faults = list(FAULTS.values()) * ROUNDS
    rules: list[tuple[Rule, tuple[str, str, str]]] = []
    for position, fault in enumerate(faults):
        number = (first + position * MOST_WRITES // len(faults)) % MOST_WRITES % len(usual)
        wanted, occurrence = usual[number], usual[: number + 1].count(usual[number])

        def fits(call: Call, wanted: tuple[str, str, str] = wanted, occurrence: int = occurrence) -> bool:
            return written(call) == wanted and sum(written(done) == wanted for done in stage.proxy.writes) == occurrence

        rules.append((stage.proxy.add(fits, fault(stage)), wanted))
    stage.begin()
    stage.holds()
    hit = {wanted for rule, wanted in rules if rule.hit}
    assert {wanted for _, wanted in rules if always(wanted)} <= hit


@pytest.mark.some
def test_every_write_of_a_run_is_tested_with_faults(reference: Undisturbed) -> None:
    assert 25 <= len(reference.writes) <= MOST_WRITES, [str(call) for call in reference.writes]
    certain = [written(call) for call in reference.writes if always(written(call))]
    assert {(verb, resource) for verb, resource, _ in certain} >= {
        ("create", "configmaps"),
        ("create", "jobs"),
        ("patch", "configmaps"),
        ("patch", "pods"),
        ("delete", "jobs"),
    }


@pytest.mark.fault("operator killed after every write")
def test_a_run_survives_an_operator_killed_after_each_write(stage: Stage) -> None:
    rule = stage.proxy.add(lambda call: call.writes, harm.after(stage.operator.kill), times=None)
    stage.begin()
    stage.over(seconds=900)
    rule.times = 0
    stage.holds()


@pytest.mark.fault("answer to every write lost")
def test_a_run_survives_the_loss_of_the_answers_to_all_writes(stage: Stage) -> None:
    rule = stage.proxy.add(lambda call: call.writes, harm.unanswered, times=None)
    stage.begin()
    stage.over()
    rule.times = 0
    stage.holds()
