"""Reading pods' output: while they run, at once when they are deleted, and at their end."""

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
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Key, Pod
from swarm_operator.settings import MEBIBYTE, Settings

log = logging.getLogger(__name__)

READ_SECONDS: Final = 10.0
"""Longest read that is no last chance, and how long a pass begins reads: a node that hangs holds nobody up."""
PASS_BYTES: Final = 32 * MEBIBYTE
"""When a pass has so much that is new, the other pods are read in the next one."""

_parsing = threading.Lock()


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
        self._reads: dict[str, Reads] = {}

    async def read(self, pods: Iterable[Pod], journal: Journal, now: datetime) -> list[Output]:
        """Outputs of those pods whose time it is. Of a pod that is lost there always is one, be it empty."""
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
        """None: it is read later."""
        if not pod.started and not pod.lost(now, self._settings.lost_after):
            return Output(pod, final=True)
        async with self._own_gate, self._gate:
            if sitting.is_over:
                return Output(pod, final=True, lost=True) if is_urgent(pod, now, self._settings) else None
            reads = replace(self._reads.get(pod.uid) or Reads(now, now), last=now)
            if (whole := reads.known(pod)) is not None:
                self._reads[pod.uid] = replace(reads, is_over=True)
                return whole
            # Until it is judged: a read that is cancelled counts as one.
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
        """None where it cannot be read now; perhaps it can later."""
        try:
            async with asyncio.timeout(seconds):
                return await self._kube.log(
                    self._key.namespace, pod.name, CONTAINER, limit=OUTPUT_BYTES, timeout=seconds
                )
        except (errors.ApiError, TimeoutError) as error:
            log.info("pod %s/%s: its output is read later: %r", self._key.namespace, pod.name, str(error))
            return None


def _transcribed(pod: Pod, text: bytes, nonce: str, journal: Journal) -> Output:
    # One at a time: what a text unfolds to is held once.
    with _parsing:
        return transcribed(pod, text, nonce, journal)
