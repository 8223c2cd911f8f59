"""A winner that spec.gate refuses is kept for people to look at, and the artifact of an earlier run stays."""

from dataclasses import replace
from typing import Any

import pytest

from support.decisions import SETTINGS, Row, settled
from support.operator_specs import spec
from support.worlds import ARTIFACT, CLAIMED, NOW, RUN_ID, compilation, compiled, published, run, shard, world
from swarm_engine.verdicts import compare
from swarm_operator.compilation.api import ConditionType, ObjectKind, Reason
from swarm_operator.compilation.decide import wording
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import DropMap, KeepRefused
from swarm_operator.compilation.model.shards import Artifact, Shard
from swarm_operator.compilation.model.world import MapRef, Run
from swarm_operator.compilation.status import ArtifactConfigMap, ArtifactStatus, Status
from swarm_wire.messages import Ending, PlanEnd, PlanOutcome
from swarm_wire.report import TEST_SET
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.limits import Limits

BETTER = compare([0.0] * 20, [100.0] * 20, seed="run")
WHY = "the interval of the improvement must begin above 0 (gate.minImprovement)"
REFUSED = replace(ARTIFACT, report=ARTIFACT.report.model_copy(update={"refused": [WHY]}))
WRITTEN = MapRef(f"triage-{RUN_ID}-refused", "u", RUN_ID, "refused", 0)
EARLIER = published(run_id="earlier", sha256="e" * 64)
OUT = Status(
    run_id=RUN_ID,
    artifact=ArtifactStatus(run_id="earlier", sha256="e" * 64, config_map=ArtifactConfigMap(name="triage-artifact")),
)
THERE = MapRef("triage-artifact", "u", "earlier", "artifact", 0)
IS_OUT = {"artifact": EARLIER, "compilation": compilation(status=OUT), "maps": (WRITTEN, THERE)}
KEPT = replace(
    settled(State.KEPT, "GateNotPassed"),
    status=settled(State.KEPT, "GateNotPassed").status.model_copy(update={"artifact": OUT.artifact}),
)
OLD = replace(WRITTEN, name="old", run_id="older")
CLAIM = MapRef("another-name", "u", "", "artifact", 0)


def gated(on_failure: str) -> Run:
    request = run().request
    given = CompilationSpec.model_validate(spec(gate={"onFailure": on_failure}))
    return replace(run(), request=request.model_copy(update={"spec": given}))


def refused(artifact: Artifact = REFUSED) -> Shard:
    return replace(compiled(0), artifact=artifact)


ROWS = [
    Row(
        "the operator first writes the winner where people can look at it",
        world(refused(), run=gated("keep"), **{**IS_OUT, "maps": (THERE,)}),
        [KeepRefused(gated("keep"), REFUSED)],
        reason=Reason.PUBLISHING,
        wake_up=0,
    ),
    Row(
        "the artifact of the earlier run stays published",
        world(refused(), run=gated("keep"), **IS_OUT),
        [],
        State.KEPT,
        Reason.GATE_NOT_PASSED,
        [WHY, "ConfigMap 'triage-artifact' keeps an earlier run's artifact.", f"'triage-{RUN_ID}-refused'"],
    ),
    Row(
        "the artifact of the earlier run stays published although the spec names another ConfigMap now",
        world(refused(), run=gated("keep"), **{**IS_OUT, "artifact": CLAIMED, "maps": (WRITTEN, THERE)}),
        [],
        State.KEPT,
        Reason.GATE_NOT_PASSED,
        ["ConfigMap 'triage-artifact' keeps an earlier run's artifact."],
    ),
    Row(
        "the run fails if gate.onFailure says so",
        world(refused(), run=gated("fail"), **IS_OUT),
        [],
        State.FAILED,
        Reason.GATE_NOT_PASSED,
        [WHY],
    ),
    Row(
        "the run fails if no earlier run has published an artifact",
        world(refused(), run=gated("keep"), maps=(WRITTEN,), artifact=CLAIMED),
        [],
        State.FAILED,
        Reason.GATE_NOT_PASSED,
        ["No artifact is published."],
    ),
    Row(
        "the run fails if somebody has deleted the earlier artifact",
        world(refused(), run=gated("keep"), **{**IS_OUT, "artifact": None, "maps": (WRITTEN,)}),
        [],
        State.FAILED,
        Reason.GATE_NOT_PASSED,
    ),
    Row(
        "a run that kept the earlier artifact stays as it ended",
        world(refused(), run=gated("keep"), artifact=EARLIER, maps=(WRITTEN, THERE), compilation=KEPT),
        [],
        None,
    ),
    Row(
        "a run that kept the earlier artifact fails when somebody deletes this artifact",
        world(refused(), run=gated("keep"), artifact=None, maps=(WRITTEN,), compilation=KEPT),
        [],
        State.FAILED,
        Reason.GATE_NOT_PASSED,
        ["the artifact of the earlier run is gone."],
    ),
    Row(
        "a claimed name is released if the earlier artifact has another name",
        world(refused(), run=gated("keep"), maps=(WRITTEN, THERE, CLAIM), compilation=KEPT),
        [DropMap("another-name", "u")],
        None,
    ),
    Row(
        "the refused winner of an older run is deleted",
        world(refused(), run=gated("keep"), maps=(WRITTEN, THERE, OLD), compilation=KEPT),
        [DropMap("old", "u")],
        None,
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_gate_decides_whether_a_winner_is_published(row: Row) -> None:
    row.holds()


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ({"against": "baseline"}, ": 50 -> 75 on the validation set"),
        ({"published": 60.0}, ": 60 -> 75 on the validation set, against the published program"),
        (
            {"published": 60.0, "compared_on": TEST_SET},
            f": 50 -> 75 on the validation set, and on the test set {BETTER}, against the published program",
        ),
    ],
    ids=["against the baseline", "on the examples that chose the winner", "on the test set"],
)
def test_the_message_about_a_published_winner_names_the_program_of_the_comparison(
    report: dict[str, Any], says: str
) -> None:
    given = {"against": "published", "comparison": BETTER, **report}
    assert wording.gain(ARTIFACT.report.model_copy(update=given)) == says


def test_a_limit_that_ends_a_distillation_advises_no_partial_artifact() -> None:
    """The best program by then is one for the teacher's model, and a spec may not ask for it."""
    ending = Ending(why="limits.lmCalls: 1 is reached", limits=Limits(lm_calls=1))
    end = PlanEnd(outcome=PlanOutcome.PARTIAL, round=0, binding="b", ending=ending)
    there = shard(ObjectKind.RESULTS, 0, 1, plans=(end,), artifact=ARTIFACT)
    models = {"student": {"model": "openai/small"}, "teacher": {"model": "openai/large"}}
    plain = {"limits": {"lmCalls": 1}, "optimizer": {"labeledFewShot": {}}, "models": models}
    for given, advised in ((spec(**plain), True), (spec(**plain, distill={}, finetune={}), False)):
        ours = replace(run(), request=run().request.model_copy(update={"spec": CompilationSpec.model_validate(given)}))
        first = decide(world(there, run=ours, compilation=compilation(given)), NOW, SETTINGS)
        assert first.status is not None
        ready = first.status.condition(ConditionType.READY)
        assert ready is not None
        assert ("publishPartial" in ready.message) == advised
        assert ("models.teacher" in ready.message) != advised


def test_a_limit_ends_a_gated_run_for_good_though_the_spec_asks_for_a_partial_artifact() -> None:
    """The gate refuses a partial artifact, so a pass after the end has nothing to do."""
    limits = Limits(lm_calls=1, publish_partial=True)
    ending = Ending(why="limits.lmCalls: 1 is reached", limits=limits)
    end = PlanEnd(outcome=PlanOutcome.PARTIAL, round=0, binding="b", ending=ending)
    there = shard(ObjectKind.RESULTS, 0, 1, plans=(end,), artifact=REFUSED)
    given = spec(gate={}, limits={"lmCalls": 1, "publishPartial": True})
    ours = replace(run(), request=run().request.model_copy(update={"spec": CompilationSpec.model_validate(given)}))
    first = decide(world(there, run=ours, compilation=compilation(given)), NOW, SETTINGS)
    assert first.status is not None
    ready = first.status.condition(ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "LimitReached")
    second = decide(world(there, run=ours, compilation=compilation(given, first.status)), NOW, SETTINGS)
    assert (second.settled, second.status, second.actions) == (True, None, ())
