"""From a pod's output to the records that count. What a pod printed is never believed beyond its rights.

A worker pod may say results of its round's cells. A plan pod may say results (of LM calls and small waves that it ran
itself) at any time; its tasks, its artifact and its end count only together, when the commit record says that all of
them were read. Both may tell of LM calls that were finished inside a cell. Round and attempt come from labels.
"""

from collections.abc import Iterable, Mapping

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.interpret import spending
from swarm_operator.compilation.interpret.output import Output
from swarm_operator.compilation.interpret.records import MAP_BYTES, bound_of, finished, plan_of
from swarm_operator.compilation.interpret.spending import NOTHING
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Harvest, NewPlan, Pod
from swarm_wire.names import ExitCode
from swarm_wire.records import Framed, Record, RecordKind, Sealed
from swarm_wire.spending import Booked, Spending


def harvest(
    outputs: Iterable[Output],
    journal: Journal,
    threads: int = 1,
    gone: Iterable[tuple[int, Booked]] = (),
    told: Spending = NOTHING,
) -> Harvest:
    """What the outputs add to the journal.

    Args:
        threads: of each pod.
        gone: from `spending.vanished`.
        told: what the status says that the run has spent. What the journal's accounts do not say of that any more is
            booked again.
    """
    found, books = _Found(journal), journal.accounts.total
    for output in sorted(outputs, key=lambda output: (output.pod.round, output.pod.attempt, output.pod.index)):
        found.take_records(output)
        found.take_plan(output)
        if output.final:
            found.settled.append(output.pod)
            if (booked := spending.closing(output, journal, threads)) is not None:
                found.book(output.pod.round, booked)
                # One that was let go was on the books before.
                books += NOTHING if output.pod.held else booked.spent
    for round_, booked in gone:
        found.book(round_, booked)
        books += booked.spent
    if (rest := spending.missing(told, books, journal)) is not None:
        found.book(0, rest)
    return found.harvest()


class _Found:
    """What is new to a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._results: dict[int, list[Framed]] = {}
        self._large: list[tuple[Pod, Framed]] = []
        self._plans: dict[int, NewPlan] = {}
        self._cells: dict[int, set[str] | None] = {}
        self._seen: dict[RecordKind, set[str]] = {RecordKind.RESULT: set(), RecordKind.CALL: set()}
        self._known: Mapping[RecordKind, Mapping[str, object] | set[str]] = {
            RecordKind.RESULT: journal.keys,
            RecordKind.CALL: journal.calls,
        }
        self.settled: list[Pod] = []

    def take_records(self, output: Output) -> None:
        """Those that count each by itself."""
        pod, role = output.pod, ROLES[output.pod.kind]
        bound = bound_of(output.found) if RecordKind.BOUND in role.singly and not self._journal.is_bound else None
        for record in output.found:
            if (told := finished(record)) is None:
                continue
            key, kind = told[0], record.kind
            if kind is RecordKind.RESULT and role.is_dealt and not self._was_asked(pod.round, key):
                continue
            if key in self._seen[kind] or key in self._known[kind]:
                continue
            self._seen[kind].add(key)
            if bound is not None:
                self._keep(pod.round, bound)
                bound = None
            if isinstance(record, Sealed) and len(record.sealed) > MAP_BYTES:
                self._large.append((pod, record))
            else:
                self._keep(pod.round, record)

    def take_plan(self, output: Output) -> None:
        """Those that count together."""
        pod, commit = output.pod, output.pod.commit
        if not ROLES[pod.kind].together or pod.round in {*self._journal.plans, *self._plans}:
            return
        if commit is None or commit.exit_code != ExitCode.DONE or not output.transcript.complete(commit):
            return
        if (plan := plan_of(output.found, pod)) is not None:
            self._plans[pod.round] = plan

    def book(self, round_: int, booked: Booked) -> None:
        self._keep(round_, Record(RecordKind.BOOKED, booked.to_header()))

    def harvest(self) -> Harvest:
        settled = self.settled
        # What is too large for a ConfigMap ends the run: it waits until nothing else is new.
        if self._large and (self._results or self._plans):
            waiting = {pod.uid for pod, _ in self._large}
            settled = [pod for pod in settled if pod.uid not in waiting]
        else:
            for pod, record in self._large:
                self._keep(pod.round, record)
        results = {round_: tuple(new) for round_, new in self._results.items()}
        return Harvest(results, tuple(self._plans.values()), tuple(settled))

    def _keep(self, round_: int, record: Framed) -> None:
        self._results.setdefault(round_, []).append(record)

    def _was_asked(self, round_: int, key: str) -> bool:
        if round_ not in self._cells:
            self._cells[round_] = _cells(self._journal, round_)
        asked = self._cells[round_]
        return asked is None or key in asked


def _cells(journal: Journal, round_: int) -> set[str] | None:
    """What a plan asked for; None where somebody has deleted some of that: then workers are believed."""
    if round_ in journal.plans and journal.tasks(round_) is None:
        return None
    # Also where somebody has deleted the plan's end, and workers do what it asked for.
    return {cell.key for shard in journal.of(ObjectKind.TASKS, round_) for task in shard.tasks for cell in task.cells}
