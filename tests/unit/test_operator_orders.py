"""The operator orders a Job with the mounts, the deadline and the allowance of its pods."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from support.operator_specs import spec
from support.worlds import NOW, assignment, compilation, job, planned, pod, results, run, shard, task, world
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.orders import PARTIAL_SECONDS, POD_SECONDS, START_SECONDS
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import StartJob
from swarm_operator.compilation.model.roles import ROLES, Folder
from swarm_operator.compilation.model.world import World
from swarm_operator.settings import Settings
from swarm_wire.messages import Ending, Snapshot
from swarm_wire.rates import rate_limits
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Allowance, Booked, Spending

SETTINGS = Settings(limiter="limiter:7070", image_pull_policy="Never")
PACED = {"requestsPerMinute": 60}
"""A value for models.student.limits."""


def ordered(seen: World) -> StartJob:
    (order,) = (action for action in decide(seen, NOW, SETTINGS).actions if isinstance(action, StartJob))
    return order


def under(pace: Mapping[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    """Returns a Compilation and its run with these fields of the spec. `pace` becomes models.student.limits."""
    given = spec(**fields)
    given["models"]["student"]["limits"] = dict(pace) if pace else None
    request = run().request.model_copy(update={"spec": CompilationSpec.model_validate(given)})
    return {"compilation": compilation(given), "run": replace(run(), request=request)}


def test_a_new_job_gets_the_rate_limits_and_labels_that_the_compilation_has_now() -> None:
    """A user may change rate limits during a run. New pods get the current limits."""
    seen = under(PACED)
    seen["compilation"] = replace(seen["compilation"], queue={"kueue.x-k8s.io/queue-name": "cheap"})
    order = ordered(world(**{**seen, "run": run()}))
    assert order == StartJob(
        role=ObjectKind.PLAN,
        run=run(),
        round=0,
        attempt=1,
        seconds=POD_SECONDS,
        mounts={Folder.JOURNAL: ()},
        rates=rate_limits(seen["compilation"].spec, "team", "triage"),
        limiter="limiter:7070",
        queue={"kueue.x-k8s.io/queue-name": "cheap"},
        pull_policy="Never",
    )
    assert order.rates.models


PART = Snapshot(url="https://git/app", revision="c" * 40, part=0, parts=1, sha256="a" * 64, files=1)


def test_plans_and_workers_mount_results_of_this_run_and_of_earlier_runs_and_only_workers_mount_tasks() -> None:
    tasks, end = planned(0)
    done, earlier = results(0, 0), replace(results(0, 1), run_id="earlier")
    snapshot = shard(ObjectKind.SNAPSHOT, 0, snapshots=(PART,))
    work = ordered(world(tasks, end, done, snapshot, earlier_shards=(earlier,)))
    assert set(work.mounts) == set(ROLES[ObjectKind.WORK].mounts)
    assert work.mounts[Folder.TASKS] == (tasks,)
    assert work.mounts[Folder.JOURNAL] == (done, end)
    assert work.mounts[Folder.EARLIER] == (earlier,)
    assert work.mounts[Folder.SNAPSHOT] == (snapshot,)
    plan = ordered(world(tasks, end, snapshot, results(0, 0, 1, 2, 3), earlier_shards=(earlier,)))
    assert set(plan.mounts) == {Folder.JOURNAL, Folder.SNAPSHOT, Folder.EARLIER}
    assert plan.round == 1


def test_a_job_runs_at_most_as_many_pods_at_once_as_the_spec_says() -> None:
    given = assignment(0, 1, *([item] for item in range(4)))
    order = ordered(world(planned(0), assignments=(given,)))
    assert (order.pods, order.parallel) == (4, 3)


@pytest.mark.parametrize(
    ("slices", "weight", "threads", "cell_seconds", "turns"),
    [
        pytest.param([[0]], 1, 4, 10, 2, id="one cell and one more turn"),
        pytest.param([[0, 1, 2, 3, 4]], 1, 2, 10, 4, id="the cells of a thread run one after the other"),
        pytest.param([[0], [1, 2, 3]], 1, 1, 10, 4, id="the largest slice counts"),
        pytest.param([[0, 1]], 7, 2, 10, 14, id="a bootstrap has a great weight"),
    ],
)
def test_the_deadline_of_a_worker_is_the_time_that_its_cells_may_take(
    slices: list[list[int]], weight: int, threads: int, cell_seconds: int, turns: int
) -> None:
    """Kubernetes ends a worker at its deadline. With rate limits the deadline is later, since workers wait."""
    fields = {"limits": {"cellSeconds": cell_seconds}, "swarm": {"threadsPerPod": threads}}
    journal, given = planned(0, task(0, cells=5, weight=weight)), (assignment(0, 1, *slices),)
    free = ordered(world(journal, assignments=given, **under(**fields)))
    assert free.seconds == START_SECONDS + turns * cell_seconds
    paced = ordered(world(journal, assignments=given, **under(PACED, **fields)))
    assert paced.seconds == POD_SECONDS


def test_a_plan_for_the_best_program_so_far_may_spend_nothing_and_has_a_short_deadline() -> None:
    spent = Booked(account="a", spent=Spending(calls=10), final=True)
    books = shard(ObjectKind.RESULTS, 0, number=1, booked=(spent,))
    order = ordered(world(planned(0), books, **under(limits={"lmCalls": 10})))
    assert (order.seconds, order.allowance) == (PARTIAL_SECONDS, Allowance(calls=0))
    assert order.partial.startswith("the run has ended by limits.lmCalls: 10")
    ending = Ending.model_validate_json(order.environment["SWARM_PARTIAL"])
    assert (ending.why, ending.limits) == (order.partial, Limits(lm_calls=10))


def test_a_plan_runs_small_waves_itself_unless_a_plan_before_it_died() -> None:
    """A cell that kills its process may have killed the plan. Then workers run small waves to find this cell."""
    first = job(ObjectKind.PLAN, 0)
    failed = ordered(world(jobs=(first,), pods=(pod(first, exit_code=137),)))
    assert (failed.attempt, failed.environment) == (2, {"SWARM_SMALL_WAVE": "0"})
    deleted = ordered(world(jobs=(first,), pods=(pod(first, exit_code=143, disrupted=True),)))
    assert (deleted.attempt, deleted.environment) == (2, {})


def test_job_roles_have_distinct_letters_and_orders_use_only_mounts_and_variables_of_their_role() -> None:
    letters = [role.letter for role in ROLES.values()]
    assert len(set(letters)) == len(letters)
    assert all(not role.singly & role.together for role in ROLES.values())
    for order in (ordered(world()), ordered(world(planned(0)))):
        role = ROLES[order.role]
        assert set(order.mounts) <= set(role.mounts)
        assert set(order.environment) <= set(role.environment)
