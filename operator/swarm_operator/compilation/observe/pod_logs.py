"""Reads pods' output: while the pods run, as soon as they are deleted, and when they have ended."""

import asyncio
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube
from swarm_operator.compilation.interpret.output import Output, transcribed
from swarm_operator.compilation.interpret.reads import OUTPUT_BYTES, Reads, is_due, is_open, is_urgent
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.object_names import CONTAINER
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Key
from swarm_operator.settings import MEBIBYTE, Settings

log = logging.getLogger(__name__)

READ_SECONDS: Final = 10.0
"""Longest time of one read in seconds, except of a pod's last read. A pass also starts reads for this long only.

So a node that hangs delays no other pod.
"""
PASS_BYTES: Final = 32 * MEBIBYTE
"""A pass that has read this many new bytes leaves the other pods to the next pass."""

_parsing = threading.Lock()


@dataclass
class _Sitting:
    """How much longer, and how many more bytes, a pass may read."""

    until: float
    room: int

    @property
    def is_over(self) -> bool:
        return self.room <= 0 or asyncio.get_running_loop().time() > self.until


class LogReader:
    """Reads the output of one Compilation's pods.

    The state of the reader may be lost. Then it reads a pod's output once more than needed.

    Args:
        gate: limits how many outputs the whole operator reads at the same time. One Compilation gets half of them at
            most.
    """

    def __init__(self, kube: Kube, key: Key, settings: Settings, gate: asyncio.Semaphore) -> None:
        self._kube, self._key, self._settings, self._gate = kube, key, settings, gate
        self._own_gate = asyncio.Semaphore(max(1, settings.concurrent_logs // 2))
        self._reads: dict[str, Reads] = {}

    async def read(self, pods: Iterable[Pod], journal: Journal, now: datetime) -> list[Output]:
        """Returns the outputs of the pods whose next read is due. A lost pod has an output, too, which may be empty."""
        ours = [pod for pod in pods if is_open(pod, self._reads.get(pod.uid), journal)]
        known = {pod.uid for pod in ours}
        self._reads = {uid: reads for uid, reads in self._reads.items() if uid in known}
        due = (pod for pod in ours if is_due(pod, self._reads.get(pod.uid), now, self._settings))
        sitting = _Sitting(asyncio.get_running_loop().time() + READ_SECONDS, PASS_BYTES)
        in_turn = sorted(due, key=lambda pod: self._rank(pod, now))
        found = await asyncio.gather(*(self._output(pod, journal, now, sitting) for pod in in_turn))
        return [output for output in found if output is not None]

    def _rank(self, pod: Pod, now: datetime) -> tuple[bool, int]:
        reads = self._reads.get(pod.uid)
        return not pod.lost(now, self._settings.lost_after), reads.failed if reads else 0

    async def _output(self, pod: Pod, journal: Journal, now: datetime, sitting: _Sitting) -> Output | None:
        """Returns the output of one pod; None if a later pass has to read it."""
        if not pod.started and not pod.lost(now, self._settings.lost_after):
            return Output(pod, final=True)
        async with self._own_gate, self._gate:
            if sitting.is_over:
                return Output(pod, final=True, lost=True) if is_urgent(pod, now, self._settings) else None
            reads = replace(self._reads.get(pod.uid) or Reads(now, now), last=now)
            if (whole := reads.known(pod)) is not None:
                self._reads[pod.uid] = replace(reads, is_over=True)
                return whole
            # The read is counted before it begins, so that a cancelled read counts, too.
            self._reads[pod.uid] = reads
            is_last = reads.is_last(pod, now, self._settings)
            text = await self._text(pod, self._settings.log_timeout if is_last else READ_SECONDS)
            nonce = object_names.nonce(self._key.uid, pod.job)
            output = await asyncio.to_thread(_transcribed, pod, text or b"", nonce, journal)
            sitting.room -= output.size
        judged, self._reads[pod.uid] = reads.judged(output, text, now, self._settings)
        if judged.lost:
            log.warning("pod %s/%s: the rest of its output is given up", self._key.namespace, pod.name)
        return judged

    async def _text(self, pod: Pod, seconds: float) -> bytes | None:
        """Returns the pod's log; None if it is unreadable now, but perhaps readable later."""
        try:
            async with asyncio.timeout(seconds):
                return await self._kube.log(
                    self._key.namespace, pod.name, CONTAINER, limit=OUTPUT_BYTES, timeout=seconds
                )
        except (errors.ApiError, TimeoutError) as error:
            log.info("pod %s/%s: its output is read later: %r", self._key.namespace, pod.name, str(error))
            return None


def _transcribed(pod: Pod, text: bytes, nonce: str, journal: Journal) -> Output:
    # The lock makes sure that only one inflated output is in memory.
    with _parsing:
        return transcribed(pod, text, nonce, journal)
