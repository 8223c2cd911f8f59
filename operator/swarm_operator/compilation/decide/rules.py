"""The state machine: from what was seen, what to do next and what to say.

Pure: `decide(world, now, settings)` reads nothing else and changes nothing. RULES are asked in order, and the first
that speaks decides; each reads as one row of a table. Nothing is remembered between passes but what the cluster holds,
so a pass may be repeated, or stopped anywhere, and the next one goes on from what it finds.

    plan of round 0 -> tasks -> work, attempt 1, 2, ... -> plan of round 1 -> ... -> artifact -> published

Order matters in three places. What pods printed goes into the journal before anything is decided from the journal. A
pod is released only after that. And what proves a failure is tidied up only after the status tells of it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final

from swarm_operator.cluster import errors
from swarm_operator.compilation.api import AnyReason, ArtifactStatus, ObjectKind, Reason
from swarm_operator.compilation.decide import conditions as reports
from swarm_operator.compilation.decide import limits, retention, wording
from swarm_operator.compilation.decide.attempts import backoff, poisoned, struck, untouched
from swarm_operator.compilation.decide.conditions import State, Verdict
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import (
    Action,
    ClaimName,
    Decision,
    DropJob,
    DropMap,
    KeepRecords,
    OpenRun,
    Publish,
    ReleasePod,
    StartPlan,
    StartWork,
)
from swarm_operator.compilation.model.world import Artifact, Job, NewPlan, Pod, World
from swarm_operator.settings import MEBIBYTE, Settings
from swarm_wire.limits import affordable
from swarm_wire.messages import Assignment, Ending, PlanOutcome
from swarm_wire.names import TERMINAL_EXITS, ExitCode
from swarm_wire.slicing import process_ended, slice_cells
from swarm_wire.spending import Allowance
from swarm_wire.words import sentence

EXTRA_ATTEMPTS: Final = 10
"""Attempts that disruptions may cost on top of maxAttempts: so that nothing goes round for ever."""
LONGEST_NAME: Final = 253
START_PATIENCE: Final = 120.0
"""Seconds that a pod may take to start before anything is said."""


@dataclass(frozen=True)
class Move:
    """What a rule answers. `verdict` None leaves the status as it is."""

    verdict: Verdict | None = None
    actions: tuple[Action, ...] = ()
    wake_up: float | None = None


# The rules.


def deletion(s: Situation) -> Move | None:
    """A Compilation that is being deleted takes everything with it; only our finalizers would keep pods. Its Jobs would
    spend for as long as somebody else's finalizer keeps it.
    """
    jobs = (DropJob(job.name, job.uid) for job in s.world.jobs)
    return Move(actions=(*release(s.world.pods), *jobs)) if s.world.compilation.deleting else None


def end_of_run(s: Situation) -> Move | None:
    """Published and failed are sticky for their run. A published artifact is kept there."""
    if s.settled is None:
        return None
    compilation, artifact = s.world.compilation, s.world.journal.artifact
    if s.settled is State.PUBLISHED and s.world.run and artifact and compilation.lacks(s.world.artifact):
        return Move(actions=(publish(s, artifact),), wake_up=None if s.world.artifact else 0)
    if compilation.status.observed_generation != compilation.generation:
        return Move(wording.again(s, s.settled))
    left = s.time_to_live
    if left is not None and left <= 0:
        return Move()
    return Move(wake_up=left)


def invalid_spec(s: Situation) -> Move | None:
    compilation = s.world.compilation
    problems = compilation.problems
    if compilation.spec and len(name := compilation.spec.artifact_name(compilation.key.name)) > LONGEST_NAME:
        # Found when the winner is to be written, it would have cost the whole compile.
        problems = f"the artifact's ConfigMap would be {name!r}, and a name has at most {LONGEST_NAME} characters"
        problems += "; write a shorter one in spec.artifact.configMap.name"
    if problems:
        return fail(Reason.INVALID_SPEC, f"{sentence(problems)} Correct the spec: the change starts a new run.")
    return None


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


def superseded(s: Situation) -> Move | None:
    """The spec was changed: what the run before it has under way is paid for, so it is kept before a new run begins."""
    if not s.world.compilation.superseded:
        return None
    return Move(wording.superseded(s, len(s.live(s.pods))), end(s, s.jobs), s.settings.gather_interval)


def stopped_by_a_pod(s: Situation) -> Move | None:
    """An exit that another attempt cannot cure."""
    for pod in sorted(s.pods, key=lambda pod: (pod.round, pod.attempt, pod.index)):
        if pod.exit_code in TERMINAL_EXITS and not s.live([pod]):
            return give_up(s, wording.worker_reason(pod), wording.verdict_of(s, pod), proof=pod)
    return None


def damaged_journal(s: Situation) -> Move | None:
    rounds = sorted(s.world.journal.plans)
    if rounds == list(range(s.planned)):
        return None
    return give_up(
        s,
        Reason.JOURNAL_DAMAGED,
        f"the journal has the plans of rounds {rounds}: one between them was deleted or altered. {wording.new_run(s)}",
    )


def suspended(s: Situation) -> Move | None:
    """No pod runs. What those that did had finished has been kept; a winner that is there is published all the same."""
    spec = s.world.compilation.spec
    if spec is None or not spec.suspend or winner(s):
        return None
    ending = len(s.live(s.pods))
    wake_up = s.settings.gather_interval if s.jobs or ending else None
    return Move(wording.suspended(s, ending), end(s, s.jobs), wake_up)


def restricted(s: Situation) -> Move | None:
    """An administrator says which images and service accounts may be used."""
    spec, run, settings = s.world.compilation.spec, s.world.run, s.settings
    if spec is None or winner(s):
        return None
    # Pods are made from the run's request, which whoever may write ConfigMaps could have written.
    images = [spec.image, *([run.image] if run else [])]
    accounts = [each.swarm.service_account_name for each in (spec, *([run.spec] if run else []))]
    for field, values, allowed in (
        ("image", images, settings.allowed_images and (settings.worker_image, *settings.allowed_images)),
        ("swarm.serviceAccountName", accounts, settings.allowed_service_accounts),
    ):
        for value in filter(None, values):
            if allowed and not any(fnmatchcase(value, pattern) for pattern in allowed):
                return give_up(
                    s,
                    Reason.RESTRICTED,
                    f"spec.{field} is {value!r}, and this operator allows {', '.join(allowed)}. Use one of these, or "
                    "ask the operator's administrator. The change starts a new run.",
                )
    return None


def without_limiter(s: Situation) -> Move | None:
    """How fast a provider may be asked is kept by the limiter, or by nobody."""
    spec = s.world.compilation.spec
    if s.settings.limiter or spec is None or winner(s):
        return None
    limited = [role for role, model in spec.models.by_role.items() if model.limits]
    if not limited:
        return None
    return give_up(
        s,
        Reason.NO_LIMITER,
        f"models.{limited[0]}.limits is set, and this operator has no limiter, which would keep it. Install the chart "
        f"with limiter.enabled: true, or remove the limits. {wording.new_run(s)}",
    )


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


def compiled(s: Situation) -> Move | None:
    """The last plan brought the artifact: write it, and only then call the run published."""
    artifact, found = winner(s), s.world.artifact
    if artifact is None:
        return None
    wanted = s.world.compilation.run_id, artifact.sha256, artifact.report.partial or ""
    if found is None or (found.run_id, found.sha256, found.partial) != wanted:
        message = "the program is compiled and is written to its ConfigMap now."
        written = Move(Verdict(State.RUNNING, Reason.PUBLISHING, message), (publish(s, artifact),), wake_up=0)
        return foreign_artifact(s) or written
    score, run_id = artifact.report.scores.best, s.world.compilation.run_id
    published = ArtifactStatus(config_map=found.name, sha256=artifact.sha256, score=score, run_id=run_id)
    if s.partial is not None:
        message = f"{s.partial.why}. {wording.best_so_far(artifact, wanted=True)}"
        return ending(s, s.partial.why) or Move(
            Verdict(State.PUBLISHED, Reason.PUBLISHED_PARTIAL, message, published=published), wake_up=0
        )
    message = f"the compiled program is in ConfigMap {found.name!r}{wording.gain(artifact.report)}."
    message += wording.failing(artifact.report)
    return Move(Verdict(State.PUBLISHED, Reason.PUBLISHED, message, published=published), wake_up=0)


def ended_by_limit(s: Situation) -> Move | None:
    """A limit has ended the run, and its best program is not wanted."""
    if s.partial is None or not s.partial.holds(limits.current(s)):
        return None
    message = f"{s.partial.why}. {wording.best_so_far(s.world.journal.artifact, wanted=False)}"
    return ending(s, s.partial.why) or fail(Reason.LIMIT_REACHED, message)


def ending(s: Situation, why: str, last_plan: Collection[str] = ()) -> Move | None:
    """A run ends when its pods have: what they finish is kept, and their accounts are to be closed.

    Args:
        last_plan: uids of Jobs that bring the best program so far.
    """
    jobs = [job for job in s.jobs if not s.over(job)]
    # Their Jobs may be gone.
    if jobs or s.live(pod for pod in s.pods if pod.job_uid not in last_plan):
        return Move(wording.ending(why, waits=True), end(s, jobs), s.settings.gather_interval)
    return None


def crowded(s: Situation) -> Move | None:
    """Every pod mounts what its run has: hundreds of small shards would make Jobs large, and lists of pods larger."""
    merge = retention.compaction(s)
    return Move(actions=(merge,), wake_up=0) if merge else None


def too_large(s: Situation) -> Move | None:
    """etcd is not made for more."""
    size, most = s.journal_bytes, s.settings.journal_bytes
    if size <= most:
        return None
    return give_up(
        s,
        Reason.JOURNAL_TOO_LARGE,
        f"the run's journal has {size / MEBIBYTE:.1f} MiB in ConfigMaps, and the operator's settings allow "
        f"{s.settings.journal_mebibytes} MiB. Name a PersistentVolumeClaim or a URL in spec.journal, or make the "
        "compile smaller: the change starts a new run, which goes on from what is there.",
    )


def no_progress(s: Situation) -> Move | None:
    """A plan that asks for what the journal had before it ran would ask for ever.

    A round whose tasks are lost is no such case: the next plan asks again for what is missing, once.
    """
    round_, keys = s.planned - 1, s.world.journal.keys
    if round_ < 0 or s.world.journal.plans[round_].end.outcome is not PlanOutcome.BLOCKED:
        return None
    if s.tasks is not None:
        if any(keys.get(cell.key, round_) >= round_ for task in s.tasks for cell in task.cells):
            return None
        return give_up(
            s,
            Reason.NO_PROGRESS,
            f"the plan of round {round_} asks only for results that it was given, so the compile cannot go on. The "
            f"program does not do the same thing twice, or this is a fault of dspy-swarm. {wording.new_run(s)}",
        )
    if round_ == 0 or {round_, round_ - 1} & set(keys.values()):
        return None
    return fail(
        Reason.JOURNAL_DAMAGED,
        f"the tasks of rounds {round_ - 1} and {round_} were deleted or altered before any was done. Find out who "
        f"changes ConfigMaps in namespace {s.world.compilation.key.namespace!r}. {wording.new_run(s)}",
    )


def limited(s: Situation) -> Move | None:
    """A limit ends the run: no pod goes on, and a last plan, which spends nothing, brings the best program so far."""
    jobs = s.jobs_of(ObjectKind.PLAN, s.planned)
    last, partial = max(jobs, default=0), [job.uid for job in jobs.values() if job.is_partial]
    if last and jobs[last].is_partial and not s.over(jobs[last]):
        return blocked(s, jobs[last]) or under_way(s, wording.planning(s))
    why = limits.reached(s)
    if why is None:
        return None
    if waits := ending(s, why, partial):
        return waits
    pods = [pod for pod in s.pods if pod.job_uid in partial]
    if sum(pod.failed_on_its_own for pod in pods) >= s.max_attempts or len(partial) > EXTRA_ATTEMPTS:
        return fail(
            Reason.ATTEMPTS_EXHAUSTED,
            f"{why}, and the plan for the best program by then did not come to its end. {wording.last_failure(pods)}",
        )
    action = StartPlan(s.planned, last + 1, Allowance(calls=0), Ending(why=why, limits=limits.current(s)))
    return start(s, wording.ending(why, waits=False), action)


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


RULES: Final[Sequence[Callable[[Situation], Move | None]]] = (
    deletion,
    end_of_run,
    harvest,
    superseded,
    invalid_spec,
    stopped_by_a_pod,
    damaged_journal,
    suspended,
    restricted,
    without_limiter,
    unopened,
    compiled,
    ended_by_limit,
    crowded,
    too_large,
    no_progress,
    limited,
    scatter,
    plan,
)


def decide(world: World, now: datetime, settings: Settings) -> Decision:
    """The first rule that speaks, and what can be tidied up whatever it says."""
    situation = Situation(world, now, settings)
    move = next(answer for rule in RULES if (answer := rule(situation)) is not None)
    tidying = tuple(action for action in tidy(situation) if action not in move.actions)
    return replace(decision(world, now, move), tidying=tidying, settled=situation.settled is not None)


def ended(world: World, now: datetime, reason: Reason, message: str) -> Decision:
    """An action turned out to be impossible, for good."""
    return decision(world, now, fail(reason, message))


def refused(world: World, now: datetime, error: errors.ApiError) -> Decision:
    """The API server does not do what an action asks for, for now."""
    reason = Reason.API_UNAVAILABLE if isinstance(error, errors.Unavailable) else Reason.NOT_ALLOWED
    since = first_seen(world, reason, now)
    return decision(
        world, now, Move(Verdict(State.RUNNING, reason, f"{sentence(str(error))} It is tried again.", since))
    )


def decision(world: World, now: datetime, move: Move) -> Decision:
    before = world.compilation.status
    after = reports.make(world, move.verdict, now) if move.verdict else None
    return Decision(
        actions=move.actions,
        status=after,
        events=reports.events(before, after) if after else (),
        wake_up=move.wake_up,
    )


# What rules answer.


def fail(reason: AnyReason, message: str) -> Move:
    # Another pass at once: tidying up waits for the status that tells of the failure.
    return Move(Verdict(State.FAILED, reason, message), wake_up=0)


def give_up(s: Situation, reason: AnyReason, message: str, proof: Pod | None = None) -> Move:
    """Ends the run for a reason that stays; not before what its pods have finished is kept, which is paid for.

    Args:
        proof: the pod that gives the reason. Its Job stays, and with it the pod; Kubernetes ends its others.
    """
    if s.world.run is None or not any(pod.started for pod in s.live(s.pods)):
        return fail(reason, message)
    jobs = [job for job in s.jobs if proof is None or job.uid != proof.job_uid]
    return Move(Verdict(State.RUNNING, reason, message), end(s, jobs), s.settings.gather_interval)


def under_way(s: Situation, verdict: Verdict) -> Move:
    """Pods are at work; what they print is read when it is time."""
    return Move(verdict, release(s.world.harvest.settled), s.settings.gather_interval)


def end(s: Situation, jobs: Iterable[Job]) -> tuple[Action, ...]:
    """Ends Jobs; what their pods have finished is kept before they are let go."""
    return (*release(s.world.harvest.settled), *(DropJob(job.name, job.uid) for job in jobs))


def winner(s: Situation) -> Artifact | None:
    """What the run is to publish: the optimizer's winner; where a limit has ended it, the best program, if wanted."""
    now = limits.current(s)
    is_wanted = s.partial is None or (s.partial.holds(now) and now.publish_partial)
    return s.world.journal.artifact if is_wanted else None


def start(s: Situation, verdict: Verdict, action: StartPlan | StartWork) -> Move:
    """Creates a Job, if the run may go on."""
    # Pods that mount what is not there would hang without a word; a run that may not write its result is not paid for,
    # and from its first Job on nobody else takes the result's name.
    claim = () if s.world.artifact else (ClaimName(),)
    go = Move(verdict, (*release(s.world.harvest.settled), *claim, action), s.settings.gather_interval)
    return foreign_artifact(s) or missing_input(s) or go


def publish(s: Situation, artifact: Artifact) -> ClaimName | Publish:
    """What is next: somebody may have deleted the ConfigMap that was claimed."""
    return Publish(artifact) if s.world.artifact else ClaimName()


def foreign_artifact(s: Situation) -> Move | None:
    found, ours = s.world.artifact, s.world.compilation.key.uid
    if found is None or (found.owner_uid == ours and not found.foreign):
        return None
    which = "whose data somebody edited" if found.owner_uid == ours else "which is not this Compilation's"
    return wait(
        s,
        Reason.ARTIFACT_CONFLICT,
        f"the artifact goes to ConfigMap {found.name!r}, {which}: it is not overwritten. Delete it, or give another "
        "name in spec.artifact.configMap.name.",
    )


def missing_input(s: Situation) -> Move | None:
    for name, wanted in sorted(s.world.run.spec.needed_config_maps().items() if s.world.run else ()):
        there = s.world.inputs.get(name)
        if there is None:
            return wait(
                s,
                Reason.MISSING_CONFIG_MAP,
                f"the spec names ConfigMap {name!r}, and there is none in namespace "
                f"{s.world.compilation.key.namespace!r}. Create it, or correct the name.",
            )
        if lacking := sorted(wanted - there):
            return wait(
                s,
                Reason.MISSING_CONFIG_MAP_KEY,
                f"the spec names key {lacking[0]!r} of ConfigMap {name!r}, which has: "
                f"{', '.join(sorted(there))[:500] or 'no keys'}. Add it, or correct the key.",
            )
    return None


def blocked(s: Situation, job: Job) -> Move | None:
    """No pod of the Job can start, and none is running: the Job itself would wait for ever without a word."""
    pods = [pod for pod in s.pods if pod.job_uid == job.uid and not pod.ended]
    if any(pod.started for pod in pods):
        return None
    if job.suspended:
        return Move(wording.queued(job), release(s.world.harvest.settled), limits.time_left(s))
    # What the spec says of waiting is said of pods, whatever they wait for.
    given = limits.current(s).pending_seconds
    began = min((pod.created_at for pod in pods), default=job.created_at)
    since = None if given is None else began
    for pod in pods:
        if pod.trouble is not None:
            deadline = s.settings.scheduling_deadline if pod.trouble.reason is Reason.UNSCHEDULABLE else None
            message = f"pod {pod.name!r} cannot start: {sentence(pod.trouble.message)}"
            return wait(s, pod.trouble.reason, message, deadline, since)
    patience = START_PATIENCE if given is None else min(given, START_PATIENCE)
    if pods and (s.now - began).total_seconds() >= patience:
        # A large image, or a volume that cannot be mounted: only events would tell.
        message = (
            f"pod {pods[0].name!r} has been starting since {reports.timestamp(began)}: kubectl describe pod says why."
        )
        return wait(s, Reason.POD_CANNOT_START, message, s.settings.scheduling_deadline, since)
    if not pods and job.uid in s.world.rejections:
        message = f"no pod of Job {job.name!r} is admitted: {sentence(s.world.rejections[job.uid])}"
        return wait(s, Reason.PODS_REJECTED, message, since=since)
    return None


def wait(
    s: Situation, reason: Reason, message: str, deadline: float | None = None, since: datetime | None = None
) -> Move:
    """Shows the reason until its deadline, which counts from `since`, or from when the reason was first seen; then the
    run has failed.
    """
    usual = s.settings.pending_deadline if deadline is None else deadline
    given = limits.current(s).pending_seconds
    limit = usual if given is None else given
    since = since or first_seen(s.world, reason, s.now)
    end = since + timedelta(seconds=limit)
    left = (end - s.now).total_seconds()
    if left <= 0:
        ended = f"That did not change in {limit:g} s, so the run has ended. Put it right."
        return fail(reason, f"{message} {ended} {wording.new_run(s)}")
    verdict = Verdict(
        State.RUNNING,
        reason,
        f"{message} The run goes on as soon as that changes, and fails if it has not by {reports.timestamp(end)}.",
        waiting_since=since,
    )
    return Move(verdict, release(s.world.harvest.settled), min(left, s.settings.gather_interval))


def first_seen(world: World, reason: Reason, now: datetime) -> datetime:
    """Since when this keeps the run from going on, as the status remembers it."""
    status = world.compilation.status
    if status.waiting is None or (status.waiting.reason, status.run_id) != (reason, world.compilation.run_id):
        return now
    return min(now, datetime.fromisoformat(status.waiting.since))


# What can go.


def tidy(s: Situation) -> tuple[Action, ...]:
    """Objects that nothing will be decided from any more."""
    if s.world.compilation.deleting:
        return ()
    current, last = s.world.compilation.run_id, s.planned - 1
    left = {shard.name for shard in s.world.journal.leftover}
    actions: list[Action] = []
    actions += release(pod for pod in s.world.pods if s.settled or pod.run_id != current)
    actions += release(pod for pod in s.pods if pod.lost(s.now, s.settings.lost_after))
    unread = {pod.job_uid for pod in s.pods if pod.ended and s.live([pod])}
    for job in s.world.jobs:
        is_complete = s.tasks is not None and not s.missing
        done = job.round < last or (job.round == last and (job.kind is ObjectKind.PLAN or is_complete))
        if s.settled or job.run_id != current or (done and job.uid not in unread) or s.stale(job):
            actions.append(DropJob(job.name, job.uid))
    expired = s.time_to_live is not None and s.time_to_live <= 0
    # An older journal is worth something until there is an artifact of the new run; and after that, where a later run
    # may use it.
    answered = s.settled is State.PUBLISHED and not reports.ended_by_limit(s.world.compilation.status)
    has_begun = s.world.run is not None or s.settled is not None
    kept, mounted = retention.kept(s, answered=answered), retention.mounted(s)
    for found in s.world.maps:
        if found.name in mounted:
            continue
        if found.kind == ObjectKind.ARTIFACT:
            # An empty one only holds the name of what is to come.
            if not found.run_id and (s.settled is State.FAILED or found.name != s.artifact_name):
                actions.append(DropMap(found.name, found.uid))
            continue
        passing = found.kind in (ObjectKind.TASKS, ObjectKind.ASSIGNMENT)
        if found.run_id == current:
            # By its request a run is known: without that, a later generation that asks for nothing new would run again.
            is_done = passing and found.name not in left and (s.settled is not None or found.round < last)
            gone = is_done or (expired and found.kind != ObjectKind.RUN)
        else:
            gone = expired or passing or (has_begun and found.run_id not in kept)
        if gone or found.name in s.world.superfluous:
            actions.append(DropMap(found.name, found.uid))
    return tuple(actions)


def release(pods: Iterable[Pod]) -> tuple[Action, ...]:
    return tuple(ReleasePod(pod.name, pod.uid) for pod in pods if pod.held)


def keep_plan(new: NewPlan) -> Iterable[Action]:
    """The PLAN record, which closes, is written last: a plan is in the journal entirely, or not at all."""
    if new.tasks:
        yield KeepRecords(ObjectKind.TASKS, new.round, new.attempt, new.tasks)
    yield KeepRecords(ObjectKind.RESULTS, new.round, new.attempt, new.closing)
