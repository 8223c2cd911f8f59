"""The status tells users and GitOps tools (kstatus, Flux, Argo CD) the state of a run."""

from dataclasses import replace
from typing import Any

import pytest

from support.kstatus import kstatus
from support.worlds import NOW, RUN_ID, ago, compilation, compiled, planned, published, results, shard, world
from swarm_operator.compilation.api import ConditionType, ObjectKind, Reason
from swarm_operator.compilation.decide import conditions as reports
from swarm_operator.compilation.decide.conditions import CONDITIONS, Finding, State, make, settled, timestamp
from swarm_operator.compilation.status import ArtifactConfigMap, ArtifactStatus, DriftStatus, Status
from swarm_wire.names import WorkerReason
from swarm_wire.report import Candidate, FailureGroup, Failures
from swarm_wire.spending import Spending, Usage

ARTIFACT = ArtifactStatus(
    run_id="earlier", sha256="0" * 64, score=50, config_map=ArtifactConfigMap(name="triage-artifact")
)
READY, RECONCILING, STALLED = ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED


def written(state: State, **fields: Any) -> dict[str, Any]:
    return make(world(**fields), Finding(state, Reason.PLANNING, "m"), NOW).as_written()


@pytest.mark.parametrize(
    ("state", "wanted"),
    [(State.RUNNING, "InProgress"), (State.PUBLISHED, "Current"), (State.FAILED, "Failed"), (State.STUCK, "Failed")],
)
def test_kstatus_derives_the_intended_state_from_every_status(state: State, wanted: str) -> None:
    assert kstatus({"metadata": {"generation": 1}, "status": written(state)}) == wanted
    assert kstatus({"metadata": {"generation": 2}, "status": written(state)}) == "InProgress"


def test_before_the_first_pass_kstatus_reports_that_the_compilation_is_in_progress() -> None:
    assert kstatus({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}) == "InProgress"


@pytest.mark.parametrize("state", State)
def test_the_conditions_of_a_status_agree_with_each_other(state: State) -> None:
    row = CONDITIONS[state]
    assert READY in row
    assert not {RECONCILING, STALLED} <= set(row)
    assert all(row.get(abnormal, "True") == "True" for abnormal in (RECONCILING, STALLED))
    assert (row[READY] == "False") == (STALLED in row or state is State.SUSPENDED)


@pytest.mark.parametrize("state", [State.PUBLISHED, State.FAILED])
def test_a_run_that_is_over_stays_over(state: State) -> None:
    status = Status.of(written(state))
    assert settled(status, RUN_ID) is state
    assert settled(status, "another run") is None


@pytest.mark.parametrize("state", [State.RUNNING, State.SUSPENDED])
def test_a_running_or_suspended_run_does_not_count_as_over(state: State) -> None:
    assert settled(Status.of(written(state)), RUN_ID) is None


@pytest.mark.parametrize(("artifact", "ready"), [(None, "False"), (ARTIFACT, "True")])
def test_while_a_run_is_suspended_a_compilation_with_an_earlier_artifact_is_ready(
    artifact: ArtifactStatus | None, ready: str
) -> None:
    seen = world(compilation=compilation(status=Status(artifact=artifact)))
    after = make(seen, Finding(State.SUSPENDED, Reason.SUSPENDED, "a"), NOW)
    assert {c.type: c.status for c in after.conditions} == {READY: ready, ConditionType.SUCCEEDED: "Unknown"}
    assert after.completion_time is None


def test_the_transition_time_of_a_condition_changes_only_with_its_status() -> None:
    before = make(world(), Finding(State.RUNNING, Reason.PLANNING, "a"), ago(60))
    seen = world(compilation=compilation(status=before))
    same = make(seen, Finding(State.RUNNING, Reason.SCATTERING, "b"), NOW)
    other = make(seen, Finding(State.FAILED, WorkerReason.DATA_INVALID, "c"), NOW)
    assert {condition.last_transition_time for condition in same.conditions} == {timestamp(ago(60))}
    assert {condition.last_transition_time for condition in other.conditions} == {timestamp(NOW)}


def test_a_new_run_resets_the_status_but_keeps_the_last_artifact_in_it() -> None:
    artifact = {"runId": "old", "sha256": "s", "score": 1.0, "configMap": {"name": "a"}}
    before = Status.of(
        {"runId": "old", "startTime": timestamp(ago(600)), "completionTime": timestamp(ago(500)), "artifact": artifact}
    )
    status = make(world(compilation=compilation(status=before)), Finding(State.RUNNING, Reason.PLANNING, "m"), NOW)
    told = status.as_written()
    assert told["startTime"] == timestamp(NOW)
    assert "completionTime" not in told
    assert told["artifact"] == artifact


def test_progress_counts_finished_rounds_and_results_of_the_current_round() -> None:
    seen = world(planned(0), results(0, 0, 1, 2, 3), planned(1), results(1, 2))
    status = make(seen, Finding(State.RUNNING, Reason.SCATTERING, "m"), NOW).as_written()
    assert status["progress"] == {"cellsDone": 5, "cellsTotal": 8, "text": "5/8"}
    assert status["usage"] == {"calls": 5, "promptTokens": 0, "completionTokens": 0}, "waste is known at the end"
    assert status["round"] == 1


PRICED, UNPRICED = Usage(calls=1, micro_usd=1_250), Usage(calls=1)
NOT_ASKED = Usage()


@pytest.mark.parametrize(
    ("found", "cost"),
    [
        ([], None),
        ([NOT_ASKED], None),
        ([PRICED], 0.00125),
        ([PRICED, PRICED, NOT_ASKED], 0.0025),
        ([PRICED, UNPRICED], None),
        ([Usage(calls=1, micro_usd=0)], 0),
    ],
    ids=["nothing yet", "no call", "one", "two calls, and a cell without a call", "one call has no price", "free"],
)
@pytest.mark.parametrize(
    ("state", "reason"),
    [(State.RUNNING, Reason.SCATTERING), (State.PUBLISHED, Reason.PUBLISHED), (State.FAILED, Reason.NO_PROGRESS)],
)
def test_the_status_shows_the_cost_of_a_run_in_every_state(
    state: State, reason: Reason, found: list[Usage], cost: float | None
) -> None:
    """A journal has the usage of a call in a result or in a record of its own. The test tries both."""
    usages = {f"{number:032x}": usage for number, usage in enumerate(found)}
    for brought in (shard(ObjectKind.RESULTS, 0, results=usages), shard(ObjectKind.RESULTS, 0, calls=usages)):
        told = make(world(planned(0), brought), Finding(state, reason, "m"), NOW).as_written()["usage"]
        assert told.get("costUSD") == cost


def test_the_status_of_a_finished_run_shows_scores_and_the_best_candidates() -> None:
    status = make(world(compiled(0), artifact=published()), Finding(State.PUBLISHED, Reason.PUBLISHED, "m"), NOW)
    told = status.as_written()
    assert told["scores"] == {"baseline": 50.0, "best": 75.0}
    assert told["candidates"] == [{"name": "seed 1", "score": 75.0}]
    assert told["usage"]["wastedCalls"] == 3
    assert told["completionTime"] == timestamp(NOW)


@pytest.mark.parametrize("is_over", [False, True])
def test_the_status_shows_failed_examples(is_over: bool) -> None:
    group = FailureGroup(exception="IndexError: " + "x" * 600, place="program.py, line 17", examples=13, first="one")
    failures = Failures(failed=10, examples=36, in_bootstraps=3, bootstrapped=12, groups=[group] * 7, others=2)
    shard = compiled(0) if is_over else planned(0)[1]
    if is_over:
        assert shard.artifact is not None
        report = shard.artifact.report.model_copy(update={"failures": failures})
        shard = replace(shard, artifact=replace(shard.artifact, report=report))
    else:
        shard = replace(shard, plans=tuple(end.model_copy(update={"failures": failures}) for end in shard.plans))
    told = make(world(shard), Finding(State.RUNNING, Reason.PLANNING, "m"), NOW).as_written()["failures"]
    assert (told["failed"], told["examples"], told["inBootstraps"], told["others"]) == (10, 36, 3, 2)
    assert [len(each["exception"]) for each in told["groups"]] == [500] * 5
    assert {(each["place"], each["first"]) for each in told["groups"]} == {("program.py, line 17", "one")}


def test_the_status_marks_the_score_of_a_pruned_candidate_as_a_bound() -> None:
    pruned = [Candidate(name="seed 1", score=75.0), Candidate(name="seed 2", score=74.0, bound=True)]
    shard = compiled(0)
    assert shard.artifact is not None
    artifact = replace(shard.artifact, report=shard.artifact.report.model_copy(update={"candidates": pruned}))
    found = world(replace(shard, artifact=artifact), artifact=published())
    status = make(found, Finding(State.PUBLISHED, Reason.PUBLISHED, "m"), NOW)
    told = status.as_written()["candidates"]
    assert told == [{"name": "seed 1", "score": 75.0}, {"name": "seed 2", "score": 74.0, "bound": True}]


def test_no_field_of_a_status_is_empty() -> None:
    assert all(value not in ({}, []) for value in written(State.RUNNING).values())


@pytest.mark.parametrize("found", [None, {}, {"conditions": "?"}, {"conditions": [{"type": "Odd"}]}, {"round": "x"}])
def test_the_operator_ignores_a_status_that_it_did_not_write(found: Any) -> None:
    assert Status.of(found) == Status()


@pytest.mark.parametrize("figure", [{"lmCalls": -1}, {"totalTokens": 10**30}, {"costUSD": -0.1}, {"costUSD": 1e300}])
def test_the_operator_ignores_impossible_spending_in_a_status(figure: dict[str, Any]) -> None:
    assert Status.of({"usage": {"spent": {"lmCalls": 1, "totalTokens": 1, **figure}}}).spent == Spending()


# Events


def test_the_operator_sends_an_event_after_a_change_of_reason_round_or_run() -> None:
    first = make(world(), Finding(State.RUNNING, Reason.PLANNING, "m"), NOW)
    again = make(world(), Finding(State.RUNNING, Reason.PLANNING, "other words"), NOW)
    next_ = make(world(planned(0)), Finding(State.RUNNING, Reason.SCATTERING, "n"), NOW)
    assert [event.reason for event in reports.events(Status(), first)] == ["Planning"]
    assert reports.events(first, again) == ()
    assert [(event.type, event.reason) for event in reports.events(first, next_)] == [("Normal", "Scattering")]


def test_reasons_that_need_attention_lead_to_events_of_the_type_warning() -> None:
    failed = make(world(), Finding(State.FAILED, WorkerReason.DATA_INVALID, "m"), NOW)
    assert [event.type for event in reports.events(Status(), failed)] == ["Warning"]


@pytest.mark.parametrize(("verdict", "tells"), [("Worse", True), ("Same", False), ("Inconclusive", False)])
def test_a_published_program_that_scores_worse_than_before_is_told_once(verdict: str, tells: bool) -> None:
    before = make(world(), Finding(State.PUBLISHED, Reason.PUBLISHED, "m"), NOW)
    found = DriftStatus(verdict=verdict, difference=-12.5, low=-20, high=-5, examples=50)
    after = before.model_copy(update={"drift": found})
    events = reports.events(before, after)
    assert [(event.type, event.reason) for event in events] == [("Warning", "Drifted")] * tells
    assert all("on the same 50 examples: -12.5 points (-20.0 to -5.0)" in event.message for event in events)
    assert reports.events(after, after) == ()


def test_long_messages_of_conditions_and_events_are_cut() -> None:
    status = make(world(), Finding(State.FAILED, WorkerReason.DATA_INVALID, "x" * 10_000), NOW)
    assert len(status.conditions[0].message) == reports.MESSAGE_LIMIT
