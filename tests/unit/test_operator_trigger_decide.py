"""A trigger begins a run for each cause, once, unless its spec says otherwise. The status says what came of it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.operator_specs import spec
from swarm_operator.compilation.decide.conditions import timestamp
from swarm_operator.compilation.model.world import Key
from swarm_operator.trigger import causes
from swarm_operator.trigger.api import KIND, Reason
from swarm_operator.trigger.causes import Cause
from swarm_operator.trigger.decide import Decision, StartRun, decide
from swarm_operator.trigger.spec import Schedule, TriggerSpec
from swarm_operator.trigger.status import CauseStatus, RunStatus, TriggerStatus
from swarm_operator.trigger.world import Owned, World

KEY = Key("team", "nightly", "uid-1")
NOW = datetime(2026, 11, 30, 2, 0, 10, tzinfo=UTC)
TWO = NOW.replace(second=0)
CREATED = NOW - timedelta(days=3)
NIGHTLY = [{"cron": "0 2 * * *"}]
CAUSE = f"schedule {timestamp(TWO)}"
LIMITED = {"limits": {"costUSD": 5.0}}


def template(**changes: Any) -> dict[str, Any]:
    made = {**spec(), **changes}
    for model in made["models"].values():
        model["parameters"] = {"maxTokens": 100}
    return {"spec": made}


FILE = {"path": "data/train.jsonl"}
WITHOUT_CONFIG_MAPS = template(
    program={"entrypoint": "a:B"}, data={"inputs": ["ticket"], "train": FILE, "validation": FILE}
)


def a_trigger(**fields: Any) -> dict[str, Any]:
    return {"template": template(), "schedules": NIGHTLY, **fields}


def handled(at: datetime) -> CauseStatus:
    return CauseStatus(cause=f"schedule {timestamp(at)}", time=timestamp(at), outcome="Started", message="m")


def run(run_id: str, start: datetime, end: datetime | None, usd: float | None = None, cause: str = "") -> RunStatus:
    return RunStatus(
        run_id=run_id,
        cause=cause,
        start_time=timestamp(start),
        completion_time=timestamp(end) if end else None,
        cost_usd=usd,
    )


def world(given: dict[str, Any] | None = None, owned: Owned | None = None, **status: Any) -> World:
    return World(KEY, "7", 3, CREATED, False, given or a_trigger(), TriggerStatus(**status), owned)


YESTERDAY = TWO - timedelta(days=1)
DONE = Owned(True, f"schedule {timestamp(YESTERDAY)}", True, run("r1", YESTERDAY, YESTERDAY + timedelta(hours=1)))
BUSY = Owned(True, f"schedule {timestamp(YESTERDAY)}", False, run("r1", YESTERDAY, None))


@dataclass
class Row:
    name: str
    world: World
    outcome: Reason | None
    begins: bool = False
    says: list[str] = field(default_factory=list)
    now: datetime = NOW

    def decided(self) -> Decision:
        return decide(self.world, self.now)


ROWS = [
    Row("a time of the schedule begins a run", world(last=handled(YESTERDAY), owned=DONE), Reason.STARTED, True),
    Row("the first run needs no Compilation", world(last=handled(YESTERDAY)), Reason.STARTED, True),
    Row(
        "before its time, no run begins",
        world(last=handled(YESTERDAY)),
        None,
        now=TWO - timedelta(minutes=1),
        says=["the next time of the schedules is 2026-11-30 02:00 UTC."],
    ),
    Row("a time before the trigger was created begins no run", world(), None, now=CREATED + timedelta(minutes=1)),
    Row("a cause whose run has begun begins no other", world(last=handled(TWO), owned=DONE), None),
    Row(
        "a cause whose run began before the operator died is not repeated",
        world(last=handled(YESTERDAY), owned=Owned(True, CAUSE, False)),
        Reason.STARTED,
    ),
    Row(
        "an operator that was away for days begins one run, for the newest time",
        world(last=handled(TWO - timedelta(days=2))),
        Reason.STARTED,
        True,
    ),
    Row(
        "a cause that is seen too late begins no run",
        world(a_trigger(startingDeadlineSeconds=5), last=handled(YESTERDAY)),
        Reason.MISSED,
        says=["10 s late (startingDeadlineSeconds)"],
    ),
    Row(
        "while a run is under way, no other begins",
        world(owned=BUSY, last=handled(YESTERDAY)),
        Reason.STILL_RUNNING,
        says=["concurrencyPolicy: Forbid"],
    ),
    Row(
        "with Replace, a new run takes the place of the one under way",
        world(a_trigger(concurrencyPolicy="Replace"), BUSY, last=handled(YESTERDAY)),
        Reason.STARTED,
        True,
    ),
    Row(
        "a cause too soon after the run before begins no run",
        world(
            a_trigger(minIntervalSeconds=3600),
            Owned(True, "by hand", True, run("r1", NOW - timedelta(minutes=30), NOW)),
            last=handled(YESTERDAY),
        ),
        Reason.TOO_SOON,
        says=["minIntervalSeconds"],
    ),
    Row(
        "a budget that is spent begins no run",
        world(
            a_trigger(dailyBudgetUSD=2),
            last=handled(YESTERDAY),
            runs=[run("r1", TWO - timedelta(hours=3), TWO - timedelta(hours=2), 2.0)],
        ),
        Reason.BUDGET_SPENT,
        says=["2 of 2 USD (dailyBudgetUSD)"],
    ),
    Row(
        "the run of the night before does not count for the budget of this night",
        world(
            a_trigger(dailyBudgetUSD=2),
            last=handled(YESTERDAY),
            runs=[run("r1", YESTERDAY + timedelta(seconds=20), YESTERDAY + timedelta(hours=5), 2.0, DONE.cause)],
        ),
        Reason.STARTED,
        True,
    ),
    Row(
        "a suspended trigger begins no run",
        world(a_trigger(suspend=True), last=handled(YESTERDAY)),
        Reason.SUSPENDED,
    ),
    Row(
        "a time before a change of the spec begins no run",
        world(last=handled(TWO - timedelta(days=2)), observed_generation=2),
        None,
    ),
    Row(
        "after a clock that was a year ahead, causes begin runs again",
        world(last=handled(TWO + timedelta(days=365)), runs=[run("r1", YESTERDAY, YESTERDAY, cause=DONE.cause)]),
        Reason.STARTED,
        True,
    ),
    Row(
        "a clock that was set back begins no run again",
        world(last=handled(TWO + timedelta(hours=3)), runs=[run("r1", TWO, NOW, cause=CAUSE)]),
        None,
        now=TWO + timedelta(hours=1),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_cause_begins_a_run_unless_the_spec_says_otherwise(row: Row) -> None:
    decided = row.decided()
    assert decided.status is not None
    assert (decided.action is not None) == row.begins
    [ready] = decided.status.conditions
    assert (ready.type, ready.status) == ("Ready", "True")
    if row.outcome is None:
        assert decided.events == ()
    else:
        assert decided.status.last is not None
        assert (decided.status.last.cause, decided.status.last.outcome) == (CAUSE, row.outcome)
        [event] = decided.events
        assert event.reason == row.outcome
    for part in row.says:
        assert part in ready.message


def test_a_run_gets_what_is_left_of_the_budget_as_its_limit() -> None:
    paid = [run("r1", TWO - timedelta(hours=3), TWO - timedelta(hours=2), 1.5)]
    for written, wanted in (({}, 0.5), ({"limits": {"costUSD": 0.2}}, 0.2), (LIMITED, 0.5)):
        given = {"template": template(**written), "schedules": NIGHTLY, "dailyBudgetUSD": 2}
        decided = decide(world(given, last=handled(YESTERDAY), runs=paid), NOW)
        assert decided.action is not None
        assert decided.action.limit_usd == wanted
        assert decided.status is not None
        assert decided.status.spent_usd == 1.5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schedules": [{"cron": "61 2 * * *"}]}, "spec.schedules.0.cron: "),
        ({"schedules": [{"cron": "0 2 * * *", "timeZone": "Berlin"}]}, "there is no such time zone"),
        ({"schedules": []}, "nothing begins a run: write schedules, git, configMaps or models"),
        (
            {"schedules": [], "git": {}},
            "git watches the repository of template.spec.program.source.git, which is not set",
        ),
        ({"configMaps": True, "template": WITHOUT_CONFIG_MAPS}, "takes neither program nor data"),
        ({"recompileOnDrift": True}, "template.spec.drift is not set"),
        ({"recompileOnDrift": True, "template": template(drift={})}, "needs template.spec.data.test"),
        ({"reuse": "none", "template": template(drift={})}, "write reuse: answers"),
        (
            {"template": {"spec": {**spec(), "metrc": {}}}},
            "spec.template.spec.metrc is not a field. Did you mean metric?",
        ),
        ({"dailyBudgetUSD": 1, "template": {"spec": spec()}}, "maxTokens"),
        ({"minInterval": 5}, "Did you mean minIntervalSeconds?"),
        ({"schedules": [{"cron": "* * * * * *"}]}, "write five fields"),
        ({"schedules": [{"cron": "0 0 31 2 *"}]}, "spec.schedules.0.cron: "),
        ({"schedules": [{"cron": "0 2 * * *", "timeZone": "Europe"}]}, "there is no such time zone"),
    ],
)
def test_a_mistake_in_the_spec_stalls_the_trigger_and_is_named(changes: dict[str, Any], says: str) -> None:
    status = decide(world(a_trigger(**changes)), NOW).status
    assert status is not None
    assert {(found.type, found.status, found.reason) for found in status.conditions} == {
        ("Ready", "False", "InvalidSpec"),
        ("Stalled", "True", "InvalidSpec"),
    }
    assert says in status.conditions[0].message


def test_a_compilation_of_somebody_else_is_left_alone() -> None:
    decided = decide(world(owned=Owned(False), last=handled(YESTERDAY)), NOW)
    assert decided.action is None
    assert decided.status is not None
    assert decided.status.conditions[0].reason == "NameTaken"


def test_the_status_lists_the_latest_runs_and_keeps_their_cost() -> None:
    long_ago = TWO - timedelta(days=9)
    before = [run(f"r{number}", long_ago, long_ago, 0.1) for number in range(10)]
    current = run("r10", TWO, None, 0.3, CAUSE)
    decided = decide(world(owned=Owned(True, CAUSE, False, current), last=handled(TWO), runs=before), NOW)
    assert decided.status is not None
    assert [found.run_id for found in decided.status.runs] == ["r10", *(f"r{number}" for number in range(9))]
    # A journal that is deleted takes the cost out of the Compilation's status.
    later = Owned(True, CAUSE, True, current.model_copy(update={"cost_usd": None, "completion_time": timestamp(NOW)}))
    decided = decide(world(owned=later, last=handled(TWO), runs=[current]), NOW)
    assert decided.status is not None
    assert decided.status.runs[0].cost_usd == 0.3


def test_a_run_that_another_has_replaced_counts_with_its_limit() -> None:
    replaced = run("r1", TWO - timedelta(hours=1), None, 0.2).model_copy(update={"limit_usd": 1.0})
    current = run("r2", TWO, None, 0.1, CAUSE)
    decided = decide(world(owned=Owned(True, CAUSE, False, current), last=handled(TWO), runs=[replaced]), NOW)
    assert decided.status is not None
    [_, closed] = decided.status.runs
    assert (closed.cost_usd, closed.completion_time) == (1.0, timestamp(NOW))


@pytest.mark.parametrize(
    ("cron", "zone", "now", "before", "after"),
    [
        ("0 2 * * *", "UTC", "2026-11-30T02:00:00Z", "2026-11-30T02:00:00Z", "2026-12-01T02:00:00Z"),
        ("0 2 * * *", "Europe/Berlin", "2026-11-30T02:00:00Z", "2026-11-30T01:00:00Z", "2026-12-01T01:00:00Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T03:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"),
        ("0 9 * * 1-5", "UTC", "2026-11-28T12:00:00Z", "2026-11-27T09:00:00Z", "2026-11-30T09:00:00Z"),
    ],
    ids=["UTC", "another zone", "a time that the change to summer time leaves out", "working days"],
)
def test_times_are_those_of_the_time_zone(cron: str, zone: str, now: str, before: str, after: str) -> None:
    schedule, moment = Schedule(cron=cron, time_zone=zone), datetime.fromisoformat(now)
    assert causes.due([schedule], moment - timedelta(days=7), moment) == Cause(datetime.fromisoformat(before))
    assert causes.upcoming([schedule], moment) == datetime.fromisoformat(after)


MINUTES = st.lists(st.integers(1, 90), min_size=1, max_size=60)
CRONS = st.lists(st.sampled_from(["*/7 * * * *", "0 * * * *", "15,45 * * * *", "0 2 * * *"]), min_size=1, max_size=3)


@given(steps=MINUTES, crons=CRONS, dies=st.lists(st.booleans(), min_size=60, max_size=60), minutes=st.integers(0, 40))
def test_each_cause_begins_one_run_and_none_is_left_out_for_another_reason(
    steps: list[int], crons: list[str], dies: list[bool], minutes: int
) -> None:
    """Passes come at any times. The operator may die before it writes a status. A run takes `minutes`."""
    spec_ = {"template": template(), "schedules": [{"cron": cron} for cron in crons]}
    status, owned, now, started, ends = TriggerStatus(), None, CREATED, list[str](), CREATED
    schedules = TriggerSpec.model_validate(spec_, by_alias=True, by_name=False).schedules
    last = CREATED
    for step, dead in zip(steps, dies, strict=False):
        now += timedelta(minutes=step)
        is_over = now >= ends
        if owned is not None:
            end = timestamp(ends) if is_over else None
            assert owned.run is not None
            owned = Owned(True, owned.cause, is_over, owned.run.model_copy(update={"completion_time": end}))
        decided = decide(World(KEY, "1", 1, CREATED, False, spec_, status, owned), now)
        wanted = causes.due(schedules, last, now)
        if isinstance(decided.action, StartRun):
            assert is_over, "concurrencyPolicy is Forbid"
            assert decided.action.cause == wanted
            started.append(str(decided.action.cause))
            ends = now + timedelta(minutes=minutes)
            owned = Owned(True, started[-1], False, run(f"r{len(started)}", now, None, cause=started[-1]))
        else:
            assert wanted is None or not is_over or str(wanted) in started
        if not dead:
            assert decided.status is not None
            status, last = decided.status, now
    assert len(started) == len(set(started))


@pytest.mark.parametrize("name", ["nightly", "on-commit", "new-model"])
def test_an_example_is_a_valid_trigger(name: str) -> None:
    file = Path(__file__).parents[2] / "examples" / name / "trigger.yaml"
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert given["kind"] == KIND
    assert world(given["spec"]).problems == ""
