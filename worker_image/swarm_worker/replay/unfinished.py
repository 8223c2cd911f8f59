"""Finds the unfinished tasks of the last round, if that round was interrupted.

A limit, or the end of the local driver, may interrupt a round. A plan's guesses, and the candidates that it prunes,
depend on the results that it finds. So the run first finishes the interrupted round. The next plan then finds all
results of that round, as in a run without interruption.
"""

from collections.abc import Iterable

from swarm_engine.slicing import has_failed
from swarm_wire.messages import Task
from swarm_wire.records import Record, RecordKind
from swarm_worker.journal.body_store import Bodies
from swarm_worker.journal.run_journal import body_of, read_body
from swarm_worker.journal.store import Store
from swarm_worker.replay.effects.tasks import Tasks


def leftover(store: Store, records: Iterable[Record], bodies: Bodies | None = None) -> list[Tasks]:
    """Returns the last round's tasks with their missing cells. Returns none if a record is lost or a task has failed.

    Args:
        records: the round's tasks and blobs.
    """
    asked: dict[str, Task] = {}
    blobs: dict[str, Record] = {}
    for record in records:
        if record.kind is RecordKind.TASK:
            task = Task.model_validate(record.header)
            asked[task.digest] = task
        elif record.kind is RecordKind.BLOB:
            blobs[record.header["key"]] = record
    wanted = store.last.tasks if store.last is not None else []
    if not asked.keys() >= set(wanted):
        return []
    failed = {cell.key for task in asked.values() for cell in task.cells if store.has_error(cell.key)}
    if any(has_failed(task, failed) for task in asked.values()):
        return []
    found = []
    for task in (asked[digest] for digest in wanted):
        missing = {cell.key for cell in task.cells if cell.key not in store}
        names = {name for name in (task.payload, task.items) if name is not None}
        if missing and not blobs.keys() >= names:
            return []
        if missing:
            whole = Tasks(task, {name: read_body(body_of(blobs[name]), bodies) for name in sorted(names)})
            found.append(whole.rest(store))
    return found
