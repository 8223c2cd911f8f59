"""A run begins: the operator decides about its request, its inputs, and the name of its artifact."""

from dataclasses import replace

import pytest

from support.decisions import (
    CLAIM,
    DEALT,
    OPEN,
    PLAN_0,
    RESULT,
    WORK_0,
    Row,
    begin_plan,
    drop,
    keep,
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
    compilation,
    compiled,
    planned,
    pod,
    published,
    world,
)
from swarm_operator.compilation.api import Reason, Status
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.model.world import Harvest, MapRef

SUSPENDED = compilation(spec(suspend=True))


NEW = [
    Row("a new Compilation gets its request", world(run=None), [OPEN], reason=Reason.PLANNING, wake_up=0),
    Row("an opened run gets the plan of round 0", world(), [begin_plan(0, 1)], reason=Reason.PLANNING, wake_up=5),
    Row(
        "a Compilation under deletion lets its pods go, and ends what would spend, and nothing else",
        world(compilation=compilation(deleting=True), jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [release(pod(PLAN_0)), drop(PLAN_0)],
        state=None,
    ),
    Row(
        "an invalid spec is refused with path and cure",
        world(compilation=compilation(spec(metric={"entrypoint": "no-colon"})), run=None),
        [],
        State.FAILED,
        Reason.INVALID_SPEC,
        ["spec.metric.entrypoint", "'no-colon'", "Correct the spec"],
    ),
    Row(
        "a name that an artifact's ConfigMap cannot have is refused before anything is paid",
        world(compilation=replace(compilation(), key=replace(KEY, name="a" * 245)), run=None),
        [],
        State.FAILED,
        Reason.INVALID_SPEC,
        ["a-artifact", "253 characters", "spec.artifact.configMap.name"],
    ),
    Row(
        "a suspended Compilation gets nothing",
        world(compilation=compilation(spec(suspend=True)), run=None),
        [],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["no pod runs", "Set spec.suspend to false"],
        wake_up=None,
    ),
    Row(
        "a suspended run ends its pods",
        world(compilation=SUSPENDED, jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [drop(PLAN_0)],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["its last pod is ending"],
        wake_up=5,
    ),
    Row(
        "while pods end, what they print is still waited for",
        world(planned(0), compilation=SUSPENDED, pods=(pod(WORK_0, 0), pod(WORK_0, 1))),
        [],
        State.SUSPENDED,
        Reason.SUSPENDED,
        ["2 pods are ending", "in round 0, 0 of 4 cells have results, which are kept"],
        wake_up=5,
    ),
    Row(
        "what pods of a suspended run printed is kept first",
        world(planned(0), compilation=SUSPENDED, jobs=(WORK_0,), harvest=Harvest(results={0: (RESULT,)})),
        [keep(0, RESULT)],
        state=None,
        wake_up=0,
    ),
    Row(
        "a run that has its winner publishes it, suspended or not",
        world(compiled(0), compilation=SUSPENDED),
        [publish(ARTIFACT, CLAIMED)],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "a request that cannot be read any more ends the run",
        world(run=None, maps=(MapRef(f"triage-{RUN_ID}-run", "u", RUN_ID, "run", 0),)),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
        ["A change of the spec, or this, begins a new run", "kubectl -n team annotate --overwrite dspyc/triage"],
    ),
]


INPUT = [
    Row(
        "the artifact's name is claimed before anything is paid for",
        world(artifact=None),
        [CLAIM, begin_plan(0, 1)],
        reason=Reason.PLANNING,
    ),
    Row(
        "the artifact's name is claimed again before workers start, where somebody has deleted the ConfigMap",
        world(planned(0), artifact=None),
        [CLAIM, *scatter(DEALT, planned(0))],
        reason=Reason.SCATTERING,
    ),
    Row(
        "a name that another Compilation has claimed is waited for",
        world(artifact=replace(CLAIMED, owner_uid="another")),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["ConfigMap 'triage-artifact', which is not this Compilation's", "spec.artifact.configMap.name"],
    ),
    Row(
        "a name that another Compilation has claimed ends the run at the deadline",
        world(compilation=waited(Reason.ARTIFACT_CONFLICT, 60), artifact=replace(CLAIMED, owner_uid="another")),
        [],
        State.FAILED,
        Reason.ARTIFACT_CONFLICT,
    ),
    Row(
        "a missing ConfigMap is waited for",
        world(inputs={**INPUTS, "triage-data": None}),
        [],
        reason=Reason.MISSING_CONFIG_MAP,
        says=["'triage-data'", "Create it"],
        wake_up=5,
    ),
    Row(
        "a missing key is waited for",
        world(inputs={**INPUTS, "triage-data": frozenset({"train.jsonl"})}),
        [],
        reason=Reason.MISSING_CONFIG_MAP_KEY,
        says=["'val.jsonl'", "which has: train.jsonl"],
    ),
    Row(
        "a missing ConfigMap fails the run after the deadline",
        world(compilation=waited(Reason.MISSING_CONFIG_MAP, 60), inputs={**INPUTS, "triage-data": None}),
        [],
        State.FAILED,
        Reason.MISSING_CONFIG_MAP,
        ["60 s", f"kubectl -n {KEY.namespace} annotate --overwrite dspyc/{KEY.name} dspy-swarm.dev/rerun-at="],
    ),
    Row(
        "another reason has a deadline of its own",
        world(compilation=waited(Reason.UNSCHEDULABLE, 600), inputs={**INPUTS, "triage-data": None}),
        [],
        reason=Reason.MISSING_CONFIG_MAP,
    ),
    Row(
        "a missing ConfigMap does not stop pods that run already",
        world(inputs={}, jobs=(PLAN_0,), pods=(pod(PLAN_0),)),
        [],
        reason=Reason.PLANNING,
    ),
    Row(
        "a foreign ConfigMap of the artifact's name stops the run before it costs anything",
        world(artifact=published(owner_uid="somebody")),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["'triage-artifact'", "not overwritten"],
    ),
    Row(
        "an artifact of ours that somebody edited is foreign too",
        world(artifact=published(foreign=True)),
        [],
        reason=Reason.ARTIFACT_CONFLICT,
        says=["edited"],
    ),
    Row(
        "our own artifact of an earlier run is no conflict", world(artifact=published(run_id="old")), [begin_plan(0, 1)]
    ),
]


@pytest.mark.parametrize("row", [*NEW, *INPUT], ids=lambda row: row.name)
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
def test_a_new_value_of_rerun_at_starts_a_new_run(of_the_run: str | None, now: str | None, goes_on: bool) -> None:
    before = world().run
    assert before is not None
    request = before.request.model_copy(update={"rerun_at": of_the_run})
    seen = compilation(spec(image=IMAGE), status=Status(run_id=RUN_ID), generation=2, rerun_at=now)
    assert (seen.continued(request).run_id == RUN_ID) is goes_on
    assert seen.continued(request, has_pods=True).superseded is not goes_on, "what its pods paid for is kept first"
