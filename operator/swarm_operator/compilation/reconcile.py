"""Makes one pass over one Compilation: observe, interpret, decide, apply."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime

from swarm_operator.cluster import errors
from swarm_operator.cluster.client import Kube
from swarm_operator.cluster.resources import JOBS
from swarm_operator.compilation.api import Reason
from swarm_operator.compilation.apply.applier import Applier
from swarm_operator.compilation.apply.config_maps import TooLarge
from swarm_operator.compilation.decide import rules
from swarm_operator.compilation.model.actions import (
    Action,
    Decision,
    KeepAssignment,
    KeepRecords,
    KeepRefused,
    MergeShards,
    OpenRun,
    Publish,
    StartJob,
)
from swarm_operator.compilation.model.world import Key, World
from swarm_operator.compilation.observe.observer import Observer
from swarm_operator.settings import Settings
from swarm_wire.words import sentence

log = logging.getLogger(__name__)


class Reconciler:
    """Makes passes over Compilations. Passes over the same Compilation must not overlap.

    It keeps state between passes only to save reads and writes. This state may be lost at any time.

    Args:
        clock: the time of the API server, which writes the timestamps of all objects.
    """

    def __init__(self, kube: Kube, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._kube, self._settings, self._clock = kube, settings, clock
        self._observers: dict[Key, Observer] = {}
        self._status_written: dict[Key, datetime] = {}
        self._stuck: dict[Key, str] = {}
        self._gate = asyncio.Semaphore(settings.concurrent_logs)

    async def __call__(self, key: Key) -> float | None:
        """Makes one pass. Returns the seconds until the next pass; None if only an event starts the next pass.

        Raises errors.ApiError if the caller should try again with increasing delays.
        """
        observer = self._observers.get(key)
        if observer is None:
            observer = self._observers[key] = Observer(self._kube, key, self._settings, self._gate)
        now = self._clock()
        world = await observer.world(now)
        if world is None:
            if await observer.is_gone():
                return await self._let_go(key, observer)
            self._observers.pop(key, None)
            return None
        decision = rules.decide(world, now, self._settings)
        try:
            wake_up = await self._report(world, await self._act(world, decision, now), now)
            await self._tidy(world, decision)
            return wake_up
        except errors.Terminating as error:
            log.info("%s: %s", key, error)
            # Kubernetes deletes the Compilation only when its pods are gone. The operator's finalizer keeps them until
            # their output is in the journal, but a namespace that is being deleted accepts no journal.
            return await self._let_go(key, observer)
        except errors.Vanished as error:
            log.info("%s: %s", key, error)
            return None

    async def _act(self, world: World, decision: Decision, now: datetime) -> Decision:
        """Applies the actions in order. Returns another decision if one of the actions can never succeed."""
        key = world.compilation.key
        applier = Applier(self._kube, key, {found.name for found in world.maps})
        for action in decision.actions:
            shown = _shown(action)
            try:
                await applier.act(action)
                log.info("%s: %s", key, shown)
            except (errors.Forbidden, errors.NameTaken, errors.Unavailable) as error:
                error.add_note(shown)
                # The status reports an unavailable API server only after two failures of the same action. The status of
                # a run that is over does not change, because it must still say how the run ended.
                is_told = self._stuck.get(key) == shown or not isinstance(error, errors.Unavailable)
                self._stuck[key] = shown
                if is_told and not decision.settled:
                    await self._report(world, rules.refused(world, now, error), now)
                raise
            except errors.Rejected as error:
                if decision.settled:
                    raise
                message = f"the API server refuses what the spec asks for: {sentence(str(error))} Correct the spec."
                return rules.ended(world, now, Reason.INVALID_SPEC, message)
            except TooLarge as error:
                if decision.settled:
                    raise
                is_program = isinstance(action, OpenRun | Publish | KeepRefused)
                reason = Reason.ARTIFACT_TOO_LARGE if is_program else Reason.RECORD_TOO_LARGE
                return rules.ended(world, now, reason, str(error))
        self._stuck.pop(key, None)
        return decision

    async def _tidy(self, world: World, decision: Decision) -> None:
        """Deletes objects that the run no longer needs.

        A later pass tries a failed deletion again, and the run goes on.
        """
        key = world.compilation.key
        applier = Applier(self._kube, key)
        for action in decision.tidying:
            try:
                await applier.act(action)
                log.info("%s: %s", key, _shown(action))
            except (errors.Rejected, errors.Forbidden) as error:
                log.warning("%s: %s: %s", key, _shown(action), error)

    async def _report(self, world: World, decision: Decision, now: datetime) -> float | None:
        """Writes the status, and then the events. Returns the seconds until the next pass."""
        key, status = world.compilation.key, decision.status
        if status is None or status.as_written() == world.compilation.status.as_written():
            return decision.wake_up
        before = self._status_written.get(key)
        pause = self._settings.status_interval - (now - before).total_seconds() if before else 0.0
        if 0 < pause <= self._settings.status_interval:
            if status.completion_time is None:
                return pause if decision.wake_up is None else min(decision.wake_up, pause)
            await asyncio.sleep(pause)
        self._status_written[key] = now
        applier = Applier(self._kube, key)
        await applier.write_status(world.compilation.resource_version, status.as_written())
        for event in decision.events:
            log.info("%s: %s: %s", key, event.reason, event.message)
            try:
                await applier.tell(event, now)
            except errors.ApiError as error:
                log.warning("%s: an event could not be written: %s", key, error)
        return decision.wake_up

    async def _let_go(self, key: Key, observer: Observer) -> float | None:
        """Removes the operator's finalizers from all pods of a Compilation, and deletes the Compilation's Jobs.

        The Compilation is gone, or is being deleted with its namespace. Kubernetes would delete the Jobs late, and
        their pods would go on spending until then.
        """
        applier = Applier(self._kube, key)
        for job in await observer.jobs():
            with contextlib.suppress(errors.ApiError):
                await applier.delete(JOBS, job.name, job.uid)
        held = [pod for pod in await observer.pods() if pod.held]
        for pod in held:
            await applier.release(pod.name, pod.uid)
        self._status_written.pop(key, None)
        self._stuck.pop(key, None)
        if held:
            return self._settings.gather_interval
        self._observers.pop(key, None)
        return None


def _shown(action: Action) -> str:
    """Returns the action as the log shows it, without its data."""
    match action:
        case OpenRun(request, published):
            return f"OpenRun({request.run_id}{f', {published.sha256[:12]}' if published else ''})"
        case KeepRecords(_, kind, round_, _, records):
            return f"KeepRecords({kind}, round {round_}, {len(records)} records)"
        case MergeShards(shards):
            return f"MergeShards({len(shards)} of run {shards[0].run_id})"
        case KeepAssignment(assignment):
            return f"KeepAssignment(round {assignment.round}, attempt {assignment.attempt})"
        case StartJob():
            return f"StartJob({action.role}, round {action.round}, attempt {action.attempt}, {action.pods} pods)"
        case Publish(_, artifact):
            return f"Publish({artifact.sha256[:12]})"
        case KeepRefused(_, artifact):
            return f"KeepRefused({artifact.sha256[:12]})"
        case _:
            return str(action)
