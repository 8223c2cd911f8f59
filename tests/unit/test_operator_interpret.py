"""From listed objects, the operator finds the run of a pass, whether the run is over, and the objects to read."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from support.decisions import PLAN_0, over
from support.operator_specs import spec
from support.worlds import (
    NOW,
    RUN_ID,
    assignment,
    compilation,
    planned,
    pod,
    published,
    results,
    run,
)
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.interpret.course import Objects, Reading, course, reading
from swarm_operator.compilation.interpret.world import Facts, interpreted, journals
from swarm_operator.compilation.model.world import Compilation, MapRef
from swarm_operator.compilation.status import Status
from swarm_operator.settings import MEBIBYTE, Settings
from swarm_wire.messages import RunRequest

SETTINGS = Settings(journal_mebibytes=1)
REQUEST = f"triage-{RUN_ID}-run"
BEFORE = Status(run_id=RUN_ID)
MAPS = (
    MapRef("r0", "u", RUN_ID, "results", 0, size=10),
    MapRef("t0", "u", RUN_ID, "tasks", 0, size=10),
    MapRef("w0", "u", RUN_ID, "assignment", 0),
    MapRef("triage-artifact", "u", RUN_ID, "artifact", 0),
)


def listed(of: Compilation, *others: MapRef, requests: dict[str, RunRequest] | None = None, **fields: Any) -> Objects:
    """Returns the objects of a Compilation whose run has begun."""
    known = {REQUEST: run().request} if requests is None else requests
    maps = (MapRef(REQUEST, "u", RUN_ID, "run", 0, created_at=NOW), *MAPS, *others)
    return Objects(of, fields.pop("jobs", ()), fields.pop("pods", ()), maps, known)


def another(run_id: str, seconds: float, requested_at: str | None = None, size: int = 10) -> tuple[Any, ...]:
    """Returns the ConfigMaps and the request of an earlier run."""
    name = f"triage-{run_id}-run"
    maps = (
        MapRef(name, "u", run_id, "run", 0, created_at=NOW - timedelta(seconds=seconds)),
        MapRef(f"{run_id}-r0", "u", run_id, "results", 0, size=size),
        MapRef(f"{run_id}-t0", "u", run_id, "tasks", 0, size=size),
    )
    return maps, {name: run().request.model_copy(update={"run_id": run_id, "requested_at": requested_at})}


OTHER_METRIC = spec(metric={"entrypoint": "triage:other"})


@dataclass(frozen=True)
class Row:
    """`goes_on` says that the pass handles the run of the status. `is_open` says that the run's request exists."""

    name: str
    seen: Objects
    goes_on: bool
    is_open: bool = True
    superseded: bool = False


RUNS = [
    Row("a pass handles the run of the Compilation", listed(compilation()), True),
    Row("a run whose request cannot be read has not begun", listed(compilation(), requests={}), True, is_open=False),
    Row(
        "a run goes on if the new spec begins no new run",
        listed(compilation(spec(suspend=True), status=BEFORE, generation=2)),
        True,
    ),
    Row(
        "another metric begins a new run",
        listed(compilation(OTHER_METRIC, status=BEFORE, generation=2)),
        False,
        is_open=False,
    ),
    Row(
        "an older run goes on until the operator has released its pods",
        listed(compilation(OTHER_METRIC, status=BEFORE, generation=2), pods=(pod(PLAN_0),)),
        True,
        superseded=True,
    ),
    Row(
        "an older run does not go on once its pods are released",
        listed(compilation(OTHER_METRIC, status=BEFORE, generation=2), pods=(pod(PLAN_0, held=False),)),
        False,
        is_open=False,
    ),
    Row(
        "pods of other runs do not delay the new run",
        listed(compilation(OTHER_METRIC, status=BEFORE, generation=2), pods=(pod(PLAN_0, run_id="older"),)),
        False,
        is_open=False,
    ),
]


@pytest.mark.parametrize("row", RUNS, ids=lambda row: row.name)
def test_the_spec_and_the_pods_determine_the_run_that_a_pass_handles(row: Row) -> None:
    found = course(row.seen, SETTINGS)
    assert (found.compilation.run_id == RUN_ID) is row.goes_on
    assert (found.run is not None) is row.is_open
    assert found.compilation.superseded is row.superseded


def test_a_run_that_has_its_request_does_not_wait_for_pods_of_the_previous_run() -> None:
    changed = compilation(OTHER_METRIC, status=BEFORE, generation=2)
    opened = MapRef(f"triage-{changed.run_id}-run", "u", changed.run_id, "run", 0)
    found = course(listed(changed, opened, pods=(pod(PLAN_0),)), SETTINGS)
    assert found.compilation.run_id == changed.run_id != RUN_ID


def test_a_run_whose_request_names_no_image_uses_the_operators_default_image() -> None:
    named = course(listed(compilation()), SETTINGS).run
    assert named is not None
    assert named.image == "worker:1"
    unnamed = run().request.model_copy(update={"spec": run().spec.model_copy(update={"image": None})})
    default = course(listed(compilation(), requests={REQUEST: unnamed}), SETTINGS).run
    assert default is not None
    assert default.image == SETTINGS.worker_image


def test_earlier_runs_have_the_same_requested_at_and_are_sorted_by_age() -> None:
    maps, requests = (), {REQUEST: run().request}
    for part in (another("new", 1), another("old", 9), another("asked", 5, requested_at="monday")):
        maps, requests = (*maps, *part[0]), {**requests, **part[1]}
    assert course(listed(compilation(), *maps, requests=requests), SETTINGS).earlier == ("old", "new")


# The objects that the operator reads


def read(status: Status | None = None, artifact: Any = None, *others: MapRef, earlier: tuple[str, ...] = ()) -> Reading:
    seen = listed(compilation(status=status), *others)
    return reading(seen, replace(course(seen, SETTINGS), earlier=earlier), artifact, SETTINGS)


def test_the_operator_reads_all_objects_of_an_unfinished_run_except_its_artifact() -> None:
    found = read()
    assert not found.rests
    assert found.maps == ("r0", "t0", "w0")
    assert found.inputs == ("triage-data", "triage-program")
    assert found.kept >= {REQUEST, *found.maps, *found.inputs}


@pytest.mark.parametrize(
    ("status", "artifact", "rests"),
    [
        pytest.param(over(State.PUBLISHED), published(), True, id="published"),
        pytest.param(over(State.PUBLISHED), None, False, id="published, and its artifact was deleted"),
        pytest.param(over(State.PUBLISHED), published(sha256=""), False, id="published, and its artifact is empty"),
        pytest.param(over(State.FAILED, "NoProgress"), None, True, id="failed"),
        pytest.param(over(State.FAILED, "LimitReached"), None, False, id="ended by a limit: it may go on"),
    ],
)
def test_the_operator_reads_nothing_of_a_finished_run_whose_artifact_is_intact(
    status: Status, artifact: Any, rests: bool
) -> None:
    found = read(status, artifact)
    assert found.rests is rests
    assert found.maps == (() if rests else ("r0", "t0", "w0"))
    assert found.kept >= {REQUEST}


def test_the_operator_reads_as_many_of_the_newest_earlier_runs_as_fit_into_memory() -> None:
    old, new = another("old", 9, size=MEBIBYTE), another("new", 1, size=MEBIBYTE)
    found = read(None, None, *old[0], *new[0], earlier=("old", "new"))
    assert found.earlier == ("new",)
    assert found.maps == ("r0", "t0", "w0", "new-r0"), "their results, and no more of them"


# The content of these objects


def test_the_operator_sorts_shards_by_run_and_skips_altered_shards() -> None:
    seen = listed(compilation())
    of = course(seen, SETTINGS)
    wanted = Reading(False, ("old", "new"), (), (), frozenset())
    given, mine = assignment(0, 1, [0]), results(0, 0)
    new, old = replace(results(0, 1), run_id="new"), replace(results(0, 2), run_id="old")
    foreign = replace(results(0, 3), run_id="foreign")
    found = journals(of, wanted, [*planned(0), new, given, mine, old, foreign, None])
    assert set(found.journal.keys) == set(mine.results)
    assert found.earlier == (old, new)
    assert found.assignments == {(0, 1): given}


def test_the_operator_takes_no_records_for_a_finished_compilation() -> None:
    status = over(State.PUBLISHED)
    seen = listed(compilation(status=status), pods=(pod(PLAN_0, exit_code=0, held=True),))
    of = course(seen, SETTINGS)
    wanted = reading(seen, of, published(), SETTINGS)
    facts = Facts(published(), {}, (), {})
    world = interpreted(seen, of, wanted, journals(of, wanted, []), facts)
    assert world.run is None
    assert world.harvest.settled == ()
    assert (world.pods, world.maps, world.artifact) == (seen.pods, seen.maps, published())
