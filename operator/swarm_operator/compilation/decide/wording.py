"""Messages for people about a run, and about what they can do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from swarm_operator.compilation.api import RERUN_AT, ConditionType, ObjectKind, Reason
from swarm_operator.compilation.decide.conditions import Finding, State
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.object_names import TRAINER
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.shards import Artifact
from swarm_operator.compilation.status import LONGEST, ArtifactGit
from swarm_wire.messages import PROGRAM_FILES
from swarm_wire.names import REPORT_FILE, ExitCode, WorkerReason
from swarm_wire.report import TEST_SET, Report
from swarm_wire.words import sentence


def new_run(s: Situation) -> str:
    """Tells people how to begin a new run. It names rerun-at, since requested-at would pay for everything again."""
    key = s.world.compilation.key
    command = f'kubectl -n {key.namespace} annotate --overwrite dspyc/{key.name} {RERUN_AT}="$(date -Is)"'
    return f"A change of the spec, or this, begins a new run, which uses what is paid for and still holds: {command}"


def suspended(s: Situation, ending: int) -> Finding:
    pods = {0: "no pod runs", 1: "its last pod is ending"}.get(ending, f"{ending} pods are ending")
    kept = f"; in round {s.planned - 1}, {results(s)}, which are kept" if s.planned else ""
    goes_on = "Set spec.suspend to false, and the run goes on."
    return Finding(State.SUSPENDED, Reason.SUSPENDED, f"spec.suspend is true: {pods}{kept}. {goes_on}")


def superseded(s: Situation, ending: int) -> Finding:
    pods = "its last pod is" if ending == 1 else f"{ending} pods are"
    return Finding(
        State.RUNNING,
        Reason.SUPERSEDED,
        f"a new run was asked for, and of the run before {pods} ending. What they finish is kept; then it begins.",
    )


def queued(job: Job) -> Finding:
    goes_on = "The run goes on when whoever suspended it (Kueue, for example) lets it go on."
    return Finding(State.RUNNING, Reason.QUEUED, f"Job {job.name!r} is suspended. {goes_on}")


def ending(why: str, waits: bool) -> Finding:
    what = "its pods are ending" if waits else "a last plan looks for the best program so far"
    return Finding(State.RUNNING, Reason.PLANNING, f"{why}; {what}.")


HIGHER: Final = "With higher limits the run goes on from what is finished."


def best_so_far(artifact: Artifact | None, wanted: bool, distills: bool = False) -> str:
    """Tells people what becomes of the best program of a run that a limit has ended.

    Args:
        wanted: whether the spec asks for it.
        distills: whether it is one for the teacher's model, so that no spec can ask for it.
    """
    if artifact is None:
        return f"No candidate was complete by then. {HIGHER}"
    if distills:
        return f"With distill, no best program by then is published: it is one for models.teacher. {HIGHER}"
    better = gain(artifact.report)
    if artifact.report.refused:
        return f"spec.gate publishes no best program by then{better}. {HIGHER}"
    if wanted:
        return f"The best program by then is published, not the optimizer's winner{better}. {HIGHER}"
    return f"limits.publishPartial: true publishes the best program by then{better}. {HIGHER}"


def refused(artifact: Artifact, name: str, published: str | None) -> str:
    """Tells people why a winner is not published, where it is, and what stays published.

    Args:
        name: the ConfigMap with the winner.
        published: the ConfigMap with the artifact of an earlier run, if there is one.
    """
    why = "; ".join(artifact.report.refused)
    stays = f"ConfigMap {published!r} keeps an earlier run's artifact." if published else "No artifact is published."
    return f"the winner is not published: {why}. {stays} The winner and its report are in ConfigMap {name!r}."


def again(s: Situation, settled: State) -> Finding:
    """Repeats the Finding of a run that is over, after a change of the spec that does not concern the run."""
    ready = s.world.compilation.status.condition(ConditionType.READY)
    assert ready is not None, "a settled run has conditions"
    message = ready.message
    if not s.can_go_on:
        message = message.replace(HIGHER, f"Its journal is gone, so it cannot go on. {new_run(s)}")
    return Finding(settled, ready.reason, message)


def fetching(urls: Mapping[str, str]) -> Finding:
    """Tells people what a pod fetches.

    Args:
        urls: URLs by the values of `Snapshot.of`.
    """
    what = (
        f"the program's files from {url}" if of == PROGRAM_FILES else f"data.{of} from {url.partition('?')[0]}"
        for of, url in urls.items()
    )
    return Finding(State.RUNNING, Reason.FETCHING, f"a pod fetches {', '.join(what)}.")


def without_published(finding: Finding, why: str | None) -> Finding:
    """Adds why the run that begins cannot use the published program, if it needs it."""
    if why is None:
        return finding
    return replace(finding, message=f"{finding.message} The run begins without the published program: {why}.")


def without_inheritance(finding: Finding, why: str | None) -> Finding:
    """Adds why the run that begins reuses no answers of its predecessor, if the spec names one."""
    if why is None:
        return finding
    return replace(finding, message=f"{finding.message} The run reuses no answers of a predecessor: {why}.")


def planning(s: Situation) -> Finding:
    return Finding(State.RUNNING, Reason.PLANNING, f"round {s.planned}: a plan replays the optimizer from the journal.")


def scattering(s: Situation) -> Finding:
    end = s.world.journal.plans[s.planned - 1].end
    guesses = f"; {len(end.guesses)} of {len(end.tasks)} tasks are guesses" if end.guesses else ""
    trains = sorted(pod.name for pod in s.pods if pod.kind is ObjectKind.TRAIN and pod.prepares and not pod.ended)
    logs = f" A model is being trained: kubectl logs {trains[0]} -c {TRAINER} shows how far it is." if trains else ""
    return Finding(State.RUNNING, Reason.SCATTERING, f"round {s.planned - 1}: {results(s)}{guesses}.{logs}")


def waiting_for(messages: Sequence[str], until: datetime) -> Finding:
    when = f"{until.astimezone(UTC):%H:%M:%S} UTC"
    message = f"no pod runs while the run waits: {'; '.join(messages)}. A pod looks again at {when}."
    return Finding(State.RUNNING, Reason.WAITING_FOR_JOB, message)


def results(s: Situation) -> str:
    """Tells people how far the last planned round is."""
    cells = s.world.journal.plans[s.planned - 1].end.cells
    return f"{cells - len(s.missing)} of {cells} cells have results"


def retrying(s: Situation, attempt: int, pods: Sequence[Pod]) -> Finding:
    if s.missing:
        what = f"round {s.planned - 1}: {len(s.missing)} cells have no result after attempt {attempt}"
    else:
        what = f"round {s.planned}: its plan has not come to its end in attempt {attempt}"
    return Finding(State.RUNNING, Reason.RETRYING, f"{what}; another attempt follows. {last_failure(pods)}")


def last_failure(pods: Sequence[Pod]) -> str:
    failed = [pod for pod in pods if pod.ended and pod.exit_code != ExitCode.DONE]
    if not failed:
        return "No pod said why: they were deleted, or their output was lost."
    own = [pod for pod in failed if pod.failed_on_its_own] or failed
    last = max(own, key=lambda pod: (pod.finished_at or pod.created_at, pod.index))
    return f"Pod {last.name!r} ended last: {explanation(last)}"


def explanation(pod: Pod) -> str:
    """Tells people how a pod ended, in the pod's own words if it left any."""
    if pod.commit and pod.commit.message:
        return f"{pod.commit.reason or WorkerReason.WORKER_FAILED}: {sentence(pod.commit.message)}"
    how = sentence(pod.failure or f"exit code {pod.exit_code}")
    if pod.kind is ObjectKind.TRAIN and not pod.started:
        return f"{how} kubectl logs {pod.name} -c {TRAINER} says more, if the pod is still there."
    return f"{how} It left no word; its log says more, if it is still there."


def message_of(s: Situation, pod: Pod) -> str:
    """Repeats the message of a pod that ended the run, and tells how to begin a new run.

    The advice is needed, because the correction of a ConfigMap alone begins no run.
    """
    told = pod.commit.message if pod.commit and pod.commit.message else explanation(pod)
    # If the user has changed the sources during the run, the new sources may be right, so there is nothing to correct.
    first = "" if worker_reason(pod) is WorkerReason.SOURCE_CHANGED else "First put that right. "
    return f"{sentence(told)} {first}{new_run(s)}"


def worker_reason(pod: Pod) -> WorkerReason:
    """Returns the reason that a pod gives, or WORKER_FAILED if pods may not give this reason."""
    if pod.commit is None or pod.commit.reason is None:
        by_code = {
            ExitCode.COMPILE_FAILED: WorkerReason.COMPILE_FAILED,
            ExitCode.SCHEMA_MISMATCH: WorkerReason.SCHEMA_MISMATCH,
            ExitCode.DRIFT: WorkerReason.DIGEST_DRIFT,
        }
        return next((reason for code, reason in by_code.items() if code == pod.exit_code), WorkerReason.WORKER_FAILED)
    return next((reason for reason in WorkerReason if reason == pod.commit.reason), WorkerReason.WORKER_FAILED)


def committed(pushed: ArtifactGit | None) -> str:
    """Tells people where the artifact is in git, as a clause."""
    if pushed is None:
        return ""
    if pushed.pull_request:
        return f" and in {pushed.pull_request}"
    return f" and in commit {pushed.commit[:12]} of {pushed.branch} in {pushed.url}"


def failing(report: Report) -> str:
    """Tells people how many examples failed, names the most frequent failure, and says where the other failures are."""
    if report.failures is None:
        return ""
    most = "".join(f": {line[:LONGEST]}" for line in report.failures.lines[:1])
    return f" {report.failures}{most}. Tracebacks are in its {REPORT_FILE}."


def gain(report: Report) -> str:
    scores, against = report.scores, "" if report.against == "baseline" else f", against {report.rival}"
    if scores.baseline is None or scores.best is None:
        return ""
    gained = f": {scores.baseline:g} -> {scores.best:g} on {report.scored_on}"
    if report.published is not None and report.compared_on == report.scored_on:
        gained = f": {report.published:g} -> {scores.best:g} on {report.scored_on}{against}"
    # On the examples that chose the winner, its finding would be too good.
    is_honest = report.comparison is not None and report.compared_on == TEST_SET
    return f"{gained}, and on {TEST_SET} {report.comparison}{against}" if is_honest else gained
