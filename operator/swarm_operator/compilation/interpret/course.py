"""Finds the run of a pass: which run it is, whether it is over, and which ConfigMaps the operator reads for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide import retention
from swarm_operator.compilation.decide.conditions import State, is_over, settled
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.world import Compilation, MapRef, Predecessor, PublishedArtifact, Run
from swarm_operator.settings import Settings
from swarm_wire.messages import RunRequest
from swarm_wire.spec.compilation import CompilationSpec

PROGRESS: Final = frozenset({ObjectKind.RESULTS, ObjectKind.TASKS, ObjectKind.ASSIGNMENT, ObjectKind.SNAPSHOT})
"""Kinds of ConfigMaps that hold the progress of a run."""


@dataclass(frozen=True)
class Objects:
    """A Compilation and its objects of all runs, as the API server listed them.

    Attributes:
        requests: name of a ConfigMap -> the RunRequest in that ConfigMap, if the RunRequest is readable.
    """

    compilation: Compilation
    jobs: tuple[Job, ...]
    pods: tuple[Pod, ...]
    maps: tuple[MapRef, ...]
    requests: Mapping[str, RunRequest]


@dataclass(frozen=True)
class Course:
    """The run of a pass.

    Attributes:
        compilation: the Compilation, which says whether its earlier run goes on.
        run: None until the RunRequest is written.
        earlier: ids of other runs with the same requested-at, oldest first.
    """

    compilation: Compilation
    run: Run | None
    earlier: tuple[str, ...]

    @property
    def spec(self) -> CompilationSpec | None:
        """Returns the spec of the run or, before there is a run, the spec of the Compilation."""
        return self.run.spec if self.run else self.compilation.spec

    @property
    def artifact_name(self) -> str | None:
        return self.spec.artifact_name(self.compilation.key.name) if self.spec else None

    @property
    def predecessor_name(self) -> str | None:
        """Returns the name of the predecessor, while the run is under way."""
        named = self.spec.predecessor if self.spec else None
        return named.name if named and not is_over(self.compilation) else None

    def published_name(self, predecessor: Predecessor | None) -> str | None:
        """Returns the name of the ConfigMap with the published artifact, if the run that begins now needs it."""
        begins = self.run is None and self.spec is not None and self.spec.needs_published
        published, _ = self.compilation.published(predecessor)
        return published.config_map.name if begins and published and published.config_map else None


@dataclass(frozen=True)
class Reading:
    """Names of the ConfigMaps that a pass reads.

    Attributes:
        rests: whether the run is over and its artifact is in place, so that it needs no more work.
        earlier: ids of the runs whose results may be used, oldest first.
        maps: shards and assignments of the run, and results of the earlier runs.
        inputs: ConfigMaps that the spec names.
        kept: ConfigMaps whose content the next pass can use, too.
    """

    rests: bool
    earlier: tuple[str, ...]
    maps: tuple[str, ...]
    inputs: tuple[str, ...]
    kept: frozenset[str]


def course(seen: Objects, settings: Settings) -> Course:
    compilation = seen.compilation

    def request_of(run_id: str | None) -> RunRequest | None:
        """Returns the RunRequest of a run; None if it is not yet written, or no longer readable."""
        return seen.requests.get(object_names.run_map(compilation.key.name, run_id)) if run_id else None

    before = compilation.status.run_id
    if (last := request_of(before)) is not None:
        held = any(pod.held and pod.run_id == before for pod in seen.pods)
        new = object_names.run_map(compilation.key.name, compilation.run_id)
        is_opened = new in {found.name for found in seen.maps}
        compilation = compilation.continued(last, held and not is_opened)
    run = None
    if (request := request_of(compilation.run_id)) is not None:
        run = Run(compilation.key, compilation.run_id, request, request.spec.image or settings.worker_image)
    others = [
        (found.created_at, found.run_id)
        for found in seen.maps
        if found.run_id != compilation.run_id
        and (other := seen.requests.get(found.name)) is not None
        and other.requested_at == compilation.requested_at
    ]
    return Course(compilation, run, tuple(run_id for _, run_id in sorted(others)))


def predecessor(of: Course, other: Objects | None) -> Predecessor:
    """Returns what the run reuses of its predecessor.

    Args:
        other: the predecessor and its objects; None if there is no such Compilation.
    """
    name = f"Compilation {of.predecessor_name!r}, which spec.predecessor names,"
    if other is None:
        return Predecessor(why_not=f"{name} does not exist")
    found = other.compilation
    if found.key.uid == of.compilation.key.uid:
        return Predecessor(why_not=f"{name} is this one itself")
    if of.run is not None:
        # The run reuses those of its beginning, whatever the predecessor is asked anew in the meantime.
        return Predecessor(found.key.uid, found.status.artifact, tuple(of.run.request.inherited), other.maps)
    if of.compilation.requested_at is not None:
        return Predecessor(found.key.uid, found.status.artifact, why_not="requested-at asks the models anew")
    under_way = None if is_over(found) else found.status.run_id
    requests = {request.run_id: request for request in other.requests.values()}
    opened = sorted((each.created_at, each.run_id) for each in other.maps if each.kind == ObjectKind.RUN)
    valid = [request for _, run_id in opened if (request := requests.get(run_id)) is not None]
    valid = [request for request in valid if request.requested_at == found.requested_at]
    valid = [request for request in valid if request.run_id != under_way]
    # Pods of this Compilation do not mount the depot with the bodies of such results.
    runs = tuple(request.run_id for request in valid if request.spec.journal is None)
    reason = "keeps its results in spec.journal" if valid else "has no run that has ended and still holds"
    why_not = None if runs else f"{name} {reason}"
    return Predecessor(found.key.uid, found.status.artifact, runs, other.maps, why_not)


def reading(
    seen: Objects,
    of: Course,
    artifact: PublishedArtifact | None,
    settings: Settings,
    predecessor: Predecessor | None = None,
) -> Reading:
    """Returns the names of the ConfigMaps to read next.

    Args:
        artifact: the ConfigMap that has the name of the run's artifact, as it is in the cluster.
    """
    compilation, others = of.compilation, predecessor or Predecessor()
    maps = (*others.maps, *seen.maps)
    over = is_over(compilation)
    is_published = settled(compilation.status, compilation.run_id) is State.PUBLISHED
    rests = over and not (is_published and compilation.lacks(artifact))
    earlier = () if over else tuple(retention.reusable([*others.runs, *of.earlier], maps, settings.journal_bytes))
    own = {} if rests else {found.name: found for found in maps if found.run_id == compilation.run_id}
    results = {found.name: found for found in maps if found.run_id in earlier and found.kind == ObjectKind.RESULTS}
    inputs = tuple(sorted(of.spec.needed_config_maps())) if of.spec and not over else ()
    return Reading(
        rests=rests,
        earlier=earlier,
        maps=tuple(name for name, found in (own | results).items() if found.kind in PROGRESS),
        inputs=inputs,
        kept=frozenset({*inputs, *(found.name for found in maps if not over or found.kind == ObjectKind.RUN)}),
    )
