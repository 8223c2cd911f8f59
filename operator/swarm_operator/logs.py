"""Reading pods' output: while they run, at once when they are deleted, and at their end."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime

from swarm_operator import errors, naming
from swarm_operator.gather import Output
from swarm_operator.kube import Kube
from swarm_operator.manifests import CONTAINER
from swarm_operator.settings import Settings
from swarm_operator.world import Key, Pod

log = logging.getLogger(__name__)

DELETED_INTERVAL = 1.0
"""Seconds between two reads of a pod that is being deleted: its output vanishes with its container."""


class LogReader:
    """Reads the pods of one Compilation.

    What it remembers may be lost: a pod's output is then read once more than needed.

    Args:
        gate: bounds the reads of the whole operator.
    """

    def __init__(self, kube: Kube, key: Key, settings: Settings, gate: asyncio.Semaphore) -> None:
        self._kube, self._key, self._settings, self._gate = kube, key, settings, gate
        self._read_at: dict[str, datetime] = {}

    async def read(self, pods: Iterable[Pod], now: datetime) -> list[Output]:
        """Outputs of those pods whose time it is. A pod without our finalizer was read to its end before."""
        held = [pod for pod in pods if pod.held]
        due = [pod for pod in held if self._due(pod, now)]
        known = {pod.uid for pod in held}
        self._read_at = {uid: moment for uid, moment in self._read_at.items() if uid in known}
        self._read_at.update({pod.uid: now for pod in due})
        found = await asyncio.gather(*(self._output(pod, now) for pod in due))
        return [output for output in found if output is not None]

    def _due(self, pod: Pod, now: datetime) -> bool:
        if pod.ended:
            return True
        if not pod.started:
            return False
        before = self._read_at.get(pod.uid)
        interval = DELETED_INTERVAL if pod.deleted_at else self._settings.gather_interval
        # Clocks may be set back.
        return before is None or not 0 <= (now - before).total_seconds() < interval

    async def _output(self, pod: Pod, now: datetime) -> Output | None:
        nonce = naming.nonce(self._key.uid, pod.job)
        if not pod.started:
            return Output(pod, "", nonce, final=True)
        try:
            async with self._gate:
                text = await self._kube.log(self._key.namespace, pod.name, CONTAINER)
        except (errors.Rejected, errors.Vanished) as error:
            log.info("pod %s/%s: no output to be had: %s", self._key.namespace, pod.name, error)
            return Output(pod, "", nonce, final=True, lost=True) if pod.ended else None
        except errors.ApiError as error:
            if pod.ended and self._given_up(pod, now):
                log.warning("pod %s/%s: its output is given up: %s", self._key.namespace, pod.name, error)
                return Output(pod, "", nonce, final=True, lost=True)
            log.info("pod %s/%s: its output is read later: %s", self._key.namespace, pod.name, error)
            return None
        return Output(pod, text, nonce, final=pod.ended)

    def _given_up(self, pod: Pod, now: datetime) -> bool:
        ended = pod.finished_at or pod.created_at
        return (now - ended).total_seconds() > self._settings.log_deadline
