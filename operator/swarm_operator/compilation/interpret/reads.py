"""Says when to read a pod's output, whether the pod may print more, and when the operator stops reading."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from swarm_operator.compilation.interpret.output import Output
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.settings import MEBIBYTE, Settings
from swarm_wire.records import RecordKind

DELETED_INTERVAL: Final = 1.0
"""Seconds between two reads of a pod that is being deleted.

They are few, because the output vanishes with the container.
"""
LONGEST_INTERVAL: Final = 60.0
"""Longest pause between two reads of a pod whose output is unreadable, in seconds.

The pause doubles with each failure.
"""
OUTPUT_BYTES: Final = 11 * MEBIBYTE
"""Largest number of bytes that the operator reads of one output. A kubelet rotates a log before it has this size."""

_NO_LOG: Final = re.compile(rb"(?:^|\n)unable to retrieve container logs for [a-z0-9.-]+://[0-9a-f]+\n?\Z")


@dataclass(frozen=True)
class Reads:
    """The earlier reads of a pod's output: the first, the last, and the number of failures since the last success.

    Attributes:
        whole: what the last good read got, if the pod was being deleted and the journal has all records of it.
        is_over: whether the last read was final: it got all of the output, or the operator gave up the rest.
    """

    first: datetime
    last: datetime
    failed: int = 0
    whole: Output | None = None
    is_over: bool = False

    def is_last(self, pod: Pod, now: datetime, settings: Settings) -> bool:
        """Whether this read is the last even if it fails, because the pod ended long ago."""
        ended = max(pod.finished_at or pod.created_at, self.first)
        return pod.ended and (now - ended).total_seconds() > settings.log_deadline

    def known(self, pod: Pod) -> Output | None:
        """Returns the whole output of a pod that has ended, if an earlier read got all of it; otherwise None."""
        if pod.ended and self.whole is not None and self.whole.transcript.complete(pod.commit):
            return replace(self.whole, pod=pod, final=True)
        return None

    def judged(self, output: Output, text: bytes | None, now: datetime, settings: Settings) -> tuple[Output, Self]:
        """Returns the output with `final` and `lost` set, and the reads with this read added.

        Args:
            text: what this read got; None if it got nothing.
        """
        pod = output.pod
        # A kubelet answers with status 200 and this text if the container is gone, or while the runtime restarts.
        is_good = text is not None and not _NO_LOG.search(text[-300:])
        is_cut = text is not None and len(text) >= OUTPUT_BYTES
        is_whole = output.transcript.complete(pod.commit) or (pod.commit is None and is_good and not is_cut)
        reads = replace(self, failed=0 if is_whole or (is_good and not pod.ended) else self.failed + 1)
        lost = pod.lost(now, settings.lost_after)
        if is_urgent(pod, now, settings) or (pod.ended and (is_whole or self.is_last(pod, now, settings))):
            return replace(output, final=True, lost=lost or not is_whole), replace(reads, is_over=True)
        if is_good:
            is_old = all(record.kind in (RecordKind.BOOKED, RecordKind.BOUND) for record in output.found)
            reads = replace(reads, whole=output if pod.deleted_at and is_old else None)
        return output, reads


def is_open(pod: Pod, reads: Reads | None, journal: Journal) -> bool:
    """Whether the pod may have output that the operator has not read.

    As a rule, the operator has read all of it when the pod lacks the operator's finalizer. But somebody else may have
    removed the finalizer. Then the journal has not closed the pod's account, and the operator reads what is readable.
    """
    if pod.held:
        return True
    is_known = reads is not None and not reads.is_over
    return (pod.allowance.is_limited or not pod.ended or is_known) and pod.account not in journal.accounts.closed


def is_urgent(pod: Pod, now: datetime, settings: Settings) -> bool:
    """Whether this is the last chance to read the pod's output: nothing keeps the pod, or the pod is lost."""
    return pod.lost(now, settings.lost_after) or (pod.ended and not pod.held)


def is_due(pod: Pod, reads: Reads | None, now: datetime, settings: Settings) -> bool:
    if pod.lost(now, settings.lost_after):
        return True
    if reads is None:
        return pod.started or pod.ended
    usual = DELETED_INTERVAL if pod.deleted_at or pod.ended else settings.gather_interval
    is_at_once = reads.is_over or (pod.ended and not reads.failed)
    interval = 0.0 if is_at_once else min(usual * 2.0 ** min(reads.failed, 10), LONGEST_INTERVAL)
    # If somebody sets the clock back, the last read lies in the future. The pod's output is then read at once.
    return not 0 <= (now - reads.last).total_seconds() < interval
