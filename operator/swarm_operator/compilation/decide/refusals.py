"""Rules that end a run which cannot go on, because of its spec, its journal, or an administrator's settings."""

from fnmatch import fnmatchcase
from typing import Final

from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.decide import wording
from swarm_operator.compilation.decide.endings import winner
from swarm_operator.compilation.decide.moves import Move, fail, give_up
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.decide.transfers import unfetched
from swarm_operator.compilation.model.pods import OVERDUE
from swarm_operator.settings import MEBIBYTE
from swarm_wire.messages import PROGRAM_FILES, PlanOutcome
from swarm_wire.names import TERMINAL_EXITS, WorkerReason
from swarm_wire.words import sentence

LONGEST_NAME: Final = 253


def invalid_spec(s: Situation) -> Move | None:
    compilation = s.world.compilation
    problems = compilation.problems
    if compilation.spec and len(name := compilation.spec.artifact_name(compilation.key.name)) > LONGEST_NAME:
        # The operator checks this before the compile. A failure to write the winner would come after all calls are
        # paid.
        problems = f"the artifact's ConfigMap would be {name!r}, and a name has at most {LONGEST_NAME} characters"
        problems += "; write a shorter one in spec.artifact.configMap.name"
    if problems:
        return fail(Reason.INVALID_SPEC, f"{sentence(problems)} Correct the spec: the change starts a new run.")
    return None


def stopped_by_a_pod(s: Situation) -> Move | None:
    """Ends the run if a pod has ended with an exit code that another attempt would meet again."""
    for pod in sorted(s.pods, key=lambda pod: (pod.round, pod.attempt, pod.index)):
        if pod.exit_code in TERMINAL_EXITS and not s.live([pod]):
            return give_up(s, wording.worker_reason(pod), wording.message_of(s, pod), proof=pod)
        if pod.kind is ObjectKind.TRAIN and pod.has_begun and pod.failure.startswith(OVERDUE) and not s.live([pod]):
            return give_up(
                s,
                WorkerReason.FINE_TUNE_TIMED_OUT,
                f"the training in pod {pod.name!r} takes longer than spec.finetune.deadlineSeconds, and was ended. "
                f"Write a later deadline. {wording.new_run(s)}",
                proof=pod,
            )
    return None


def damaged_journal(s: Situation) -> Move | None:
    rounds = sorted(s.world.journal.plans)
    has_begun = rounds or s.world.journal.is_bound or s.jobs_of(0, ObjectKind.PLAN)
    if has_begun and not winner(s) and (gone := sorted(unfetched(s))):
        # Another fetch might bring another commit or other data, and the results would not belong to this run.
        what = "the program's files" if gone[0] == PROGRAM_FILES else f"the examples of data.{gone[0]}"
        message = f"{what}, which the run has fetched, were deleted or altered. {wording.new_run(s)}"
        return give_up(s, Reason.JOURNAL_DAMAGED, message)
    if rounds == list(range(s.planned)):
        return None
    return give_up(
        s,
        Reason.JOURNAL_DAMAGED,
        f"the journal has the plans of rounds {rounds}: one between them was deleted or altered. {wording.new_run(s)}",
    )


def restricted(s: Situation) -> Move | None:
    """Ends the run if its image or service account is one that the operator's administrator does not allow."""
    spec, run, settings = s.world.compilation.spec, s.world.run, s.settings
    if spec is None or winner(s):
        return None
    # Any user with write access to ConfigMaps can write the RunRequest, from which the operator makes pods. So this
    # rule checks the RunRequest as well as the spec.
    specs = [spec, *([run.spec] if run else [])]
    images = [spec.image, *([run.image] if run else [])]
    trainers = [each.trainer.image for each in specs if each.trainer is not None]
    accounts = [each.swarm.service_account_name for each in specs]
    allowed_images = settings.allowed_images and (settings.worker_image, *settings.allowed_images)
    for field, values, allowed in (
        ("image", images, allowed_images),
        ("finetune.trainer.image", trainers, allowed_images),
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
    """Ends the run if the spec has models.*.limits and there is no limiter, which alone keeps these limits."""
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


def too_large(s: Situation) -> Move | None:
    """Ends the run if its journal exceeds the operator's setting, because etcd is not made for more data."""
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
    """Ends the run if a plan requests only results that the journal already had: it would request them in each round.

    If a round's tasks are lost, the next plan may request the missing cells once more. So that case does not end the
    run.
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
