"""What pods spent that are over, and how that is booked. Never less than what their results took."""

import hashlib
from collections.abc import Iterable

from pydantic import ValidationError

from swarm_engine import accounts
from swarm_operator.compilation.interpret.output import Output
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Job, Pod
from swarm_wire.names import ExitCode
from swarm_wire.records import RecordKind
from swarm_wire.spending import Booked, Spending

NOTHING = Spending()


def closing(output: Output, journal: Journal, threads: int) -> Booked | None:
    """What closes the account of a pod that is over; None where nothing is to be booked.

    Args:
        threads: of each pod.
    """
    pod = output.pod
    lost = accounts.repeated(pod.commit, [output.told], threads) if pod.started or output.lost else 0
    cost = spent(output, lost)
    if pod.account in journal.accounts.closed or not (pod.allowance.is_limited or lost or cost != NOTHING):
        return None
    return Booked(account=pod.account, spent=cost, repeated=lost, final=True)


def spent(output: Output, unprinted: int = 0) -> Spending:
    """What a pod spent that is over: its last word, or what it said that it was going to. All that it was allowed,
    where nothing can be known. Never less than what its results took.

    Args:
        unprinted: calls, at most, whose answers it did not print.
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
    """Whether the last word of a pod that was killed may be missing. One with an allowance opens its output with a
    record, before anything can be spent: where that is not there, a kubelet has rotated the log.
    """
    pod, transcript = output.pod, output.transcript
    has_begun = pod.started and pod.exit_code != ExitCode.INTERRUPTED
    return transcript.has_gaps or (pod.allowance.is_limited and has_begun and not transcript.digests)


def vanished(jobs: Iterable[Job], pods: Iterable[Pod], journal: Journal) -> list[tuple[int, Booked]]:
    """What is booked for pods of finished Jobs that are not there any more, and that nobody has booked: somebody took
    our finalizer or our labels off them. All that they were allowed may be spent.
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
    """What the accounts do not say any more of what the status told of: somebody has taken them out.

    Args:
        books: all accounts, with what is booked just now.
    """
    if (rest := (told | books) - books) == NOTHING:
        return None
    # An account of its own each time that something is taken out.
    name = hashlib.sha256(" ".join(sorted(journal.accounts.closed)).encode()).hexdigest()
    return Booked(account=f"missing-{name[:16]}", spent=rest, final=True)
