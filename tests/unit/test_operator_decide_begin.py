"""A run begins: the operator decides about its request, its inputs, and the name of its artifact."""

from dataclasses import replace
from typing import Any

import pytest

from support.decisions import (
    CLAIM,
    DEALT,
    OPEN,
    PLAN_0,
    RESULT,
    SETTINGS,
    WORK_0,
    Row,
    begin_plan,
    drop,
    keep,
    over,
    publish,
    release,
    scatter,
    waited,
)
from support.operator_specs import spec
from support.worlds import (
    ARTIFACT,
    CLAIMED,
    IMAGE,
    INPUTS,
    KEY,
    RUN_ID,
    ago,
    compilation,
    compiled,
    planned,
    pod,
    published,
    world,
)
from swarm_operator.compilation.api import Reason
from swarm_operator.compilation.decide.conditions import State, timestamp
from swarm_operator.compilation.model.actions import OpenRun
from swarm_operator.compilation.model.world import Harvest, MapRef, PublishedProgram, World
from swarm_operator.compilation.status import ArtifactConfigMap, ArtifactStatus, Status, WaitingStatus
from swarm_wire.spec.compilation import CompilationSpec

SUSPENDED = compilation(spec(suspend=True))


NEW = [
    Row("a new Compilation gets its request", world(run=None), [OPEN], reason=Reason.PLANNING, wake_up=0),
    Row(
        "a run with a request gets the plan of round 0", world(), [begin_plan(0, 1)], reason=Reason.PLANNING, wake_up=5
    ),
    Row(
        "a Compilation that is being deleted releases its pods and deletes its Jobs",
        world(compilation=compilation(deleting=True), jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [release(pod(PLAN_0)), drop(PLAN_0)],
        state=None,
    ),
    Row(
        "an invalid spec is refused with the path of the field and a remedy",
        world(compilation=compilation(spec(metric={"entrypoint": "no-colon"})), run=None),
        [],
        State.FAILED,
        Reason.INVALID_SPEC,
        ["spec.metric.entrypoint", "'no-colon'", "Correct the spec"],
    ),
    Row(
        "a name that the artifact's ConfigMap cannot have is refused before the first cost",
        world(compilation=replace(compilation(), key=replace(KEY, name="a" * 245)), run=None),
        [],
        State.FAILED,
        Reason.INVALID_SPEC,
        ["a-artifact", "253 characters", "spec.artifact.configMap.name"],
    ),
    Row(
        "a Compilation that is created suspended gets no request and no Job",
        world(compilation=compilation(spec(suspend=True)), run=None),
        [],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["no pod runs", "Set spec.suspend to false"],
        wake_up=None,
    ),
    Row(
        "a suspended run deletes its Jobs, which ends its pods",
        world(compilation=SUSPENDED, jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [drop(PLAN_0)],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["its last pod is ending"],
        wake_up=5,
    ),
    Row(
        "a suspended run waits for the output of pods that are ending",
        world(planned(0), compilation=SUSPENDED, pods=(pod(WORK_0, 0), pod(WORK_0, 1))),
        [],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["2 pods are ending", "in round 0, 0 of 4 cells have results, which are kept"],
        wake_up=5,
    ),
    Row(
        "a suspended run first writes the results that its pods printed",
        world(planned(0), compilation=SUSPENDED, jobs=(WORK_0,), harvest=Harvest(results={0: (RESULT,)})),
        [keep(0, RESULT)],
        state=None,
        wake_up=0,
    ),
    Row(
        "a run that has its winner publishes it even if it is suspended",
        world(compiled(0), compilation=SUSPENDED),
        [publish(ARTIFACT, CLAIMED)],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "a run whose request can no longer be read fails",
        world(run=None, maps=(MapRef(f"triage-{RUN_ID}-run", "u", RUN_ID, "run", 0),)),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
        ["A change of the spec, or this, begins a new run", "kubectl -n team annotate --overwrite dspyc/triage"],
    ),
]


STALLED = compilation(
    status=over(State.STUCK, Reason.MISSING_CONFIG_MAP).model_copy(
        update={"waiting": WaitingStatus(reason=Reason.MISSING_CONFIG_MAP, since=timestamp(ago(5000)))}
    )
)
INPUT = [
    Row(
        "the operator claims the artifact's name before the first plan",
        world(artifact=None),
        [CLAIM, begin_plan(0, 1)],
        reason=Reason.PLANNING,
    ),
    Row(
        "if somebody has deleted the artifact's ConfigMap, the operator claims the name again before workers start",
        world(planned(0), artifact=None),
        [CLAIM, *scatter(DEALT, planned(0))],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a run waits for a name that another Compilation has claimed",
        world(artifact=replace(CLAIMED, owner_uid="another")),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["ConfigMap 'triage-artifact', which is not this Compilation's", "spec.artifact.configMap.name"],
    ),
    Row(
        "a Compilation is Stalled after the deadline if another Compilation has claimed the name",
        world(compilation=waited(Reason.ARTIFACT_CONFLICT, 900), artifact=replace(CLAIMED, owner_uid="another")),
        [],
        State.STUCK,
        Reason.ARTIFACT_CONFLICT,
    ),
    Row(
        "a run waits for a missing ConfigMap",
        world(inputs={**INPUTS, "triage-data": None}),
        [],
        reason=Reason.MISSING_CONFIG_MAP,
        says=["'triage-data'", "Create it"],
        wake_up=5,
    ),
    Row(
        "a run waits for a missing key of a ConfigMap",
        world(inputs={**INPUTS, "triage-data": frozenset({"train.jsonl"})}),
        [],
        reason=Reason.MISSING_CONFIG_MAP_KEY,
        says=["'val.jsonl'", "which has: train.jsonl"],
    ),
    Row(
        "a Compilation is Stalled if a ConfigMap is missing until the deadline",
        world(compilation=waited(Reason.MISSING_CONFIG_MAP, 900), inputs={**INPUTS, "triage-data": None}),
        [],
        State.STUCK,
        Reason.MISSING_CONFIG_MAP,
        ["The run goes on as soon as that changes. It has not for 900 s."],
        wake_up=60,
    ),
    Row(
        "a Stalled Compilation stays Stalled while the ConfigMap is missing",
        world(compilation=STALLED, inputs={**INPUTS, "triage-data": None}),
        [],
        State.STUCK,
        Reason.MISSING_CONFIG_MAP,
    ),
    Row(
        "the run of a Stalled Compilation begins when the ConfigMap is there",
        world(compilation=STALLED),
        [begin_plan(0, 1)],
        reason=Reason.PLANNING,
    ),
    Row(
        "a new reason to wait has its own deadline",
        world(compilation=waited(Reason.UNSCHEDULABLE, 600), inputs={**INPUTS, "triage-data": None}),
        [],
        reason=Reason.MISSING_CONFIG_MAP,
    ),
    Row(
        "a missing ConfigMap does not stop running pods",
        world(inputs={}, jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [],
        reason=Reason.PLANNING,
    ),
    Row(
        "a foreign ConfigMap with the artifact's name stops the run before the first cost",
        world(artifact=published(owner_uid="somebody")),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["'triage-artifact'", "not overwritten"],
    ),
    Row(
        "our artifact counts as foreign if somebody has edited it",
        world(artifact=published(foreign=True)),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["edited"],
    ),
    Row(
        "our artifact of an earlier run does not stop the run",
        world(artifact=published(run_id="old")),
        [begin_plan(0, 1)],
    ),
]


OUT = Status(
    run_id="earlier",
    artifact=ArtifactStatus(
        run_id="earlier", sha256=ARTIFACT.sha256, config_map=ArtifactConfigMap(name="triage-artifact")
    ),
)
OURS = PublishedProgram(published(run_id="earlier"), ARTIFACT.sha256)
AGAINST = spec(gate={"against": "published"})
FROM_IT = spec(program={**spec()["program"], "state": {"published": True}})


def opened(given: dict[str, Any], program: PublishedProgram | None, why_not: str | None = None) -> OpenRun:
    asked = CompilationSpec.model_validate({**given, "image": SETTINGS.worker_image})
    fields = {"spec": asked, "unpublished": why_not, "published_by": "earlier" if program else ""}
    return OpenRun(OPEN.request.model_copy(update=fields), program)


def begins(given: dict[str, Any], found: PublishedProgram | None, status: Status = OUT) -> World:
    return world(run=None, compilation=compilation(given, status=status), published=found)


PROGRAM = [
    Row(
        "a run whose gate compares with the published program gets this program with its request",
        begins(AGAINST, OURS),
        [opened(AGAINST, OURS)],
        reason=Reason.PLANNING,
        wake_up=0,
    ),
    Row(
        "a run whose student starts from the published program gets this program with its request",
        begins(FROM_IT, OURS),
        [opened(FROM_IT, OURS)],
    ),
    Row("a first run has no published program", begins(AGAINST, None, Status()), [opened(AGAINST, None)]),
    Row(
        "a gate that compares with the baseline needs no published program",
        begins(spec(gate={}), OURS),
        [opened(spec(gate={}), None)],
    ),
    Row(
        "a run says that the ConfigMap of the published artifact is gone",
        begins(AGAINST, None),
        [opened(AGAINST, None, "the ConfigMap of the published artifact is gone")],
        says=["The run begins without the published program: the ConfigMap of the published artifact is gone."],
    ),
    *(
        Row(
            f"a run does not use a published program {what}",
            begins(FROM_IT, PublishedProgram(published(run_id="earlier", **fields), sha256)),
            [opened(FROM_IT, None, why_not)],
            says=[f"The run begins without the published program: {why_not}."],
        )
        for what, fields, sha256, why_not in (
            (
                "in a ConfigMap that another Compilation owns",
                {"owner_uid": "somebody"},
                ARTIFACT.sha256,
                "ConfigMap 'triage-artifact' of the published artifact is not that of its Compilation",
            ),
            (
                "that another field manager has edited",
                {"foreign": True},
                ARTIFACT.sha256,
                "somebody has edited ConfigMap 'triage-artifact' of the published artifact",
            ),
            (
                "that is not what its sha256 says",
                {},
                "e" * 64,
                "somebody has edited ConfigMap 'triage-artifact' of the published artifact",
            ),
            (
                "that somebody has emptied",
                {"sha256": ""},
                "",
                "somebody has edited ConfigMap 'triage-artifact' of the published artifact",
            ),
        )
    ),
]


@pytest.mark.parametrize("row", [*NEW, *INPUT, *PROGRAM], ids=lambda row: row.name)
def test_the_operator_decides_how_a_run_begins(row: Row) -> None:
    row.holds()


@pytest.mark.parametrize(
    ("of_the_run", "now", "goes_on"),
    [
        (None, None, True),
        (None, "monday", False),
        ("monday", "monday", True),
        ("monday", "tuesday", False),
        ("monday", None, True),
    ],
)
def test_a_new_value_of_the_annotation_rerun_at_starts_a_new_run(
    of_the_run: str | None, now: str | None, goes_on: bool
) -> None:
    before = world().run
    assert before is not None
    request = before.request.model_copy(update={"rerun_at": of_the_run})
    seen = compilation(spec(image=IMAGE), status=Status(run_id=RUN_ID), generation=2, rerun_at=now)
    assert (seen.continued(request).run_id == RUN_ID) is goes_on
    assert seen.continued(request, has_pods=True).superseded is not goes_on, "what its pods paid for is kept first"
