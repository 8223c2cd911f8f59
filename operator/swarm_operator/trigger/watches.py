"""Follows what a trigger watches: files in git, ConfigMaps, whether a model has changed behind its name, and which
models there are (pure).

A change stays due until a run has begun for it. So a change that comes while a run is under way is not lost, and
several changes begin one run.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from swarm_operator.compilation.decide.conditions import timestamp
from swarm_operator.trigger.api import Reason
from swarm_operator.trigger.causes import Cause
from swarm_operator.trigger.spec import TriggerSpec
from swarm_operator.trigger.status import KNOWN, WatchStatus
from swarm_operator.trigger.world import LookJob, World
from swarm_wire import names
from swarm_wire.looks import ModelWatch, Watch, Watched
from swarm_wire.names import TERMINAL_EXITS, ExitCode
from swarm_wire.spec.git import GitSource
from swarm_wire.spec.providers import model_list
from swarm_wire.words import sentence

GIT: Final = "git"
CONFIG_MAPS: Final = "configMaps"
DRIFT: Final = "drift"
MODELS: Final = "models"
FAILURES: Final = 3
"""After so many failed looks in a row, the trigger is Stalled. A mistake that only a person can mend counts as many."""
LEAST_SECONDS: Final = 10
"""Least time between the beginnings of two looks, whatever webhooks ask for."""
RETRY_SECONDS: Final = 30
"""Seconds between a failed look and the next one. They double with each further failure, up to the interval."""
PENDING_SECONDS: Final = 900
"""A pod that something keeps from starting for so long has failed."""
REVISION: Final = 12
"""Length of the revision of ConfigMaps: the beginning of their digest."""
PUBLISHED_FILES: Final = (names.PROGRAM_FILE, names.REPORT_FILE, names.MARKDOWN_FILE)
_PORTS: Final = {"https": 443, "http": 80, "ssh": 22}


@dataclass(frozen=True)
class StartLook:
    """Create a Job whose pod looks at the git repository, or lists models."""

    number: int
    watch: Watch | ModelWatch


@dataclass(frozen=True)
class Watching:
    """What a pass says and does about everything that a trigger watches.

    Attributes:
        statuses: for the trigger's status.
        starts: the looks to start.
        over: looks that are no longer needed, because `statuses` has their results, or because the spec has changed.
        next_look: when the next look is due; None if looks are under way, or if nothing is watched by pods.
    """

    statuses: tuple[WatchStatus, ...]
    starts: tuple[StartLook, ...] = ()
    over: tuple[LookJob, ...] = ()
    next_look: datetime | None = None

    def changes(self, now: datetime) -> Iterator[Cause]:
        """Yields the changes for which no run has begun."""
        is_whole = all(watch.digest is not None for watch in self.statuses if watch.kind in (GIT, CONFIG_MAPS))
        for watch in self.statuses:
            if watch.kind == MODELS and not is_whole:
                continue  # one run is for the model and for the content that is not yet known
            if watch.digest is not None and watch.digest != watch.begun_digest and watch.revision is not None:
                yield Cause(now, watch.kind, watch.revision)

    @property
    def failing(self) -> WatchStatus | None:
        """Returns a watch whose last look has failed, or is kept from starting; None if there is none."""
        return next((watch for watch in self.statuses if watch.reason is not None), None)

    @property
    def content(self) -> dict[str, str]:
        """Returns the digests of everything that is watched, by kind. A run that begins now is for this content."""
        return {watch.kind: watch.digest for watch in self.statuses if watch.digest is not None}

    def begun(self) -> tuple[WatchStatus, ...]:
        """Returns the statuses after a run of the trigger's own Compilation has begun."""
        return tuple(watch.model_copy(update={"begun_digest": watch.digest}) for watch in self.statuses)

    @property
    def new_models(self) -> list[str]:
        """Returns the models for which no run has begun."""
        return [
            name
            for watch in self.statuses
            if watch.known is not None
            for name in watch.listed
            if name not in watch.known
        ]

    def tried(self, model: str) -> tuple[WatchStatus, ...]:
        """Returns the statuses after the run for a new model has begun."""
        return tuple(_knowing(watch, [model]) for watch in self.statuses)


def digest_of(watch: Watch | ModelWatch) -> str:
    """Returns a short digest of what a look looks at. The result of a look for another spec does not count.

    Digests of looks at the same list of models have the same first half.
    """
    digest = hashlib.sha256(watch.to_json().encode()).hexdigest()
    if isinstance(watch, Watch):
        return digest[:REVISION]
    place = hashlib.sha256(f"{watch.provider} {watch.base}".encode()).hexdigest()
    return place[: REVISION // 2] + digest[: REVISION // 2]


def follow(world: World, spec: TriggerSpec, now: datetime) -> Watching:
    """Returns what the trigger watches, after what this pass has read."""
    statuses, starts, over, times = list[WatchStatus](), list[StartLook](), world.looks, list[datetime]()
    number = max([0, *(watch.looks for watch in world.status.watches), *(look.number for look in world.looks)])
    for kind, watch, interval in _looks(spec):
        status, look = _followed(_before(world, kind), digest_of(watch), world.looks)
        if look is not None:
            result = _result(look, now)
            status = _waiting(status, look) if result is None else _looked(status, look, result, now)
            over = over if result is not None else tuple(each for each in over if each is not look)
        elif not spec.suspend:
            asked = world.status.look_requested_at if kind == GIT else None
            times.append(_next_look(asked, status, interval, now))
            if times[-1] <= now:
                number += 1
                starts.append(StartLook(number, watch))
        if kind == MODELS:
            # If the template gets another model, a run begins. Otherwise a new model would be compared with a program
            # that nobody runs any more.
            current = spec.template.spec.models.student.model
            status = _seen(_knowing(status, [*world.trials, current]), current, current, now)
        statuses.append(status)
    if spec.config_maps:
        found, digest = _before(world, CONFIG_MAPS), world.config_maps
        statuses.append(_seen(found, digest, digest[:REVISION], now) if digest else found)
    if spec.recompile_on_drift:
        found, run = _before(world, DRIFT), world.owned.drifted if world.owned else ""
        statuses.append(_seen(found, run, run, now) if run else found)
    return Watching(tuple(statuses), tuple(starts), over, min(times, default=None))


def _looks(spec: TriggerSpec) -> Iterator[tuple[str, Watch | ModelWatch, int]]:
    """Yields what pods look at: its kind, what they look for, and the seconds between two looks."""
    if spec.git is not None and spec.source is not None:
        yield GIT, _watch(spec, spec.source, spec.git.paths), spec.git.interval_seconds
    student = spec.template.spec.models.student
    if spec.models is not None and (base := model_list(student)) is not None:
        watch = ModelWatch(
            field="spec.template.spec.models.student",
            role="student",
            provider=student.provider,
            base=base,
            pattern=spec.models.pattern,
            secret=student.api_key.secret if student.api_key else None,
        )
        yield MODELS, watch, spec.models.interval_seconds


def _followed(before: WatchStatus, wanted: str, looks: tuple[LookJob, ...]) -> tuple[WatchStatus, LookJob | None]:
    """Returns what is known of something that pods look at, and the look that is under way or has just ended."""
    if before.watch != wanted:
        # The spec has changed. What was seen of another branch, of other files or of another provider says nothing.
        is_same_list = before.kind == MODELS and (before.watch or "")[: REVISION // 2] == wanted[: REVISION // 2]
        kept = ["kind", "looks", "begun_digest", *(["listed", "known"] if is_same_list else [])]
        before = WatchStatus.model_validate(
            {**{name: getattr(before, name) for name in kept}, "watch": wanted}, by_name=True
        )
    return before, next((look for look in looks if look.number > before.looks and look.watch == wanted), None)


def _knowing(watch: WatchStatus, models: Iterable[str]) -> WatchStatus:
    """Returns the status with further known models, if it is that of models and there was a first list."""
    if watch.known is None:
        return watch
    known = dict.fromkeys([*watch.known, *models])
    return watch.model_copy(update={"known": [*known][-KNOWN:]})


def _before(world: World, kind: str) -> WatchStatus:
    """Returns what is known of something that is watched.

    The Compilation says for which content its run has begun, even if the operator died before it wrote the status.
    """
    watch = next((each for each in world.status.watches if each.kind == kind), WatchStatus(kind=kind))
    begun = world.owned.begun.get(kind) if world.owned else None
    if begun is None or begun == watch.begun_digest:
        return watch
    # The status is older than the run, so the content in it is older, too.
    return watch.model_copy(update={"digest": begun, "begun_digest": begun})


def _watch(spec: TriggerSpec, source: GitSource, paths: list[str]) -> Watch:
    target = spec.template.spec.artifact.git
    is_same = target is not None and _place(target.url) == _place(source.url)
    return Watch(
        field="spec.template.spec.program.source.git",
        source=source,
        paths=paths or ([source.path] if source.path else []),
        without=[f"{target.path}/{name}" for name in PUBLISHED_FILES] if target is not None and is_same else [],
    )


def _place(url: str) -> str:
    """Returns host and path of a repository's URL. They are the same by https, ssh and in the short form of ssh."""
    if "://" not in url:
        url = re.sub(r"^([^/:]+):", r"ssh://\1/", url)
    parts = urlsplit(url.lower())
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    path = parts.path.strip("/").removesuffix(".git")
    return f"{parts.hostname}{port if parts.scheme != 'ssh' else ''}/{path}"


def _next_look(asked: str | None, watch: WatchStatus, interval: int, now: datetime) -> datetime:
    """Returns when the next look is due.

    Args:
        asked: when a webhook last asked for a look.
    """
    if watch.look_time is None:
        return now
    last = datetime.fromisoformat(watch.look_time)
    if last > now:
        return now  # the clock was ahead and was set back
    if asked is not None and datetime.fromisoformat(asked) >= last:
        return last + timedelta(seconds=LEAST_SECONDS)
    if watch.failures:
        return last + timedelta(seconds=min(interval, RETRY_SECONDS * 2 ** min(watch.failures - 1, 20)))
    return last + timedelta(seconds=interval)


def _seen(watch: WatchStatus, digest: str, revision: str, now: datetime) -> WatchStatus:
    if watch.digest == digest:
        return watch
    return watch.model_copy(update={"digest": digest, "revision": revision, "since": timestamp(now)})


def _waiting(watch: WatchStatus, look: LookJob) -> WatchStatus:
    """Returns the status while a look is under way. It says what keeps the pod from starting."""
    if look.pod is None or look.pod.trouble is None:
        return watch
    return watch.model_copy(
        update={"reason": look.pod.trouble.reason.value, "message": sentence(look.pod.trouble.message)}
    )


def _looked(watch: WatchStatus, look: LookJob, result: "Watched | list[str] | _Failure", now: datetime) -> WatchStatus:
    looked = watch.model_copy(update={"looks": look.number, "look_time": timestamp(look.created_at)})
    good = {"failures": 0, "reason": None, "message": None}
    if isinstance(result, Watched):
        return _seen(looked, result.digest, result.commit, now).model_copy(update=good)
    if isinstance(result, list):
        known = watch.known or []
        if watch.look_time is None:
            # Nobody knows how old the models of the first list are, so they begin no run. After a change of the
            # pattern, those go on waiting that have waited before.
            waits = [name for name in watch.listed if name not in known]
            known = [*known, *(name for name in result if name not in (*known, *waits))]
        return looked.model_copy(update={**good, "listed": result, "known": known[-KNOWN:]})
    failures = max(watch.failures + 1, FAILURES if result.is_final else 0)
    told = sentence(result.message)
    return looked.model_copy(update={"failures": failures, "reason": result.reason, "message": told})


@dataclass(frozen=True)
class _Failure:
    """Why a look has failed.

    Attributes:
        is_final: whether another look would fail likewise.
    """

    reason: str
    message: str
    is_final: bool = False


def _result(look: LookJob, now: datetime) -> Watched | list[str] | _Failure | None:
    """Returns what has come of a look; None if it is under way."""
    pod, commit = look.pod, look.commit
    if commit is not None and commit.exit_code == ExitCode.DONE:
        found = commit.watched if commit.watched is not None else commit.listed
        if found is not None:
            return found
    if commit is not None and commit.reason and commit.message:
        return _Failure(commit.reason, commit.message, commit.exit_code in TERMINAL_EXITS)
    if pod is not None and pod.trouble is not None and (now - look.created_at).total_seconds() > PENDING_SECONDS:
        return _Failure(pod.trouble.reason, pod.trouble.message)
    if pod is not None and pod.ended:
        how = f": {pod.failure}" if pod.failure else ""
        return _Failure(Reason.WATCH_FAILED, f"the pod {pod.name} ended without a result{how}")
    return _Failure(Reason.WATCH_FAILED, f"the Job {look.name} ended without a result") if look.is_over else None
