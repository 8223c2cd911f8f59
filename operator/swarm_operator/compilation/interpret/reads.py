"""When a pod's output is read, and what a read is worth: whether there may be more, and whether that is given up."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from swarm_operator.compilation.interpret.output import Output
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Pod
from swarm_operator.settings import MEBIBYTE, Settings
from swarm_wire.records import RecordKind

DELETED_INTERVAL: Final = 1.0
"""Seconds between two reads of a pod that is being deleted: its output vanishes with its container."""
LONGEST_INTERVAL: Final = 60.0
"""Seconds between two reads of a pod whose output cannot be read, at most: each failure doubles them."""
OUTPUT_BYTES: Final = 11 * MEBIBYTE
"""More than kubelets keep before they rotate a log."""

_NO_LOG: Final = re.compile(rb"(?:^|\n)unable to retrieve container logs for [a-z0-9.-]+://[0-9a-f]+\n?\Z")


@dataclass(frozen=True)
class Reads:
    """Reads of a pod: the first and the last one, and how many have failed since one was good.

    Attributes:
        whole: an output of which everything is in the journal.
        is_over: the output was read to its end.
    """

    first: datetime
    last: datetime
    failed: int = 0
    whole: Output | None = None
    is_over: bool = False

    def is_last(self, pod: Pod, now: datetime, settings: Settings) -> bool:
        """Whether a read that fails now is not repeated: the pod has ended long ago."""
        ended = max(pod.finished_at or pod.created_at, self.first)
        return pod.ended and (now - ended).total_seconds() > settings.log_deadline

    def known(self, pod: Pod) -> Output | None:
        """All of a pod's output, where it was read before the pod has ended."""
        if pod.ended and self.whole is not None and self.whole.transcript.complete(pod.commit):
            return replace(self.whole, pod=pod, final=True)
        return None

    def judged(self, output: Output, text: bytes | None, now: datetime, settings: Settings) -> tuple[Output, Self]:
        """What a read has brought, and the reads with it.

        Args:
            text: None where nothing could be read.
        """
        pod = output.pod
        # A kubelet says so with 200, of a container that is gone and while its runtime starts again.
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
    """Whether something may be missing of a pod. One without our finalizer was read to its end before, or somebody has
    taken that off: then it is read as long as it can be, and what it may spend is not on the books yet.
    """
    if pod.held:
        return True
    is_known = reads is not None and not reads.is_over
    return (pod.allowance.is_limited or not pod.ended or is_known) and pod.account not in journal.accounts.closed


def is_urgent(pod: Pod, now: datetime, settings: Settings) -> bool:
    """Whether nothing waits for its output any more: it is on the books now, or it is too late."""
    return pod.lost(now, settings.lost_after) or (pod.ended and not pod.held)


def is_due(pod: Pod, reads: Reads | None, now: datetime, settings: Settings) -> bool:
    if pod.lost(now, settings.lost_after):
        return True
    if reads is None:
        return pod.started or pod.ended
    usual = DELETED_INTERVAL if pod.deleted_at or pod.ended else settings.gather_interval
    is_at_once = reads.is_over or (pod.ended and not reads.failed)
    interval = 0.0 if is_at_once else min(usual * 2.0 ** min(reads.failed, 10), LONGEST_INTERVAL)
    # Clocks may be set back.
    return not 0 <= (now - reads.last).total_seconds() < interval
