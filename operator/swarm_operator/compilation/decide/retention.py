"""Bounds the size of journals: which earlier runs are kept, and which shards are merged or deleted (pure)."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.decide.situation import Situation
from swarm_operator.compilation.model.actions import MergeShards
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import MapRef
from swarm_operator.settings import MEBIBYTE
from swarm_wire.messages import PlanOutcome
from swarm_wire.shards import SHARD_BYTES

MOST_EARLIER: Final = 500
"""Largest number of shards of earlier runs that a pod mounts. Each mounted shard makes the Job larger."""
FEW: Final = 20
"""If a run has at most this many small shards, they are not merged. Merging each new shard would write too much."""
MOST_MERGED: Final = 100
"""Largest number of shards that one pass merges. A longer pass would read pods' output too late."""


def reusable(earlier: Sequence[str], maps: Iterable[MapRef], most_bytes: int) -> list[str]:
    """Returns the earlier runs whose results a later run may use, oldest first.

    It takes runs from the newest to older ones while they fit into the bounds. It always takes the newest run with
    results.

    Args:
        earlier: ids of the earlier runs, oldest first.
    """
    sizes: dict[str, list[int]] = {}
    for found in maps:
        if found.kind == ObjectKind.RESULTS:
            # Others may edit the annotation with the size. An impossible or missing size counts as a full ConfigMap.
            stated = found.size if 0 < found.size <= MEBIBYTE else MEBIBYTE
            sizes.setdefault(found.run_id, []).append(stated)
    kept: list[str] = []
    size = shards = 0
    for run in reversed([run for run in earlier if run in sizes]):
        size, shards = size + sum(sizes[run]), shards + len(sizes[run])
        if kept and (size > most_bytes or shards > MOST_EARLIER):
            break
        kept.insert(0, run)
    return kept


def kept(s: Situation, *, answered: bool) -> set[str]:
    """Returns the runs whose journals are kept. The current run is not among them.

    Args:
        answered: whether the current run has its artifact. Then runs with another requested-at are no longer needed.
    """
    of_request, current = s.world.earlier, s.world.compilation.run_id
    opened = {found.run_id: found.created_at for found in s.world.maps if found.kind == ObjectKind.RUN}
    others = {found.run_id for found in s.world.maps} - {current, *of_request}
    # Nobody knows the age of a run after somebody has deleted the ConfigMap with its RunRequest.
    by_age = sorted(others, key=lambda run: (when.isoformat() if (when := opened.get(run)) else "", run))
    runs = [*([] if answered else by_age), *of_request]
    return set(reusable(runs, s.world.maps, s.settings.journal_bytes))


def mounted(s: Situation) -> frozenset[str]:
    """Returns the names of the ConfigMaps that pods may still mount."""
    jobs = {job.uid for job in s.world.jobs}
    if any(not (pod.started or pod.ended) and pod.job_uid not in jobs for pod in s.live(s.world.pods)):
        # Somebody has deleted the Job of a pod that has not started, so nobody knows what this pod mounts.
        return frozenset(found.name for found in s.world.maps)
    current = s.world.compilation.run_id
    live = [job for job in s.world.jobs if job.run_id != current or not s.over(job)]
    return frozenset(name for job in live for name in job.mounted)


def compaction(s: Situation) -> MergeShards | None:
    """Merges small shards that no pod may mount.

    The small shards become superfluous when a pass reads the merged shard.
    """
    taken = mounted(s)
    runs = [s.world.journal.of(ObjectKind.RESULTS)]
    own = [shard for shard in s.world.earlier_shards if shard.run_id in s.world.earlier]
    runs += [list(its) for _, its in groupby(own, lambda shard: shard.run_id)]
    read = {shard.name for shards in runs for shard in shards} | s.world.superfluous
    altered = {found.run_id for found in s.world.maps if found.kind == ObjectKind.RESULTS and found.name not in read}
    for shards in runs:
        # A run with an altered shard is left out. The altered shard may be one that an earlier pass has merged, and
        # then the parts of this shard are still needed.
        if shards and shards[0].run_id not in altered and (crowd := crowded(shards, taken)):
            return MergeShards(crowd)
    return None


def sifted(shards: Iterable[Shard]) -> tuple[list[Shard], frozenset[str]]:
    """Returns the shards that are needed, in the given order, and the names of the superfluous shards."""
    found = list(shards)
    runs = dict[str, list[Shard]]()
    for shard in found:
        if shard.kind is ObjectKind.RESULTS:
            runs.setdefault(shard.run_id, []).append(shard)
    names = frozenset(shard.name for its in runs.values() for shard in superfluous(its))
    return [shard for shard in found if shard.name not in names], names


def superfluous(shards: Iterable[Shard]) -> list[Shard]:
    """Returns the shards of a run's results whose records are all in larger shards of the run."""
    results: set[str] = set()
    calls: set[str] = set()
    others: set[tuple[object, ...]] = set()
    looks: dict[str, int] = {}
    found = []
    for shard in sorted(shards, key=lambda shard: (-shard.size, shard.key)):
        said: set[tuple[object, ...]] = {(booked.account, booked.final) for booked in shard.booked}
        said |= {(end.round,) for end in shard.plans}
        said |= {(shard.artifact.sha256,)} if shard.artifact else set()
        said |= {("bound",)} if shard.bound else set()
        said |= {(shard.pushed.sha256, shard.pushed.commit)} if shard.pushed else set()
        waits = all(waits.number <= looks.get(key, 0) for key, waits in shard.pending.items())
        if waits and shard.results.keys() <= results and shard.calls.keys() <= calls and said <= others:
            found.append(shard)
        results |= shard.results.keys()
        calls |= shard.calls.keys()
        others |= said
        looks |= {key: max(looks.get(key, 0), waits.number) for key, waits in shard.pending.items()}
    return found


def crowded(shards: Sequence[Shard], taken: frozenset[str] = frozenset()) -> tuple[Shard, ...]:
    """Returns small shards of a run that fit into one shard, if the run has too many of them; otherwise no shards.

    Only shards of older rounds may be merged across rounds, since the rules need round and attempt of newer records.
    """
    rounds = sorted({end.round for shard in shards for end in shard.plans if end.outcome is not PlanOutcome.PARTIAL})
    first = rounds[-2] if len(rounds) > 1 else 0
    groups: dict[tuple[int, int], list[Shard]] = {}
    for shard in shards:
        if shard.size <= SHARD_BYTES // 2 and shard.name not in taken:
            group = (shard.round, shard.attempt) if shard.round >= first else (-1, 0)
            groups.setdefault(group, []).append(shard)
    for small in groups.values():
        if len(small) > FEW:
            sizes = [sum(shard.size for shard in small[: end + 1]) for end in range(min(len(small), MOST_MERGED))]
            return tuple(small[: sum(size <= SHARD_BYTES for size in sizes)])
    return ()
