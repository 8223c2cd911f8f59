"""Rules of a run that goes on: plan, scatter, gather, round by round."""

from collections.abc import Iterable

from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.decide import limits, retention, wording
from swarm_operator.compilation.decide.attempts import backoff, poisoned, struck, untouched
from swarm_operator.compilation.decide.moves import Move, fail, release, under_way
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.decide.start import EXTRA_ATTEMPTS, start
from swarm_operator.compilation.decide.waiting import blocked
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import (
    Action,
    KeepRecords,
    OpenRun,
    StartPlan,
    StartWork,
)
from swarm_operator.compilation.model.world import NewPlan
from swarm_wire.limits import affordable
from swarm_wire.messages import Assignment
from swarm_wire.names import TERMINAL_EXITS, ExitCode
from swarm_wire.slicing import process_ended, slice_cells


def harvest(s: Situation) -> Move | None:
    """What pods printed is written first; the next pass decides from the journal."""
    found = s.world.harvest
    kept: list[Action] = [
        KeepRecords(ObjectKind.RESULTS, round_, 0, records) for round_, records in sorted(found.results.items())
    ]
    for plan in found.plans:
        kept += keep_plan(plan)
    # Without its Job, the pod that tells why the run fails would be gone before that is told.
    read = [pod for pod in found.settled if pod.exit_code not in TERMINAL_EXITS]
    return Move(None, (*kept, *release(read)), wake_up=0) if kept else None


def unopened(s: Situation) -> Move | None:
    """The run's request is written once; all Jobs of the run are made from it."""
    if s.world.run is not None:
        return None
    compilation = s.world.compilation
    if object_names.run_map(compilation.key.name, compilation.run_id) in {found.name for found in s.world.maps}:
        return fail(
            Reason.JOURNAL_DAMAGED,
            f"the run's request was altered, or is of another release. {wording.new_run(s)}",
        )
    return Move(wording.planning(s), (OpenRun(),), wake_up=0)


def crowded(s: Situation) -> Move | None:
    """Every pod mounts what its run has: hundreds of small shards would make Jobs large, and lists of pods larger."""
    merge = retention.compaction(s)
    return Move(actions=(merge,), wake_up=0) if merge else None


def scatter(s: Situation) -> Move | None:
    """The last planned round lacks results: attempt after attempt, each with the missing cells alone."""
    if not s.missing or s.world.run is None:
        return None
    round_ = s.planned - 1
    given = {attempt: found for (of, attempt), found in s.world.assignments.items() if of == round_}
    last = max(given, default=0)
    job, pods = s.jobs_of(ObjectKind.WORK, round_).get(last), s.pods_of(ObjectKind.WORK, round_)
    if last and job is None and not pods and untouched(s, given[last]):
        # The operator died between the two writes of an attempt, or the Job was deleted before it brought anything.
        again = given[last]
        share = limits.left(s).shared(len(again.assignment.slices))
        return start(s, wording.scattering(s), StartWork(again.assignment, tuple(again.strikes.items()), share))
    if job is not None and not s.over(job):
        return blocked(s, job) or under_way(s, wording.scattering(s))
    if s.live(pods):
        return under_way(s, wording.scattering(s))

    strikes = struck(s, given[last]) if last else {}
    worst = max(strikes.values(), default=0)
    ended = [pod for pod in pods if pod.attempt == last]
    if last and (found := poisoned(s, given[last], strikes)):
        errors = tuple(process_ended(key, how) for key, how in sorted(found.items()))
        return Move(wording.scattering(s), (KeepRecords(ObjectKind.RESULTS, round_, 0, errors),), wake_up=0)
    fruitless = sum(untouched(s, found) for found in given.values())
    if worst >= s.max_attempts or fruitless >= s.max_attempts + EXTRA_ATTEMPTS:
        return fail(
            Reason.ATTEMPTS_EXHAUSTED,
            f"{len(s.missing)} cells of round {round_} have no result after {last} attempts. "
            f"{wording.last_failure(ended)} Remove the cause. {wording.new_run(s)}",
        )
    if delay := backoff(s, worst, ended):
        return Move(wording.retrying(s, last, ended), release(s.world.harvest.settled), delay)
    swarm, left = s.world.run.spec.swarm, limits.left(s)
    cells = affordable(s.missing, left, s.world.journal.accounts.total, len(s.world.journal.keys))
    # What several pods have left over is too little for each of them; together it may be enough for some calls more.
    fewer = max(1, len(given[last].assignment.slices) // 4) if limits.refused(ended) else 0
    slices = slice_cells(
        cells,
        pods=fewer or swarm.pods,
        threads=swarm.threads_per_pod,
        max_cells=len(cells) if fewer else swarm.slice_size,
        attempt=worst + 1,
        attempts=s.max_attempts,
    )
    assignment = Assignment(run_id=s.world.run.id, round=round_, attempt=last + 1, slices=slices)
    as_meant = limits.refused(ended) or (ended and all(pod.exit_code == ExitCode.DONE for pod in ended))
    verdict = wording.retrying(s, last, ended) if last and not as_meant else wording.scattering(s)
    action = StartWork(assignment, tuple(sorted(strikes.items())), left.shared(len(slices)))
    return start(s, verdict, action)


def plan(s: Situation) -> Move | None:
    """No round is open: plan the next one."""
    round_ = s.planned
    jobs, pods = s.jobs_of(ObjectKind.PLAN, round_), s.pods_of(ObjectKind.PLAN, round_)
    last = max(jobs, default=0)
    if last and not s.over(jobs[last]):
        return blocked(s, jobs[last]) or under_way(s, wording.planning(s))
    left = limits.left(s)
    # What pods have spent that finished the round and have not ended is in no account yet. And where somebody has
    # deleted a plan's end, or its tasks, or a task has failed, workers do what the next one may ask for again.
    first = round_ - (s.tasks is None or s.is_cut_short)
    if s.live(s.pods if left.is_limited else [pod for pod in s.pods if pod.round >= first]):
        return under_way(s, wording.planning(s))
    strikes = sum(pod.failed_on_its_own for pod in pods)
    if strikes >= s.max_attempts or last >= s.max_attempts + EXTRA_ATTEMPTS:
        return fail(
            Reason.ATTEMPTS_EXHAUSTED,
            f"the plan of round {round_} did not come to its end in {last} attempts. {wording.last_failure(pods)} "
            f"Remove the cause. {wording.new_run(s)}",
        )
    if delay := backoff(s, strikes, pods):
        return Move(wording.retrying(s, last, pods), release(s.world.harvest.settled), delay)
    verdict = wording.retrying(s, last, pods) if last else wording.planning(s)
    # A cell that ends its process ends the plan, too, where the plan runs it: then workers do, who can tell which one.
    return start(s, verdict, StartPlan(round_, last + 1, left, runs_cells=not strikes))


def keep_plan(new: NewPlan) -> Iterable[Action]:
    """The PLAN record, which closes, is written last: a plan is in the journal entirely, or not at all."""
    if new.tasks:
        yield KeepRecords(ObjectKind.TASKS, new.round, new.attempt, new.tasks)
    yield KeepRecords(ObjectKind.RESULTS, new.round, new.attempt, new.closing)
