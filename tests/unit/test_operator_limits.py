"""The operator keeps runs within spec.limits: it divides the rest, ends a run at a limit, and continues it later."""

from dataclasses import replace
from typing import Any

import pytest

from support.decisions import DEALT, PLAN, SETTINGS, WORK, WORK_0, Row, begin_plan, drop, over, publish, scatter
from support.operator_specs import spec
from support.worlds import (
    ARTIFACT,
    CLAIMED,
    IMAGE,
    NOW,
    RUN_ID,
    ago,
    assignment,
    cell,
    compilation,
    compiled,
    job,
    planned,
    pod,
    published,
    results,
    run,
    shard,
    world,
)
from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.decide.conditions import State, timestamp
from swarm_operator.compilation.decide.orders import PARTIAL_SECONDS
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import Action, KeepAssignment, StartJob
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import Compilation, World
from swarm_operator.compilation.status import ScoresStatus, Status
from swarm_operator.settings import Settings
from swarm_wire.messages import Commit, Ending, Pending, PlanEnd, PlanOutcome
from swarm_wire.report import Scores
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Allowance, Booked, Spending

SPENT = Commit(nonce="n", exit_code=75, reason="AllowanceSpent", message="no more")


def limited(status: Status | None = None, suspend: bool = False, **limits: Any) -> Compilation:
    given = spec(limits=limits, suspend=suspend)
    given["models"]["student"]["parameters"] = {"maxTokens": 100}
    return compilation(given, status=status)


def booked(calls: int, tokens: int = 0, account: str = "plan-0-1-0") -> Shard:
    told = Booked(account=account, spent=Spending(calls=calls, tokens=tokens), final=True)
    return shard(ObjectKind.RESULTS, 0, number=calls, booked=(told,))


def partial(limits: dict[str, Any], artifact: bool = True) -> Shard:
    """Returns the shard of a plan that ended with the best program so far."""
    ending = Ending(why="the run has ended by limits.lmCalls: 10", limits=Limits.model_validate(limits))
    end = PlanEnd(outcome=PlanOutcome.PARTIAL, round=1, binding="b", ending=ending)
    return shard(ObjectKind.RESULTS, 1, 1, plans=(end,), artifact=ARTIFACT if artifact else None)


def began(seconds: float) -> Status:
    return Status(run_id=RUN_ID, start_time=timestamp(ago(seconds)))


LATE = limited(began(61), wallClock=60)
LATER = Pending(key=cell(0, 3), number=1, retry_after=600, handle={}, message="fine-tuning job ftjob-1 is queued")
PARTIAL_JOB = job(PLAN, 1, is_partial=True)
REFUSED: dict[str, Any] = {"exit_code": 75, "commit": SPENT, "allowance": Allowance(calls=3)}
FAILED_BY_LIMIT = over(State.FAILED, Reason.LIMIT_REACHED)


def disrupted(attempts: int) -> dict[str, Any]:
    """Returns Jobs and pods of plans for the best program. Kubernetes disrupted each of the pods."""
    jobs = tuple(job(PLAN, 1, attempt, is_partial=True) for attempt in range(1, attempts + 1))
    return {"jobs": jobs, "pods": tuple(pod(each, exit_code=143, disrupted=True) for each in jobs)}


def last_plan(attempt: int, why: str, *journal: Shard | list[Shard], **limits: Any) -> Action:
    """Returns the start of the last plan, in round 1. The plan may not spend, and finds the best program so far."""
    ending = Ending(why=why, limits=Limits.model_validate(limits))
    return begin_plan(
        1,
        attempt,
        *journal,
        allowance=Allowance(calls=0),
        environment={"SWARM_PARTIAL": ending.to_json()},
        partial=why,
        seconds=PARTIAL_SECONDS,
    )


TABLE = [
    Row(
        "a run below its limits goes on",
        world(planned(0), booked(9), compilation=limited(lmCalls=10)),
        scatter(assignment(0, 1, [0]), planned(0), booked(9), each=Allowance(calls=1)),
    ),
    Row(
        "if no call is left for the missing cells, a last plan looks for the best program",
        world(planned(0), booked(10), compilation=limited(lmCalls=10)),
        [last_plan(1, "the run has ended by limits.lmCalls: 10", planned(0), booked(10), lmCalls=10)],
        reason=Reason.PLANNING,
        says=["limits.lmCalls: 10", "best program so far"],
    ),
    Row(
        "if no token is left for the missing cells, a last plan looks for the best program",
        world(planned(0), booked(1, 500), compilation=limited(totalTokens=500)),
        [last_plan(1, "the run has ended by limits.totalTokens: 500", planned(0), booked(1, 500), totalTokens=500)],
        says=["limits.totalTokens: 500"],
    ),
    Row(
        "a plan that may need no call starts although no call is left",
        world(planned(0), results(0, 0, 1, 2, 3), booked(10), compilation=limited(lmCalls=10)),
        [begin_plan(1, 1, planned(0), results(0, 0, 1, 2, 3), booked(10), allowance=Allowance(calls=0))],
    ),
    Row(
        "a plan that was refused a call ends the run",
        world(
            planned(0),
            results(0, 0, 1, 2, 3),
            booked(7),
            compilation=limited(lmCalls=10),
            jobs=(job(PLAN, 1),),
            pods=(pod(job(PLAN, 1), **REFUSED),),
        ),
        [
            last_plan(
                2,
                "another LM call or fine-tune might pass the limits: spent are 7 of limits.lmCalls: 10",
                planned(0),
                results(0, 0, 1, 2, 3),
                booked(7),
                lmCalls=10,
            )
        ],
        says=["7 of limits.lmCalls: 10"],
    ),
    Row(
        "a pod that was refused a call although it had the whole rest ends the run",
        world(
            planned(0),
            booked(7),
            compilation=limited(lmCalls=10),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), **REFUSED),),
        ),
        [
            last_plan(
                1,
                "another LM call or fine-tune might pass the limits: spent are 7 of limits.lmCalls: 10",
                planned(0),
                booked(7),
                lmCalls=10,
            )
        ],
        says=["another LM call or fine-tune might pass the limits", "7 of limits.lmCalls: 10"],
    ),
    Row(
        "with a higher limit, the cells of a pod that was refused a call get more calls",
        world(
            planned(0),
            booked(7),
            compilation=limited(lmCalls=20),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), **REFUSED),),
        ),
        scatter(assignment(0, 2, [0, 1, 2, 3]), planned(0), booked(7), each=Allowance(calls=13), seconds=7200),
        reason=Reason.SCATTERING,
    ),
    Row(
        "if two pods were refused calls, one pod gets the rest of both",
        world(
            planned(0),
            booked(4),
            compilation=limited(lmCalls=10),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(job(WORK, 0, completions=2),),
            pods=tuple(pod(job(WORK, 0, completions=2), index, **REFUSED) for index in (0, 1)),
        ),
        scatter(assignment(0, 2, [0, 1, 2, 3]), planned(0), booked(4), each=Allowance(calls=6), seconds=7200),
        reason=Reason.SCATTERING,
    ),
    Row(
        "if four pods were refused calls, one pod gets the rest of all",
        world(
            planned(0),
            booked(4),
            compilation=limited(lmCalls=10),
            assignments=(assignment(0, 1, [0], [1], [2], [3]),),
            jobs=(job(WORK, 0, completions=4),),
            pods=tuple(pod(job(WORK, 0, completions=4), index, **REFUSED) for index in range(4)),
        ),
        scatter(assignment(0, 2, [0, 1, 2, 3]), planned(0), booked(4), each=Allowance(calls=6), seconds=7200),
        reason=Reason.SCATTERING,
    ),
    Row(
        "at the limit of time, Jobs are deleted, which ends their pods",
        world(planned(0), compilation=LATE, jobs=(job(WORK, 0),), pods=(pod(job(WORK, 0)),)),
        [drop(WORK_0)],
        says=["limits.wallClock: 60", "its pods are ending"],
    ),
    Row(
        "at the limit of time, the operator waits for pods of deleted Jobs",
        world(planned(0), compilation=LATE, pods=(pod(job(WORK, 0), deleted_at=ago(-20)),)),
        [],
        reason=Reason.PLANNING,
        says=["its pods are ending"],
    ),
    Row(
        "before the next plan gets the rest of a limit, all pods of the round end",
        world(
            planned(0),
            results(0, 0, 1, 2, 3),
            compilation=limited(lmCalls=10),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0)),),
        ),
        [drop(WORK_0)],
        reason=Reason.PLANNING,
    ),
    Row(
        "a run can be suspended while its limit is raised",
        world(
            planned(0),
            booked(10),
            partial({"lmCalls": 10}),
            compilation=limited(FAILED_BY_LIMIT, suspend=True, lmCalls=20),
        ),
        [],
        State.SUSPENDED,
        reason=Reason.SUSPENDED,
    ),
    Row(
        "a continued run can be suspended",
        world(
            planned(0),
            booked(10),
            partial({"lmCalls": 10}),
            planned(2),
            compilation=limited(began(9), suspend=True, lmCalls=20),
        ),
        [],
        State.SUSPENDED,
        reason=Reason.SUSPENDED,
    ),
    Row(
        "at the limit of time without running pods, a last plan looks for the best program",
        world(planned(0), compilation=LATE),
        [last_plan(1, "the run has ended by limits.wallClock: 60", planned(0), wallClock=60)],
    ),
    Row(
        "before the limit of time, a run goes on",
        world(planned(0), compilation=limited(began(59), wallClock=60)),
        scatter(DEALT, planned(0)),
    ),
    Row(
        "the next pass over a suspended Job is at the limit of time",
        world(compilation=limited(began(20), wallClock=60), jobs=(job(PLAN, 0, suspended=True),)),
        [],
        reason=Reason.QUEUED,
        wake_up=40,
    ),
    Row(
        "a run that waits for a fine-tune ends at the limit of time, not at the next look",
        world(
            planned(0),
            results(0, 0, 1, 2),
            shard(ObjectKind.RESULTS, 0, 1, 701, pending={LATER.key: LATER}, created_at=ago(0)),
            assignments=(DEALT,),
            compilation=limited(began(20), wallClock=60),
        ),
        [],
        reason=Reason.WAITING_FOR_JOB,
        wake_up=40,
    ),
    Row(
        "the operator waits for a plan for the best program even if limits were raised",
        world(planned(0), booked(10), compilation=limited(lmCalls=20), jobs=(PARTIAL_JOB,), pods=(pod(PARTIAL_JOB),)),
        [],
        reason=Reason.PLANNING,
    ),
    Row(
        "a run fails when its plan for the best program has failed three times",
        world(
            planned(0),
            booked(10),
            compilation=limited(lmCalls=10),
            jobs=tuple(job(PLAN, 1, n, is_partial=True) for n in (1, 2, 3)),
            pods=tuple(pod(job(PLAN, 1, n, is_partial=True), exit_code=1) for n in (1, 2, 3)),
        ),
        [],
        State.FAILED,
        reason=Reason.ATTEMPTS_EXHAUSTED,
        says=["limits.lmCalls: 10"],
    ),
    Row(
        "a disrupted plan for the best program is repeated",
        world(planned(0), booked(10), compilation=limited(lmCalls=10), **disrupted(12)),
        [last_plan(13, "the run has ended by limits.lmCalls: 10", planned(0), booked(10), lmCalls=10)],
        reason=Reason.PLANNING,
    ),
    Row(
        "a run fails when its plan for the best program was disrupted thirteen times",
        world(planned(0), booked(10), compilation=limited(lmCalls=10), **disrupted(13)),
        [],
        State.FAILED,
        Reason.ATTEMPTS_EXHAUSTED,
    ),
    Row(
        "the best program is not published without limits.publishPartial",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compilation=limited(lmCalls=10)),
        [],
        State.FAILED,
        reason=Reason.LIMIT_REACHED,
        says=["limits.lmCalls: 10", "limits.publishPartial", "50 -> 75", "With higher limits the run goes on"],
    ),
    Row(
        "a run that a limit has ended may have no program to publish",
        world(planned(0), booked(10), partial({"lmCalls": 10}, artifact=False), compilation=limited(lmCalls=10)),
        [],
        State.FAILED,
        reason=Reason.LIMIT_REACHED,
        says=["No candidate was complete by then"],
    ),
    Row(
        "the best program is published with limits.publishPartial",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compilation=limited(lmCalls=10, publishPartial=True)),
        [publish(ARTIFACT, CLAIMED)],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "a published best program is called partial",
        world(
            planned(0),
            booked(10),
            partial({"lmCalls": 10}),
            compilation=limited(lmCalls=10, publishPartial=True),
            artifact=published(),
        ),
        [],
        State.PUBLISHED,
        reason=Reason.PUBLISHED_PARTIAL,
        says=["limits.lmCalls: 10", "not the optimizer's winner"],
    ),
    Row(
        "a winner replaces a partial artifact even with the same program, since its report differs",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compiled(2), artifact=published(partial="a limit")),
        [publish(ARTIFACT, published(partial="a limit"))],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "a run that a limit has ended stays ended",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compilation=limited(FAILED_BY_LIMIT, lmCalls=10)),
        [],
        state=None,
    ),
    Row(
        "with a higher limit, an ended run goes on with a plan that gets the remaining tasks",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compilation=limited(FAILED_BY_LIMIT, lmCalls=20)),
        [
            begin_plan(
                2, 1, planned(0), booked(10), partial({"lmCalls": 10}), tasks=planned(0), allowance=Allowance(calls=10)
            )
        ],
        reason=Reason.PLANNING,
    ),
    Row(
        "limits.publishPartial publishes the best program of a run that has already ended",
        world(
            planned(0),
            booked(10),
            partial({"lmCalls": 10}),
            compilation=limited(FAILED_BY_LIMIT, lmCalls=10, publishPartial=True),
        ),
        [publish(ARTIFACT, CLAIMED)],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "a higher limit does not continue a run that failed for another reason",
        world(
            planned(0),
            booked(10),
            compilation=limited(over(State.FAILED, Reason.ATTEMPTS_EXHAUSTED), lmCalls=20),
        ),
        [],
        state=None,
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_operator_decides_how_a_run_with_a_limit_continues(row: Row) -> None:
    row.holds()


def started(seen: World) -> StartJob:
    (action,) = (a for a in decide(seen, NOW, SETTINGS).actions if isinstance(a, StartJob))
    return action


def test_pods_share_the_rest_of_a_limit() -> None:
    seen = world(planned(0), booked(4, 400), compilation=limited(lmCalls=10, totalTokens=1000))
    work = started(seen)
    assert (work.role, work.pods, work.allowance) == (WORK, 2, Allowance(calls=3, tokens=300))


def test_a_recreated_job_gets_only_the_rest_of_a_limit() -> None:
    """A Job is created again if the operator died before, or if the Job was deleted or suspended without a result."""
    again = assignment(0, 1, [0, 1], [2, 3])
    work = started(world(planned(0), booked(4, 400), compilation=limited(lmCalls=10), assignments=(again,)))
    assert (work.role, work.attempt, work.pods, work.allowance) == (WORK, 1, 2, Allowance(calls=3))


def test_two_pods_with_the_same_name_and_different_uids_have_different_accounts() -> None:
    first = pod(job(WORK, 0), exit_code=0)
    assert first.account != replace(first, uid="another").account


def test_the_status_of_a_continued_run_shows_the_scores_of_its_last_plan() -> None:
    tasks, told = planned(2)
    end = told.plans[0].model_copy(update={"scores": Scores(baseline=40.0)})
    last = [tasks, replace(told, plans=(end,))]
    seen = world(planned(0), partial({"lmCalls": 10}), last, compilation=limited(lmCalls=20))
    assert decide(seen, NOW, SETTINGS).status.scores == ScoresStatus(baseline=40.0)  # type: ignore[union-attr]


def test_a_plan_may_spend_the_rest_of_the_limit_and_the_last_plan_nothing() -> None:
    assert started(world(booked(4), compilation=limited(lmCalls=10))).allowance == Allowance(calls=6)
    assert started(world()).allowance == Allowance()
    assert started(world(planned(0), booked(10), compilation=limited(lmCalls=10))).allowance == Allowance(calls=0)


def test_the_operator_starts_no_more_cells_than_the_limit_allows_calls() -> None:
    decided = decide(world(planned(0), booked(8), compilation=limited(lmCalls=10)), NOW, SETTINGS)
    (given,) = (action for action in decided.actions if isinstance(action, KeepAssignment))
    assert sum(len(ref.cells) for part in given.assignment.slices for ref in part) == 2


def test_the_status_shows_spending_and_limits() -> None:
    seen = world(planned(0), booked(4, 400), compilation=limited(lmCalls=10, wallClock=60))
    usage = decide(seen, NOW, SETTINGS).status.as_written()["usage"]  # type: ignore[union-attr]
    assert usage["spent"] == {"lmCalls": 4, "totalTokens": 400}
    assert usage["allowed"] == {"lmCalls": 10, "wallClock": 60}
    free = decide(world(planned(0)), NOW, SETTINGS).status.as_written()["usage"]  # type: ignore[union-attr]
    assert "spent" not in free
    assert "allowed" not in free


@pytest.mark.parametrize("raised", [{"lmCalls": 11}, {"lmCalls": 10, "publishPartial": True}, {}], ids=str)
def test_a_change_of_only_the_limits_continues_the_run(raised: dict[str, Any]) -> None:
    before = world().run
    assert before is not None
    request = before.request.model_copy(
        update={"spec": before.request.spec.model_copy(update={"limits": Limits(lm_calls=10)})}
    )
    status = Status(run_id=RUN_ID)
    assert compilation(spec(limits=raised), status=status, generation=2).continued(request).run_id == RUN_ID
    other = compilation(spec(limits=raised, metric={"entrypoint": "triage:other"}), status=status, generation=2)
    assert other.continued(request).run_id != RUN_ID
    longer = compilation(spec(limits={**raised, "cellSeconds": 7}), status=status, generation=2)
    assert longer.continued(request).run_id != RUN_ID, "how long a cell may take decides its outcome"


@pytest.mark.parametrize("limits", [{"requestsPerMinute": 60}, {"concurrency": 2, "group": "gpt"}, None], ids=str)
def test_a_change_of_rate_limits_continues_the_run(limits: Any) -> None:
    before, status = world().run, Status(run_id=RUN_ID)
    assert before is not None
    models = {"student": {**spec()["models"]["student"], "limits": limits}}
    seen = compilation(spec(models=models), status=status, generation=2).continued(before.request)
    assert seen.run_id == RUN_ID
    models["student"]["model"] = "openai/other"
    other = compilation(spec(models=models), status=status, generation=2)
    assert other.continued(before.request).run_id != RUN_ID


def trained_by(image: str) -> dict[str, Any]:
    """Returns the fields of a spec whose model a trainer trains."""
    output, base = {"url": "s3://models/adapters"}, {"name": "small", "path": "/base"}
    trainer = {"image": image, "base": base, "output": output, "serving": {"endpoint": "http://vllm/v1"}}
    return {"optimizer": {"bootstrapFinetune": {}}, "finetune": {"trainer": trainer}}


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"image": "registry.example/team/worker:1"}, True),
        ({"image": SETTINGS.worker_image}, True),
        ({"image": None}, True),
        ({"image": "registry.example/other/worker:1"}, False),
        ({"image": "evil.example/registry.example/team/worker:1"}, False),
        (trained_by("registry.example/team/trl:1"), True),
        (trained_by("registry.example/other/trl:1"), False),
        ({"swarm": {"serviceAccountName": "swarm-a"}}, True),
        ({"swarm": {"serviceAccountName": "admin"}}, False),
        ({"swarm": {}}, True),
    ],
    ids=str,
)
def test_an_administrator_restricts_images_and_service_accounts(changes: dict[str, Any], allowed: bool) -> None:
    settings = Settings(allowed_images=("registry.example/team/*", IMAGE), allowed_service_accounts=("swarm-?",))
    seen = world(compilation=compilation(spec(**changes)))
    decided = decide(seen, NOW, settings)
    started = [action for action in decided.actions if isinstance(action, StartJob)]
    reasons = {each.reason for each in decided.status.conditions}  # type: ignore[union-attr]
    assert bool(started) is allowed
    assert (Reason.RESTRICTED in reasons) is not allowed
    assert [action for action in decide(seen, NOW, SETTINGS).actions if isinstance(action, StartJob)]


@pytest.mark.parametrize(
    "forged", [{"image": "evil"}, {"swarm": {"serviceAccountName": "admin"}}, trained_by("evil")], ids=str
)
def test_a_forged_request_of_a_run_does_not_bypass_allowed_images_and_service_accounts(forged: dict[str, Any]) -> None:
    settings = Settings(allowed_images=(IMAGE,), allowed_service_accounts=("swarm-?",))
    honest = run()
    request = honest.request.model_copy(update={"spec": CompilationSpec.model_validate(spec(**forged))})
    seen = world(run=replace(honest, request=request, image=request.spec.image or honest.image))
    decided = decide(seen, NOW, settings)
    assert not decided.actions
    assert {each.reason for each in decided.status.conditions} == {Reason.RESTRICTED}  # type: ignore[union-attr]


def test_a_spec_with_rate_limits_is_refused_without_a_limiter() -> None:
    student = {**spec()["models"]["student"], "limits": {"requestsPerMinute": 60}}
    seen = world(compilation=compilation(spec(models={"student": student})))
    ended = decide(seen, NOW, SETTINGS)
    assert not [action for action in ended.actions if isinstance(action, StartJob)]
    [stalled] = [each for each in ended.status.conditions if each.type == "Stalled"]  # type: ignore[union-attr]
    assert stalled.reason == Reason.NO_LIMITER
    assert "models.student.limits" in stalled.message
    assert "limiter.enabled: true" in stalled.message
    kept = decide(seen, NOW, Settings(limiter="limiter.system.svc:7070"))
    assert [action for action in kept.actions if isinstance(action, StartJob)]
