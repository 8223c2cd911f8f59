"""Selects from a pod's output the records that count. A record counts if a pod of this job role may print it.

A worker pod may print results of its round's cells. A plan pod may print results of LM calls and small waves that it
ran itself. Both may print LM calls that were finished inside a cell.

A plan's tasks, artifact and end count only together, and so do the parts of fetched files. They count when the pod's
commit record proves that the operator has read all of them. Round and attempt come from the pod's labels, since a pod
could print wrong numbers.
"""

from collections.abc import Iterable, Mapping

from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.interpret import spending
from swarm_operator.compilation.interpret.output import Output
from swarm_operator.compilation.interpret.records import MAP_BYTES, bound_of, finished, plan_of, pushed_of, snapshots_of
from swarm_operator.compilation.interpret.spending import NOTHING
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Harvest, NewPlan
from swarm_wire.messages import Pending
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
    """Returns what the outputs add to the journal.

    Args:
        threads: number of threads of each pod.
        gone: bookings for pods that vanished, from `spending.vanished`.
        told: what the run has spent according to the status. Spending that the accounts lack is booked again.
    """
    found, books = _Found(journal), journal.accounts.total
    for output in sorted(outputs, key=lambda output: (output.pod.round, output.pod.attempt, output.pod.index)):
        found.take_records(output)
        found.take_together(output)
        if output.final:
            found.settled.append(output.pod)
            if (booked := spending.closing(output, journal, threads)) is not None:
                found.book(output.pod.round, booked)
                # A pod that lacks the operator's finalizer was booked in an earlier pass.
                books += NOTHING if output.pod.held else booked.spent
    for round_, booked in gone:
        found.book(round_, booked)
        books += booked.spent
    if (rest := spending.missing(told, books, journal)) is not None:
        found.book(0, rest)
    return found.harvest()


class _Found:
    """Collects the records that are new to a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._results: dict[int, list[Framed]] = {}
        self._large: list[tuple[Pod, Framed]] = []
        self._plans: dict[int, NewPlan] = {}
        self._snapshots: dict[str, tuple[Framed, ...]] = {}
        self._cells: dict[int, set[str] | None] = {}
        self._seen: dict[RecordKind, set[str]] = {
            kind: set() for kind in (RecordKind.RESULT, RecordKind.CALL, RecordKind.PENDING)
        }
        self._known: Mapping[RecordKind, Mapping[str, object] | set[str]] = {
            RecordKind.RESULT: journal.keys,
            RecordKind.CALL: journal.calls,
            RecordKind.PENDING: {f"{key} {waits.record.number}" for key, waits in journal.pending.items()},
        }
        self.settled: list[Pod] = []

    def take_records(self, output: Output) -> None:
        """Collects the records of an output that count without other records."""
        pod, role = output.pod, ROLES[output.pod.kind]
        bound = bound_of(output.found) if RecordKind.BOUND in role.singly and not self._journal.is_bound else None
        for record in output.found:
            if (told := finished(record)) is None:
                continue
            key, kind = told[0], record.kind
            is_of_cell = kind in (RecordKind.RESULT, RecordKind.PENDING)
            if is_of_cell and role.is_dealt and not self._was_asked(pod.round, key.partition(" ")[0]):
                continue
            if kind is RecordKind.PENDING and not self._journal.is_new(Pending.model_validate(record.header)):
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

    def take_together(self, output: Output) -> None:
        """Collects the records of an output that count only together."""
        pod, commit = output.pod, output.pod.commit
        if commit is None or commit.exit_code != ExitCode.DONE or not output.transcript.complete(commit):
            return
        match pod.kind:
            case ObjectKind.PLAN if pod.round not in {*self._journal.plans, *self._plans}:
                if (plan := plan_of(output.found, pod)) is not None:
                    self._plans[pod.round] = plan
            case ObjectKind.FETCH | ObjectKind.DOWNLOAD:
                for of, records in snapshots_of(output.found).items():
                    if of in ROLES[pod.kind].fetches and of not in self._journal.snapshots:
                        self._snapshots.setdefault(of, records)
            case ObjectKind.PUBLISH:
                for record in output.found:
                    if (told := pushed_of(record)) is not None and told != self._journal.pushed:
                        self._keep(pod.round, record)

    def book(self, round_: int, booked: Booked) -> None:
        self._keep(round_, Record(RecordKind.BOOKED, booked.to_header()))

    def harvest(self) -> Harvest:
        settled = self.settled
        # A record that is too large for a ConfigMap ends the run. So the journal takes all other new records before it.
        if self._large and (self._results or self._plans):
            waiting = {pod.uid for pod, _ in self._large}
            settled = [pod for pod in settled if pod.uid not in waiting]
        else:
            for pod, record in self._large:
                self._keep(pod.round, record)
        results = {round_: tuple(new) for round_, new in self._results.items()}
        return Harvest(results, tuple(self._plans.values()), tuple(settled), self._snapshots)

    def _keep(self, round_: int, record: Framed) -> None:
        self._results.setdefault(round_, []).append(record)

    def _was_asked(self, round_: int, key: str) -> bool:
        if round_ not in self._cells:
            self._cells[round_] = _cells(self._journal, round_)
        asked = self._cells[round_]
        return asked is None or key in asked


def _cells(journal: Journal, round_: int) -> set[str] | None:
    """Returns the keys of the cells of a round's tasks.

    It returns None if somebody has deleted some of the tasks. Then the result of any cell counts.
    """
    if round_ in journal.plans and journal.tasks(round_) is None:
        return None
    # `journal.tasks` is empty if somebody has deleted the PLAN record. But workers may still run the plan's tasks.
    return {cell.key for shard in journal.of(ObjectKind.TASKS, round_) for task in shard.tasks for cell in task.cells}
