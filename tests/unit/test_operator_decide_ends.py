"""A run ends: the operator decides about its artifact, its conditions, and the objects to delete."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from support.decisions import (
    CLAIM,
    CLAIMS,
    OPEN,
    PLAN,
    PLAN_0,
    SETTINGS,
    WORK,
    WORK_0,
    Row,
    begin_plan,
    drop,
    publish,
    release,
    settled,
)
from support.worlds import (
    ARTIFACT,
    CLAIMED,
    NOW,
    RUN_ID,
    compiled,
    job,
    pod,
    published,
    results,
    world,
)
from swarm_operator.compilation.api import Reason
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import DropMap
from swarm_operator.compilation.model.world import MapRef
from swarm_operator.compilation.status import ScoresStatus
from swarm_operator.settings import MEBIBYTE

JOURNAL_MAPS = (
    MapRef("run", "u", RUN_ID, "run", 0),
    MapRef("results", "u", RUN_ID, "results", 0),
    MapRef("triage-artifact", "u", RUN_ID, "artifact", 0),
)


EARLIER_MAPS = (
    MapRef("first-r0", "u", "first", "results", 0, size=10),
    MapRef("first-t0", "u", "first", "tasks", 0, size=10),
    MapRef("second-r0", "u", "second", "results", 0, size=10),
    MapRef("other-r0", "u", "other", "results", 0, size=10),
)

MANY_MAPS = tuple(
    MapRef(run, f"{run}-{number}", run, "results", 0, size=MEBIBYTE)
    for run in ("other", "first", "second")
    for number in range(40)
)


def all_of(run: str) -> list[DropMap]:
    return [DropMap(found.name, found.uid) for found in MANY_MAPS if found.run_id == run]


ENDS = [
    Row(
        "the operator writes the artifact of a compiled program",
        world(compiled(0)),
        [publish(ARTIFACT, CLAIMED)],
        reason=Reason.PUBLISHING,
        wake_up=0,
    ),
    Row(
        "if somebody has deleted the artifact's ConfigMap, the operator first claims the name again",
        world(compiled(0), artifact=None),
        [CLAIM],
        reason=Reason.PUBLISHING,
        wake_up=0,
    ),
    Row(
        "a run is published once the operator sees its artifact's ConfigMap",
        world(compiled(0), artifact=published()),
        [],
        State.PUBLISHED,
        Reason.PUBLISHED,
        ["'triage-artifact'", "50 -> 75"],
    ),
    Row(
        "the artifact of an earlier run is replaced",
        world(compiled(0), artifact=published(run_id="old", sha256="old")),
        [publish(ARTIFACT, published(run_id="old", sha256="old"))],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "an artifact that somebody has edited is not replaced",
        world(compiled(0), artifact=published(run_id="old", foreign=True)),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
    ),
    Row(
        "a finished run releases its pods, deletes its Jobs, tasks and older journals, and keeps its status",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED),
            artifact=published(),
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0, exit_code=0, held=True),),
            maps=(
                MapRef("tasks", "u", RUN_ID, "tasks", 0),
                MapRef("results", "u", RUN_ID, "results", 0),
                MapRef("older", "u", "older", "results", 0),
                MapRef("triage-artifact", "u", "older", "artifact", 0),
            ),
        ),
        [release(pod(PLAN_0)), drop(PLAN_0), DropMap("tasks", "u"), DropMap("older", "u")],
        state=None,
        wake_up=None,
    ),
    Row(
        "journals of the same request are kept for later runs, except their tasks",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED),
            artifact=published(),
            maps=EARLIER_MAPS,
            earlier=("first", "second"),
        ),
        [DropMap("first-t0", "u"), DropMap("other-r0", "u")],
        state=None,
    ),
    Row(
        "after a run, the newest journals are kept as far as there is room",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED),
            artifact=published(),
            maps=MANY_MAPS,
            earlier=("first", "second"),
        ),
        [*all_of("other"), *all_of("first")],
        state=None,
    ),
    Row(
        "during a run, the newest journals are kept as far as there is room",
        world(maps=MANY_MAPS, earlier=("first", "second")),
        [begin_plan(0, 1), *all_of("other"), *all_of("first")],
    ),
    Row(
        "after a failure without room, journals of other requests are also deleted",
        world(compilation=settled(State.FAILED), maps=MANY_MAPS),
        [*all_of("other"), *all_of("first")],
        state=None,
    ),
    Row(
        "no journal is deleted that a pod may mount",
        world(
            maps=MANY_MAPS,
            earlier=("first", "second"),
            jobs=(job(PLAN, 0, mounted=frozenset({"other", "first"})),),
            pods=(pod(PLAN_0),),
        ),
        [],
    ),
    Row(
        "no journal is deleted before the new run has its request",
        world(run=None, maps=MANY_MAPS, earlier=("first", "second")),
        [OPEN],
    ),
    Row(
        "all earlier journals are kept until there is an artifact",
        world(maps=EARLIER_MAPS, earlier=("first", "second")),
        [begin_plan(0, 1), DropMap("first-t0", "u")],
    ),
    Row(
        "earlier journals are kept no longer than ttlSecondsAfterFinished",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED, ended=61, ttlSecondsAfterFinished=60),
            artifact=published(),
            maps=EARLIER_MAPS,
            earlier=("first", "second"),
        ),
        [DropMap("first-r0", "u"), DropMap("first-t0", "u"), DropMap("second-r0", "u"), DropMap("other-r0", "u")],
        state=None,
    ),
    Row(
        "a journal that is too large fails the run",
        world(replace(results(0, 1), size=64 * MEBIBYTE + 1), maps=(MapRef("r", "u", RUN_ID, "results", 0, size=1),)),
        [],
        State.FAILED,
        Reason.JOURNAL_TOO_LARGE,
        ["64.0 MiB", "spec.journal"],
    ),
    Row(
        "a journal that is too large fails the run after its pods have ended",
        world(replace(results(0, 1), size=64 * MEBIBYTE + 1), jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [drop(PLAN_0)],
        reason=Reason.JOURNAL_TOO_LARGE,
        wake_up=5,
    ),
    Row(
        "the size in a shard's annotation does not count",
        world(maps=(MapRef("r", "u", RUN_ID, "results", 0, size=64 * MEBIBYTE + 1),)),
        [begin_plan(0, 1)],
    ),
    Row(
        "a journal that is too large does not fail a run that has its artifact",
        world(
            replace(compiled(0), size=64 * MEBIBYTE + 1),
            artifact=published(),
        ),
        [],
        State.PUBLISHED,
        Reason.PUBLISHED,
    ),
    Row(
        "a journal is kept for ttlSecondsAfterFinished",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED, ended=50, ttlSecondsAfterFinished=60),
            artifact=published(),
            maps=JOURNAL_MAPS,
        ),
        [],
        state=None,
        wake_up=10,
    ),
    Row(
        "after ttlSecondsAfterFinished, results are deleted, but artifact and request are kept",
        world(
            compiled(0),
            compilation=settled(State.PUBLISHED, ended=61, ttlSecondsAfterFinished=60),
            artifact=published(),
            maps=JOURNAL_MAPS,
        ),
        [DropMap("results", "u")],
        state=None,
        wake_up=None,
    ),
    Row(
        "a run that a limit has ended does not continue after its journal was deleted",
        world(
            compilation=settled(
                State.FAILED, "LimitReached", ended=61, ttlSecondsAfterFinished=60, limits={"lmCalls": 9}
            ),
            run=None,
        ),
        [],
        state=None,
    ),
    Row(
        "after a failure, the older journal is kept",
        world(
            compilation=settled(State.FAILED),
            jobs=(PLAN_0,),
            pods=(pod(PLAN_0),),
            maps=(MapRef("older", "u", "older", "results", 0),),
        ),
        [release(pod(PLAN_0)), drop(PLAN_0)],
        state=None,
    ),
    Row(
        "if somebody deletes a published artifact, the operator first claims the name again",
        world(compiled(0), compilation=settled(State.PUBLISHED), artifact=None),
        [CLAIM],
        state=None,
        wake_up=0,
    ),
    Row(
        "a failed run deletes the empty ConfigMaps with which it claimed names",
        world(compilation=settled(State.FAILED), maps=CLAIMS),
        [DropMap("triage-artifact", "u"), DropMap("another-name", "u")],
        state=None,
    ),
    Row(
        "a run deletes the empty ConfigMap of a name that an earlier run claimed",
        world(maps=CLAIMS),
        [begin_plan(0, 1), DropMap("another-name", "u")],
        reason=Reason.PLANNING,
    ),
    Row(
        "if the operator died between claim and artifact, the next operator writes the artifact",
        world(compiled(0), compilation=settled(State.PUBLISHED), artifact=published(sha256="", run_id="")),
        [publish(ARTIFACT, published(sha256="", run_id=""))],
        state=None,
    ),
    Row(
        "a deleted artifact is not written again if somebody else has taken its name",
        world(compiled(0), compilation=settled(State.PUBLISHED), artifact=published(sha256="", owner_uid="theirs")),
        [],
        state=None,
    ),
    Row(
        "pods of an older run are released and its Jobs are deleted",
        world(
            jobs=(old := job(WORK, 0, run_id="older"),),
            pods=(pod(old),),
            maps=(MapRef("older", "u", "older", "results", 0),),
        ),
        [begin_plan(0, 1), release(pod(WORK_0)), drop(WORK_0)],
    ),
]


@pytest.mark.parametrize("row", [*ENDS], ids=lambda row: row.name)
def test_the_operator_decides_how_a_run_ends(row: Row) -> None:
    row.holds()


def test_the_status_names_the_published_artifact() -> None:
    decision = decide(world(compiled(0), artifact=published()), NOW, SETTINGS)
    assert decision.status is not None
    assert decision.status.as_written()["artifact"] == {
        "runId": RUN_ID,
        "sha256": ARTIFACT.sha256,
        "score": 75.0,
        "configMap": {"name": "triage-artifact"},
    }
    assert decision.actions == ()


def test_the_status_of_a_run_stays_when_its_journal_is_deleted() -> None:
    seen = settled(State.PUBLISHED, ended=61, ttlSecondsAfterFinished=60)
    told = seen.status.model_copy(update={"scores": ScoresStatus(best=80.0), "round": 2})
    later = replace(seen, status=told, generation=2, goes_on=True)
    status = decide(world(compilation=later, run=None, artifact=published()), NOW, SETTINGS).status
    assert status is not None
    assert (status.scores, status.round, status.completion_time) == (told.scores, 2, told.completion_time)
    assert status.observed_generation == 2


def test_every_reason_of_the_operator_has_a_docstring() -> None:
    source = Path(__file__).parents[2] / "operator" / "swarm_operator" / "compilation" / "api.py"
    text = source.read_text(encoding="utf-8")
    body = text[text.index("class Reason(") : text.index("AnyReason = ")].splitlines()
    for number, line in enumerate(body):
        if " = " in line:
            assert body[number + 1].strip().startswith('"""'), line
    assert json.dumps([reason.value for reason in Reason])
