"""spec.limits as a table: what is left, who is given what, how a limit ends a run, and how it goes on."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from support.operator_specs import spec
from support.wire import printed
from support.worlds import (
    ARTIFACT,
    IMAGE,
    NOW,
    RUN_ID,
    ago,
    assignment,
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
from swarm_operator.compilation.api import ObjectKind, Reason, ScoresStatus, Status
from swarm_operator.compilation.decide.conditions import CONDITIONS, State, timestamp
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import Action, DropJob, StartPlan, StartWork
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.model.world import Compilation, Pod, World
from swarm_operator.compilation.observe import harvest
from swarm_operator.compilation.observe.harvest import Output
from swarm_operator.settings import Settings
from swarm_wire.messages import Commit, Ending, PlanEnd, PlanOutcome
from swarm_wire.names import ExitCode
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Allowance, Booked, Spending

PLAN, WORK = ObjectKind.PLAN, ObjectKind.WORK
SETTINGS = Settings()
SPENT = Commit(nonce="n", exit_code=75, reason="AllowanceSpent", message="no more")


def limited(status: Status | None = None, suspend: bool = False, **limits: Any) -> Compilation:
    given = spec(limits=limits, suspend=suspend)
    given["models"]["student"]["parameters"] = {"maxTokens": 100}
    return compilation(given, status=status)


def booked(calls: int, tokens: int = 0, account: str = "plan-0-1-0") -> Shard:
    told = Booked(account=account, spent=Spending(calls=calls, tokens=tokens), final=True)
    return shard(ObjectKind.RESULTS, 0, number=calls, booked=(told,))


def partial(limits: dict[str, Any], artifact: bool = True) -> Shard:
    """The end of a plan that brought the best program so far."""
    ending = Ending(why="the run has ended by limits.lmCalls: 10", limits=Limits.model_validate(limits))
    end = PlanEnd(outcome=PlanOutcome.PARTIAL, round=1, binding="b", ending=ending)
    return shard(ObjectKind.RESULTS, 1, 1, plans=(end,), artifact=ARTIFACT if artifact else None)


def over(state: State, reason: Reason) -> Status:
    """What the status says of a run that is over."""
    conditions = [
        {
            "type": type_,
            "status": truth,
            "observedGeneration": 1,
            "lastTransitionTime": timestamp(NOW),
            "reason": reason,
            "message": "",
        }
        for type_, truth in CONDITIONS[state].items()
    ]
    return Status.of({"observedGeneration": 1, "runId": RUN_ID, "conditions": conditions})


def began(seconds: float) -> Status:
    return Status(run_id=RUN_ID, start_time=timestamp(ago(seconds)))


LATE = limited(began(61), wallClock=60)
PARTIAL_JOB = job(PLAN, 1, is_partial=True)
REFUSED: dict[str, Any] = {"exit_code": 75, "commit": SPENT, "allowance": Allowance(calls=3)}
FAILED_BY_LIMIT = over(State.FAILED, Reason.LIMIT_REACHED)


@dataclass
class Row:
    name: str
    world: World
    actions: list[str]
    reason: Reason | None = None
    says: list[str] = field(default_factory=list)


TABLE = [
    Row("a run below its limits goes on", world(planned(0), booked(9), compilation=limited(lmCalls=10)), ["StartWork"]),
    Row(
        "nothing is left for the cells that are missing",
        world(planned(0), booked(10), compilation=limited(lmCalls=10)),
        ["StartPlan, the last"],
        Reason.PLANNING,
        ["limits.lmCalls: 10", "best program so far"],
    ),
    Row(
        "tokens are counted likewise",
        world(planned(0), booked(1, 500), compilation=limited(totalTokens=500)),
        ["StartPlan, the last"],
        says=["limits.totalTokens: 500"],
    ),
    Row(
        "a plan that may need no call is begun",
        world(planned(0), results(0, 0, 1, 2, 3), booked(10), compilation=limited(lmCalls=10)),
        ["StartPlan"],
    ),
    Row(
        "a plan that needed one ends the run",
        world(
            planned(0),
            results(0, 0, 1, 2, 3),
            booked(7),
            compilation=limited(lmCalls=10),
            jobs=(job(PLAN, 1),),
            pods=(pod(job(PLAN, 1), **REFUSED),),
        ),
        ["StartPlan, the last"],
        says=["7 of limits.lmCalls: 10"],
    ),
    Row(
        "one pod that had all that was left ends the run",
        world(
            planned(0),
            booked(7),
            compilation=limited(lmCalls=10),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), **REFUSED),),
        ),
        ["StartPlan, the last"],
        says=["another LM call might pass the limits", "7 of limits.lmCalls: 10"],
    ),
    Row(
        "with a higher limit it is given more",
        world(
            planned(0),
            booked(7),
            compilation=limited(lmCalls=20),
            assignments=(assignment(0, 1, [0, 1, 2, 3]),),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0), **REFUSED),),
        ),
        ["StartWork"],
        Reason.SCATTERING,
    ),
    Row(
        "several pods' last shares are put together",
        world(
            planned(0),
            booked(4),
            compilation=limited(lmCalls=10),
            assignments=(assignment(0, 1, [0, 1], [2, 3]),),
            jobs=(job(WORK, 0, completions=2),),
            pods=tuple(pod(job(WORK, 0, completions=2), index, **REFUSED) for index in (0, 1)),
        ),
        ["StartWork"],
        Reason.SCATTERING,
    ),
    Row(
        "when the time is over, pods are ended",
        world(planned(0), compilation=LATE, jobs=(job(WORK, 0),), pods=(pod(job(WORK, 0)),)),
        ["DropJob"],
        says=["limits.wallClock: 60", "its pods are ending"],
    ),
    Row(
        "pods whose Jobs are gone are waited for",
        world(planned(0), compilation=LATE, pods=(pod(job(WORK, 0), deleted_at=ago(-20)),)),
        [],
        Reason.PLANNING,
        ["its pods are ending"],
    ),
    Row(
        "a plan is given what is left when all accounts are closed",
        world(
            planned(0),
            results(0, 0, 1, 2, 3),
            compilation=limited(lmCalls=10),
            jobs=(job(WORK, 0),),
            pods=(pod(job(WORK, 0)),),
        ),
        ["DropJob"],
        Reason.PLANNING,
    ),
    Row(
        "while a run goes on that a limit had ended, it can be suspended",
        world(
            planned(0),
            booked(10),
            partial({"lmCalls": 10}),
            compilation=limited(FAILED_BY_LIMIT, suspend=True, lmCalls=20),
        ),
        [],
        Reason.SUSPENDED,
    ),
    Row(
        "also when it has planned on",
        world(
            planned(0),
            booked(10),
            partial({"lmCalls": 10}),
            planned(2),
            compilation=limited(began(9), suspend=True, lmCalls=20),
        ),
        [],
        Reason.SUSPENDED,
    ),
    Row("then the best program is looked for", world(planned(0), compilation=LATE), ["StartPlan, the last"]),
    Row("before that, nothing happens", world(planned(0), compilation=limited(began(59), wallClock=60)), ["StartWork"]),
    Row(
        "a plan for the best program is waited for, whatever the limits are now",
        world(planned(0), booked(10), compilation=limited(lmCalls=20), jobs=(PARTIAL_JOB,), pods=(pod(PARTIAL_JOB),)),
        [],
        Reason.PLANNING,
    ),
    Row(
        "a plan for the best program that fails is tried again, but not for ever",
        world(
            planned(0),
            booked(10),
            compilation=limited(lmCalls=10),
            jobs=tuple(job(PLAN, 1, n, is_partial=True) for n in (1, 2, 3)),
            pods=tuple(pod(job(PLAN, 1, n, is_partial=True), exit_code=1) for n in (1, 2, 3)),
        ),
        [],
        Reason.ATTEMPTS_EXHAUSTED,
        ["limits.lmCalls: 10"],
    ),
    Row(
        "the best program is not published without a word for it",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compilation=limited(lmCalls=10)),
        [],
        Reason.LIMIT_REACHED,
        ["limits.lmCalls: 10", "limits.publishPartial", "50 -> 75", "With higher limits the run goes on"],
    ),
    Row(
        "there may be none",
        world(planned(0), booked(10), partial({"lmCalls": 10}, artifact=False), compilation=limited(lmCalls=10)),
        [],
        Reason.LIMIT_REACHED,
        ["No candidate was complete by then"],
    ),
    Row(
        "with a word for it, it is",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compilation=limited(lmCalls=10, publishPartial=True)),
        ["Publish"],
        Reason.PUBLISHING,
    ),
    Row(
        "and is called partial",
        world(
            planned(0),
            booked(10),
            partial({"lmCalls": 10}),
            compilation=limited(lmCalls=10, publishPartial=True),
            artifact=published(),
        ),
        [],
        Reason.PUBLISHED_PARTIAL,
        ["limits.lmCalls: 10", "not the optimizer's winner"],
    ),
    Row(
        "a winner that is the same program is published anew: its report is another",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compiled(2), artifact=published(partial="a limit")),
        ["Publish"],
        Reason.PUBLISHING,
    ),
    Row(
        "a run that a limit has ended stays ended",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compilation=limited(FAILED_BY_LIMIT, lmCalls=10)),
        [],
    ),
    Row(
        "with a higher limit it goes on",
        world(planned(0), booked(10), partial({"lmCalls": 10}), compilation=limited(FAILED_BY_LIMIT, lmCalls=20)),
        ["StartPlan"],
        Reason.PLANNING,
    ),
    Row(
        "when its best program is wanted after all, that is published",
        world(
            planned(0),
            booked(10),
            partial({"lmCalls": 10}),
            compilation=limited(FAILED_BY_LIMIT, lmCalls=10, publishPartial=True),
        ),
        ["Publish"],
        Reason.PUBLISHING,
    ),
    Row(
        "a run that failed for another reason does not",
        world(
            planned(0),
            booked(10),
            compilation=limited(over(State.FAILED, Reason.ATTEMPTS_EXHAUSTED), lmCalls=20),
        ),
        [],
    ),
]


def shown(action: Action) -> str:
    last = ", the last" if isinstance(action, StartPlan) and action.ending else ""
    return type(action).__name__ + last


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_decision(row: Row) -> None:
    decision = decide(row.world, NOW, SETTINGS)
    assert [shown(action) for action in decision.actions if not isinstance(action, DropJob)] == [
        action for action in row.actions if action != "DropJob"
    ]
    dropped = any(isinstance(action, DropJob) for action in (*decision.actions, *decision.tidying))
    assert ("DropJob" in row.actions) <= dropped
    if row.reason or row.says:
        assert decision.status is not None
        condition = decision.status.conditions[0]
        assert row.reason in (None, condition.reason)
        for part in row.says:
            assert part in condition.message


def started(seen: World) -> StartPlan | StartWork:
    (action,) = (a for a in decide(seen, NOW, SETTINGS).actions if isinstance(a, StartPlan | StartWork))
    return action


def test_pods_share_what_is_left() -> None:
    seen = world(planned(0), booked(4, 400), compilation=limited(lmCalls=10, totalTokens=1000))
    work = started(seen)
    assert isinstance(work, StartWork)
    assert len(work.assignment.slices) == 2
    assert work.allowance == Allowance(calls=3, tokens=300)


def test_a_job_that_is_made_again_is_given_no_more_than_is_left() -> None:
    """Its operator died before it was written; it was suspended before it brought anything; or it was deleted."""
    again = assignment(0, 1, [0, 1], [2, 3])
    work = started(world(planned(0), booked(4, 400), compilation=limited(lmCalls=10), assignments=(again,)))
    assert isinstance(work, StartWork)
    assert (work.assignment, work.allowance) == (again.assignment, Allowance(calls=3))


def test_two_pods_of_one_name_have_two_accounts() -> None:
    first = pod(job(WORK, 0), exit_code=0)
    assert first.account != replace(first, uid="another").account


def test_the_scores_of_a_run_that_goes_on_are_those_of_its_last_plan() -> None:
    seen = world(planned(0), partial({"lmCalls": 10}), planned(2), compilation=limited(lmCalls=20))
    assert decide(seen, NOW, SETTINGS).status.scores == ScoresStatus()  # type: ignore[union-attr]


def test_a_plan_gets_all_of_it_and_the_last_one_nothing() -> None:
    assert started(world(booked(4), compilation=limited(lmCalls=10))).allowance == Allowance(calls=6)
    assert started(world()).allowance == Allowance()
    assert started(world(planned(0), booked(10), compilation=limited(lmCalls=10))).allowance == Allowance(calls=0)


def test_no_more_cells_are_begun_than_there_are_calls() -> None:
    work = started(world(planned(0), booked(8), compilation=limited(lmCalls=10)))
    assert isinstance(work, StartWork)
    assert sum(len(ref.cells) for part in work.assignment.slices for ref in part) == 2


def test_the_status_tells_what_is_spent_and_allowed() -> None:
    seen = world(planned(0), booked(4, 400), compilation=limited(lmCalls=10, wallClock=60))
    usage = decide(seen, NOW, SETTINGS).status.as_written()["usage"]  # type: ignore[union-attr]
    assert usage["spent"] == {"lmCalls": 4, "totalTokens": 400}
    assert usage["allowed"] == {"lmCalls": 10, "wallClock": 60}
    free = decide(world(planned(0)), NOW, SETTINGS).status.as_written()["usage"]  # type: ignore[union-attr]
    assert "spent" not in free
    assert "allowed" not in free


@pytest.mark.parametrize("raised", [{"lmCalls": 11}, {"lmCalls": 10, "publishPartial": True}, {}], ids=str)
def test_a_run_goes_on_through_a_change_of_its_limits_alone(raised: dict[str, Any]) -> None:
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
def test_a_run_goes_on_through_a_change_of_how_fast_a_provider_may_be_asked(limits: Any) -> None:
    before, status = world().run, Status(run_id=RUN_ID)
    assert before is not None
    models = {"student": {**spec()["models"]["student"], "limits": limits}}
    seen = compilation(spec(models=models), status=status, generation=2).continued(before.request)
    assert seen.run_id == RUN_ID
    models["student"]["model"] = "openai/other"
    other = compilation(spec(models=models), status=status, generation=2)
    assert other.continued(before.request).run_id != RUN_ID


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"image": "registry.example/team/worker:1"}, True),
        ({"image": SETTINGS.worker_image}, True),
        ({"image": None}, True),
        ({"image": "registry.example/other/worker:1"}, False),
        ({"image": "evil.example/registry.example/team/worker:1"}, False),
        ({"swarm": {"serviceAccountName": "swarm-a"}}, True),
        ({"swarm": {"serviceAccountName": "admin"}}, False),
        ({"swarm": {}}, True),
    ],
    ids=str,
)
def test_an_administrator_says_which_images_and_service_accounts_may_be_used(
    changes: dict[str, Any], allowed: bool
) -> None:
    settings = Settings(allowed_images=("registry.example/team/*", IMAGE), allowed_service_accounts=("swarm-?",))
    seen = world(compilation=compilation(spec(**changes)))
    decided = decide(seen, NOW, settings)
    started = [action for action in decided.actions if isinstance(action, StartPlan)]
    reasons = {each.reason for each in decided.status.conditions}  # type: ignore[union-attr]
    assert bool(started) is allowed
    assert (Reason.RESTRICTED in reasons) is not allowed
    assert [action for action in decide(seen, NOW, SETTINGS).actions if isinstance(action, StartPlan)]


@pytest.mark.parametrize("forged", [{"image": "evil"}, {"swarm": {"serviceAccountName": "admin"}}], ids=str)
def test_nor_does_a_request_get_around_it_that_somebody_else_wrote(forged: dict[str, Any]) -> None:
    settings = Settings(allowed_images=(IMAGE,), allowed_service_accounts=("swarm-?",))
    honest = run()
    request = honest.request.model_copy(update={"spec": CompilationSpec.model_validate(spec(**forged))})
    seen = world(run=replace(honest, request=request, image=request.spec.image or honest.image))
    decided = decide(seen, NOW, settings)
    assert not decided.actions
    assert {each.reason for each in decided.status.conditions} == {Reason.RESTRICTED}  # type: ignore[union-attr]


def test_without_a_limiter_nobody_would_keep_the_limits_of_a_model() -> None:
    student = {**spec()["models"]["student"], "limits": {"requestsPerMinute": 60}}
    seen = world(compilation=compilation(spec(models={"student": student})))
    ended = decide(seen, NOW, SETTINGS)
    assert not [action for action in ended.actions if isinstance(action, StartPlan)]
    [stalled] = [each for each in ended.status.conditions if each.type == "Stalled"]  # type: ignore[union-attr]
    assert stalled.reason == Reason.NO_LIMITER
    assert "models.student.limits" in stalled.message
    assert "limiter.enabled: true" in stalled.message
    kept = decide(seen, NOW, Settings(limiter="limiter.system.svc:7070"))
    assert [action for action in kept.actions if isinstance(action, StartPlan)]


# --- what pods that are over have spent --------------------------------------------------------------------------


def told(calls: int) -> Record:
    return Record(RecordKind.BOOKED, Booked(spent=Spending(calls=calls)).to_header())


@pytest.mark.parametrize(
    ("commit", "records", "lost", "calls"),
    [
        (None, [told(0)], False, 0),
        (None, [told(0), told(6)], False, 6),
        # Where even the record is not there with which it begins, its log was rotated away.
        (None, [], False, 9),
        (None, [told(3)], True, 9),
        (None, [], True, 9),
        (Commit(nonce="n", exit_code=0, spent=Spending(calls=5)), [told(6)], False, 5),
        (Commit(nonce="n", exit_code=0, spent=Spending(calls=5)), [], True, 5),
        (Commit(nonce="n", exit_code=0), [told(6)], False, 6),
        (None, [Record(RecordKind.BOOKED, {"spent": {"calls": -1}})], False, 9),
    ],
)
def test_what_a_pod_spent(commit: Commit | None, records: list[Record], lost: bool, calls: int) -> None:
    found = pod(job(WORK, 0), commit=commit, exit_code=137, allowance=Allowance(calls=9))
    assert harvest.spent(printed_by(found, records, lost)) == Spending(calls=calls)


def printed_by(pod: Pod, records: list[Record], lost: bool = False) -> Output:
    lines, _ = printed(records, "nonce-of-this")
    found = harvest.transcribed(pod, "".join(lines).encode(), "nonce-of-this", Journal())
    return replace(found, final=True, lost=lost)


@pytest.mark.parametrize("fields", [{"exit_code": int(ExitCode.INTERRUPTED)}, {"started": False}], ids=str)
def test_a_pod_that_ended_before_it_could_say_anything_has_spent_nothing(fields: dict[str, Any]) -> None:
    found = pod(job(WORK, 0), allowance=Allowance(calls=9), **fields)
    assert harvest.spent(printed_by(found, [])) == Spending()


def harvested(journal: Journal, *pods: Pod) -> list[dict[str, Any]]:
    found = harvest.harvest((Output(each, final=each.ended, lost=each.started) for each in pods), journal)
    return [record.header for records in found.results.values() for record in records]


def test_a_pod_is_booked_once_when_it_is_over() -> None:
    of = job(WORK, 0, completions=3)
    ended = pod(of, 0, exit_code=137, allowance=Allowance(calls=9))
    in_order = Commit(nonce="n", exit_code=0, spent=Spending())
    others = pod(of, 2, exit_code=137), pod(of, 3, exit_code=0, commit=in_order), pod(of, 4, exit_code=1, started=False)
    pods = ended, pod(of, 1, allowance=Allowance(calls=9)), *others
    account = {
        "account": ended.account,
        "spent": {"calls": 9, "tokens": 0, "microUsd": 0},
        "final": True,
        "repeated": 1,
    }
    killed = {
        "account": others[0].account,
        "spent": {"calls": 1, "tokens": 0, "microUsd": 0},
        "final": True,
        "repeated": 1,
    }
    assert harvested(Journal(), *pods) == [account, killed]
    booked = tuple(map(Booked.model_validate, (account, killed)))
    kept = Journal([shard(ObjectKind.RESULTS, 0, booked=booked)])
    assert harvested(kept, *pods) == []
    assert (kept.accounts.total, kept.accounts.repeated) == (Spending(calls=10), 2)
