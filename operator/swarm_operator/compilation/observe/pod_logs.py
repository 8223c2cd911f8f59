"""Reading pods' output: while they run, at once when they are deleted, and at their end."""

import asyncio
import logging
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.object_names import CONTAINER
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Key, Pod
from swarm_operator.compilation.observe.harvest import Output, transcribed
from swarm_operator.settings import MEBIBYTE, Settings
from swarm_wire.records import RecordKind

log = logging.getLogger(__name__)

DELETED_INTERVAL: Final = 1.0
"""Seconds between two reads of a pod that is being deleted: its output vanishes with its container."""
LONGEST_INTERVAL: Final = 60.0
"""Seconds between two reads of a pod whose output cannot be read, at most: each failure doubles them."""
READ_SECONDS: Final = 10.0
"""Longest read that is no last chance, and how long a pass begins reads: a node that hangs holds nobody up."""
OUTPUT_BYTES: Final = 11 * MEBIBYTE
"""More than kubelets keep before they rotate a log."""
PASS_BYTES: Final = 32 * MEBIBYTE
"""When a pass has so much that is new, the other pods are read in the next one."""

_NO_LOG: Final = re.compile(rb"(?:^|\n)unable to retrieve container logs for [a-z0-9.-]+://[0-9a-f]+\n?\Z")
_parsing = threading.Lock()


@dataclass
class _Tries:
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


@dataclass
class _Sitting:
    """What a pass may read yet."""

    until: float
    room: int

    @property
    def is_over(self) -> bool:
        return self.room <= 0 or asyncio.get_running_loop().time() > self.until


class LogReader:
    """Reads the pods of one Compilation.

    What it remembers may be lost: a pod's output is then read once more than needed.

    Args:
        gate: bounds the reads of the whole operator. One Compilation has half of them at most.
    """

    def __init__(self, kube: Kube, key: Key, settings: Settings, gate: asyncio.Semaphore) -> None:
        self._kube, self._key, self._settings, self._gate = kube, key, settings, gate
        self._own_gate = asyncio.Semaphore(max(1, settings.concurrent_logs // 2))
        self._tries: dict[str, _Tries] = {}

    async def read(self, pods: Iterable[Pod], journal: Journal, now: datetime) -> list[Output]:
        """Outputs of those pods whose time it is. Of a pod that is lost there always is one, be it empty."""
        ours = [pod for pod in pods if self._is_open(pod, journal)]
        known = {pod.uid for pod in ours}
        self._tries = {uid: tries for uid, tries in self._tries.items() if uid in known}
        due = sorted((pod for pod in ours if self._due(pod, now)), key=lambda pod: self._rank(pod, now))
        sitting = _Sitting(asyncio.get_running_loop().time() + READ_SECONDS, PASS_BYTES)
        found = await asyncio.gather(*(self._output(pod, journal, now, sitting) for pod in due))
        return [output for output in found if output is not None]

    def _is_open(self, pod: Pod, journal: Journal) -> bool:
        """Whether something may be missing of a pod. One without our finalizer was read to its end before, or somebody
        has taken that off: then it is read as long as it can be, and what it may spend is not on the books yet.
        """
        if pod.held:
            return True
        tries = self._tries.get(pod.uid)
        is_known = tries is not None and not tries.is_over
        return (pod.allowance.is_limited or not pod.ended or is_known) and pod.account not in journal.accounts.closed

    def _lost(self, pod: Pod, now: datetime) -> bool:
        return pod.lost(now, self._settings.lost_after)

    def _rank(self, pod: Pod, now: datetime) -> tuple[bool, int]:
        tries = self._tries.get(pod.uid)
        return not self._lost(pod, now), tries.failed if tries else 0

    def _due(self, pod: Pod, now: datetime) -> bool:
        tries = self._tries.get(pod.uid)
        if self._lost(pod, now):
            return True
        if tries is None:
            return pod.started or pod.ended
        usual = DELETED_INTERVAL if pod.deleted_at or pod.ended else self._settings.gather_interval
        is_at_once = tries.is_over or (pod.ended and not tries.failed)
        interval = 0.0 if is_at_once else min(usual * 2.0 ** min(tries.failed, 10), LONGEST_INTERVAL)
        # Clocks may be set back.
        return not 0 <= (now - tries.last).total_seconds() < interval

    async def _output(self, pod: Pod, journal: Journal, now: datetime, sitting: _Sitting) -> Output | None:
        """None: it is read later."""
        lost = self._lost(pod, now)
        if not pod.started and not lost:
            return Output(pod, final=True)
        async with self._own_gate, self._gate:
            # Nothing waits for these any more: they are on the books now, or it is too late.
            is_urgent = lost or (pod.ended and not pod.held)
            if sitting.is_over:
                return Output(pod, final=True, lost=True) if is_urgent else None
            tries = self._tries.setdefault(pod.uid, _Tries(now, now))
            tries.last = now
            if pod.ended and tries.whole is not None and tries.whole.transcript.complete(pod.commit):
                tries.is_over = True
                return replace(tries.whole, pod=pod, final=True)
            is_last = pod.ended and self._given_up(pod, tries, now)
            text = await self._text(pod, self._settings.log_timeout if is_last else READ_SECONDS)
            nonce = object_names.nonce(self._key.uid, pod.job)
            output = await asyncio.to_thread(_transcribed, pod, text or b"", nonce, journal)
            sitting.room -= output.size
        # A kubelet says so with 200, of a container that is gone and while its runtime starts again.
        is_good = text is not None and not _NO_LOG.search(text[-300:])
        is_cut = text is not None and len(text) >= OUTPUT_BYTES
        is_whole = output.transcript.complete(pod.commit) or (pod.commit is None and is_good and not is_cut)
        tries.failed = 0 if is_whole or (is_good and not pod.ended) else tries.failed + 1
        if is_urgent or (pod.ended and (is_whole or is_last)):
            if not is_whole:
                log.warning("pod %s/%s: the rest of its output is given up", self._key.namespace, pod.name)
            tries.is_over = True
            return replace(output, final=True, lost=lost or not is_whole)
        if is_good:
            is_old = all(record.kind in (RecordKind.BOOKED, RecordKind.BOUND) for record in output.found)
            tries.whole = output if pod.deleted_at and is_old else None
        return output

    async def _text(self, pod: Pod, seconds: float) -> bytes | None:
        """None where it cannot be read now; perhaps it can later."""
        try:
            async with asyncio.timeout(seconds):
                return await self._kube.log(
                    self._key.namespace, pod.name, CONTAINER, limit=OUTPUT_BYTES, timeout=seconds
                )
        except (errors.ApiError, TimeoutError) as error:
            log.info("pod %s/%s: its output is read later: %r", self._key.namespace, pod.name, str(error))
            return None

    def _given_up(self, pod: Pod, tries: _Tries, now: datetime) -> bool:
        ended = max(pod.finished_at or pod.created_at, tries.first)
        return (now - ended).total_seconds() > self._settings.log_deadline


def _transcribed(pod: Pod, text: bytes, nonce: str, journal: Journal) -> Output:
    # One at a time: what a text unfolds to is held once.
    with _parsing:
        return transcribed(pod, text, nonce, journal)
