"""Makes the World, on which `decide` works, from everything that a pass has read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarm_operator.compilation.decide import retention
from swarm_operator.compilation.interpret.course import Course, Objects, Reading
from swarm_operator.compilation.interpret.harvest import harvest
from swarm_operator.compilation.interpret.output import Output
from swarm_operator.compilation.interpret.spending import vanished
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.model.world import (
    AssignmentMap,
    Harvest,
    Predecessor,
    PublishedArtifact,
    PublishedProgram,
    World,
)


@dataclass(frozen=True)
class Journals:
    """The content of the ConfigMaps of a run and of earlier runs.

    Attributes:
        assignments: assignments of the run, by (round, attempt).
        earlier: shards of earlier runs; those of the newest run are last.
        superfluous: names of the shards whose records are all in larger shards.
    """

    journal: Journal
    assignments: Mapping[tuple[int, int], AssignmentMap]
    earlier: tuple[Shard, ...]
    superfluous: frozenset[str]


@dataclass(frozen=True)
class Facts:
    """Facts that the operator reads after it knows the run of the pass.

    Attributes:
        artifact: the ConfigMap with the artifact's name.
        inputs: ConfigMaps that the spec names -> their keys; None if there is no such ConfigMap.
        outputs: outputs of the run's pods.
        rejections: uid of a Job -> why the API server admits none of the Job's pods.
        published: the published program, if the run that begins now needs it.
        predecessor: the predecessor, while a run that names one is under way.
    """

    artifact: PublishedArtifact | None
    inputs: Mapping[str, frozenset[str] | None]
    outputs: Sequence[Output]
    rejections: Mapping[str, str]
    published: PublishedProgram | None = None
    predecessor: Predecessor | None = None


def journals(of: Course, reading: Reading, contents: Iterable[object]) -> Journals:
    run_id = of.compilation.run_id
    order = [run_id, *reading.earlier]
    shards, assignments = list[Shard](), dict[tuple[int, int], AssignmentMap]()
    for content in contents:
        if isinstance(content, AssignmentMap):
            assignments[content.assignment.round, content.assignment.attempt] = content
        elif isinstance(content, Shard) and content.run_id in order:
            shards.append(content)
    found, superfluous = retention.sifted(sorted(shards, key=lambda shard: (order.index(shard.run_id), shard.key)))
    return Journals(
        journal=Journal(shard for shard in found if shard.run_id == run_id),
        assignments=assignments,
        earlier=tuple(shard for shard in found if shard.run_id != run_id),
        superfluous=superfluous,
    )


def pods_of_the_run(seen: Objects, of: Course) -> list[Pod]:
    return [pod for pod in seen.pods if pod.run_id == of.compilation.run_id]


def interpreted(seen: Objects, of: Course, reading: Reading, found: Journals, facts: Facts) -> World:
    run = None if reading.rests else of.run
    return World(
        compilation=of.compilation,
        run=run,
        inputs=facts.inputs,
        jobs=seen.jobs,
        pods=seen.pods,
        journal=found.journal,
        assignments=found.assignments,
        rejections=facts.rejections,
        artifact=facts.artifact,
        published=facts.published,
        maps=seen.maps,
        earlier=of.earlier,
        predecessor=facts.predecessor,
        earlier_shards=found.earlier,
        superfluous=found.superfluous,
        harvest=_harvest(seen, of, found.journal, facts.outputs) if run else Harvest(),
    )


def _harvest(seen: Objects, of: Course, journal: Journal, outputs: Sequence[Output]) -> Harvest:
    jobs = (job for job in seen.jobs if job.run_id == of.compilation.run_id)
    gone = vanished(jobs, pods_of_the_run(seen, of), journal)
    threads = of.run.spec.swarm.threads_per_pod if of.run else 1
    return harvest(outputs, journal, threads, gone, of.compilation.told)
