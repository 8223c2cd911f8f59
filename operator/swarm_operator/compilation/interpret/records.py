"""Validates pods' records."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import ValidationError

from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.shards import Artifact
from swarm_operator.compilation.model.world import NewPlan
from swarm_wire.messages import (
    ArtifactHeader,
    Bound,
    CallMade,
    Pending,
    PlanEnd,
    PlanOutcome,
    Pushed,
    Result,
    Snapshot,
    Task,
)
from swarm_wire.names import MARKDOWN_FILE, PROGRAM_FILE, REPORT_FILE
from swarm_wire.records import Framed, RecordKind, Sealed
from swarm_wire.spending import Usage

MAP_BYTES: Final = 1_000_000
"""Largest number of bytes that the operator puts into one ConfigMap."""
ARTIFACT_BYTES: Final = 8 * MAP_BYTES
"""Largest size of an artifact's JSON, in bytes.

Even if JSON escaped every character, no larger artifact could be published.
"""


class Malformed(Exception):
    """A record is invalid for its kind, or contradicts another record."""


def finished(record: Framed) -> tuple[str, Usage] | None:
    """Returns the identity and the usage of a RESULT, PENDING or CALL record; None for any other record."""
    with contextlib.suppress(ValidationError):
        if record.kind is RecordKind.RESULT:
            result = Result.model_validate(record.header)
            return result.key, result.usage
        if record.kind is RecordKind.PENDING:
            waits = Pending.model_validate(record.header)
            return f"{waits.key} {waits.number}", Usage()
        if record.kind is RecordKind.CALL:
            call = CallMade.model_validate(record.header)
            return call.identity, call.usage
    return None


def bound_of(found: Iterable[Framed]) -> Framed | None:
    """Returns the first valid BOUND record, which ties the journal to code and data; None if there is none."""
    for record in found:
        if record.kind is RecordKind.BOUND:
            with contextlib.suppress(ValidationError):
                Bound.model_validate(record.header)
                return record
    return None


def artifact_of(record: Framed) -> Artifact:
    """Returns the artifact in a record. Raises Malformed if the record is invalid or the program's digest differs."""
    try:
        opened = record.opened(ARTIFACT_BYTES) if isinstance(record, Sealed) else record
        header = ArtifactHeader.model_validate(opened.header)
        body = json.loads(opened.body)
        program, report, markdown = body[PROGRAM_FILE], body[REPORT_FILE], str(body.get(MARKDOWN_FILE, ""))
        digest = hashlib.sha256(program.encode()).hexdigest()
        if len(program) + len(report) <= MAP_BYTES:
            json.loads(program), json.loads(report)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"artifact: {error}") from None
    if digest != header.sha256:
        raise Malformed("artifact: the program is not what its digest says")
    return Artifact(program=program, report_text=report, sha256=header.sha256, report=header.report, markdown=markdown)


def plan_of(found: Sequence[Framed], pod: Pod) -> NewPlan | None:
    """Returns the plan in these records, or None if the records contradict each other. Then the plan has failed."""
    try:
        end = PlanEnd.model_validate(found[-1].header) if found and found[-1].kind is RecordKind.PLAN else None
        tasks = [Task.model_validate(record.header) for record in found if record.kind is RecordKind.TASK]
        blobs = {str(record.header["key"]) for record in found if record.kind is RecordKind.BLOB}
        artifacts = [record for record in found if record.kind is RecordKind.ARTIFACT]
        for record in artifacts:
            artifact_of(record)
    except (ValidationError, KeyError, Malformed):
        return None
    wanted = {task.payload for task in tasks} | {task.items for task in tasks if task.items is not None}
    if (
        end is None
        or end.round != pod.round
        or {task.digest for task in tasks} != set(end.tasks)
        or not wanted <= blobs
        or (end.outcome is PlanOutcome.DONE and not artifacts)
        or (end.outcome is PlanOutcome.BLOCKED and artifacts)
    ):
        return None
    kept = tuple(record for record in found if record.kind in (RecordKind.TASK, RecordKind.BLOB))
    return NewPlan(pod.round, pod.attempt, kept, (*artifacts[:1], found[-1]))


def snapshots_of(found: Iterable[Framed]) -> dict[str, tuple[Framed, ...]]:
    """Returns the records of the fetched files of which all parts are there, by what they are (`Snapshot.of`)."""
    records: dict[str, list[tuple[Snapshot, Framed]]] = {}
    try:
        for record in found:
            if record.kind is RecordKind.SNAPSHOT:
                part = Snapshot.model_validate(record.header)
                records.setdefault(part.of, []).append((part, record))
    except ValidationError:
        return {}
    return {of: tuple(record for _, record in its) for of, its in records.items() if _is_whole([p for p, _ in its])}


def _is_whole(parts: Sequence[Snapshot]) -> bool:
    return [part.part for part in parts] == list(range(parts[0].parts)) and len({part.sha256 for part in parts}) == 1


def pushed_of(record: Framed) -> Pushed | None:
    """Returns where the artifact is in git, according to a record; None if this is no such record."""
    if record.kind is RecordKind.PUSHED:
        with contextlib.suppress(ValidationError):
            return Pushed.model_validate(record.header)
    return None
