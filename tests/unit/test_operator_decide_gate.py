"""A winner that spec.gate refuses is kept for people to look at, and the artifact of an earlier run stays."""

from dataclasses import replace

import pytest

from support.decisions import Row, settled
from support.operator_specs import spec
from support.worlds import ARTIFACT, CLAIMED, RUN_ID, compilation, compiled, published, run, world
from swarm_operator.compilation.api import Reason
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.model.actions import DropMap, KeepRefused
from swarm_operator.compilation.model.shards import Artifact, Shard
from swarm_operator.compilation.model.world import MapRef, Run
from swarm_operator.compilation.status import ArtifactConfigMap, ArtifactStatus, Status
from swarm_wire.spec.compilation import CompilationSpec

WHY = "gate.minImprovement: 0 needs more"
REFUSED = replace(ARTIFACT, report=ARTIFACT.report.model_copy(update={"refused": [WHY]}))
WRITTEN = MapRef(f"triage-{RUN_ID}-refused", "u", RUN_ID, "refused", 0)
EARLIER = published(run_id="earlier", sha256="e" * 64)
OUT = Status(
    run_id=RUN_ID,
    artifact=ArtifactStatus(run_id="earlier", sha256="e" * 64, config_map=ArtifactConfigMap(name="triage-artifact")),
)
IS_OUT = {"artifact": EARLIER, "compilation": compilation(status=OUT)}


def gated(on_failure: str) -> Run:
    request = run().request
    given = CompilationSpec.model_validate(spec(gate={"onFailure": on_failure}))
    return replace(run(), request=request.model_copy(update={"spec": given}))


def refused(artifact: Artifact = REFUSED) -> Shard:
    return replace(compiled(0), artifact=artifact)


MAPS = (MapRef("triage-artifact", "u", "", "artifact", 0), WRITTEN)
ROWS = [
    Row(
        "the operator first writes the winner where people can look at it",
        world(refused(), run=gated("keep"), **IS_OUT),
        [KeepRefused(gated("keep"), REFUSED)],
        reason=Reason.PUBLISHING,
        wake_up=0,
    ),
    Row(
        "the artifact of the earlier run stays published",
        world(refused(), run=gated("keep"), maps=(WRITTEN,), **IS_OUT),
        [],
        State.KEPT,
        Reason.GATE_NOT_PASSED,
        [
            WHY,
            "ConfigMap 'triage-artifact' keeps an earlier run's artifact.",
            f"in ConfigMap 'triage-{RUN_ID}-refused'",
        ],
    ),
    Row(
        "the run fails if gate.onFailure says so",
        world(refused(), run=gated("fail"), maps=(WRITTEN,), **IS_OUT),
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
        world(refused(), run=gated("keep"), maps=(WRITTEN,), artifact=None, compilation=compilation(status=OUT)),
        [],
        State.FAILED,
        Reason.GATE_NOT_PASSED,
    ),
    Row(
        "a run that kept the earlier artifact stays as it ended",
        world(refused(), run=gated("keep"), maps=(WRITTEN,), compilation=settled(State.KEPT, "GateNotPassed")),
        [],
        None,
    ),
    Row(
        "a claimed name is released if the earlier artifact has another name",
        world(refused(), run=gated("keep"), maps=MAPS, compilation=settled(State.KEPT, "GateNotPassed")),
        [DropMap("triage-artifact", "u")],
        None,
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_gate_decides_whether_a_winner_is_published(row: Row) -> None:
    row.holds()
