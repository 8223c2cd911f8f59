"""Says what ended pods have spent, as records for the journal. A pod never counts less than its results took."""

import hashlib
from collections.abc import Iterable

from pydantic import ValidationError

from swarm_engine import accounts
from swarm_operator.compilation.interpret.output import Output
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.shards import Journal
from swarm_wire.names import ExitCode
from swarm_wire.records import RecordKind
from swarm_wire.spending import Booked, Spending

NOTHING = Spending()


def closing(output: Output, journal: Journal, threads: int) -> Booked | None:
    """Returns the record that closes the account of an ended pod; None if there is nothing to book.

    Args:
        threads: number of threads of each pod.
    """
    pod, role = output.pod, ROLES[output.pod.kind]
    if not (role.runs_code or role.trains):
        return None
    asks = role.runs_code and (pod.started or output.lost)
    lost = accounts.repeated(pod.commit, [output.told], threads) if asks else 0
    cost = spent(output, lost)
    if pod.account in journal.accounts.closed or not (pod.allowance.is_limited or lost or cost != NOTHING):
        return None
    return Booked(account=pod.account, spent=cost, repeated=lost, final=True)


def spent(output: Output, unprinted: int = 0) -> Spending:
    """Returns what an ended pod spent, and never less than its results took.

    The pod's commit record has the spending. Without a commit record, the spending that the pod announced last counts.
    If the operator cannot know that, the pod's whole allowance counts.

    Args:
        unprinted: largest possible number of calls whose answers the pod did not print.
    """
    commit, allowance, told = output.pod.commit, output.pod.allowance, output.told
    if commit is not None and commit.spent is not None:
        return commit.spent
    least = accounts.least(told, 0 if allowance.is_limited else unprinted)
    if output.lost or (commit is None and _may_have_said_more(output)):
        return allowance.all | least
    said = [record for record in output.found if record.kind is RecordKind.BOOKED]
    try:
        return (Booked.model_validate(said[-1].header).spent if said else Spending()) | least
    except ValidationError:
        return allowance.all | least


def _may_have_said_more(output: Output) -> bool:
    """Whether the last records of a killed pod may be missing.

    A pod with an allowance prints a record before it can spend anything. If that record is missing, a kubelet has
    rotated the log.
    """
    pod, transcript = output.pod, output.transcript
    has_begun = pod.started and pod.exit_code != ExitCode.INTERRUPTED
    return transcript.has_gaps or (pod.allowance.is_limited and has_begun and not transcript.digests)


def vanished(jobs: Iterable[Job], pods: Iterable[Pod], journal: Journal) -> list[tuple[int, Booked]]:
    """Returns bookings for pods of finished Jobs that are gone, and whose spending was never booked.

    Somebody has removed the finalizer or the labels of such a pod. It may have spent its whole allowance.
    """
    there = {(pod.job_uid, pod.index) for pod in pods}
    found = []
    for job in jobs:
        if not job.finished or not job.allowance.is_limited:
            continue
        for index in range(job.completions):
            account = job.account(index)
            if (job.uid, index) not in there and not journal.accounts.has_closed(account):
                found.append((job.round, Booked(account=account, spent=job.allowance.all, final=True)))
    return found


def missing(told: Spending, books: Spending, journal: Journal) -> Booked | None:
    """Returns a booking for spending that the status has and the accounts lack, because somebody deleted some accounts.

    Args:
        books: the total of all accounts, including what this pass books.
    """
    if (rest := (told | books) - books) == NOTHING:
        return None
    # The name of the account depends on the accounts that are left, so each loss gets an account of its own.
    name = hashlib.sha256(" ".join(sorted(journal.accounts.closed)).encode()).hexdigest()
    return Booked(account=f"missing-{name[:16]}", spent=rest, final=True)
