"""From a pod's output to the records that count. Pure parsing: what a pod printed is never believed beyond its rights.

A worker pod may say results of its round's cells. A plan pod may say results (of LM calls and small waves that it ran
itself) at any time; its tasks, its artifact and its end count only together, when the commit record says that all of
them were read. Both may tell of LM calls that were finished inside a cell. Round and attempt come from labels.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from swarm_operator.api import ObjectKind
from swarm_operator.world import Artifact, Harvest, Journal, NewPlan, Pod
from swarm_wire import accounts, records
from swarm_wire.messages import ArtifactHeader, Booked, CallMade, PlanEnd, PlanOutcome, Result, Spending, Task, Usage
from swarm_wire.names import PROGRAM_FILE, REPORT_FILE, ExitCode
from swarm_wire.records import Record, RecordKind


@dataclass(frozen=True)
class Output:
    """What could be read of a pod's output.

    Attributes:
        nonce: the word that the pod was given.
        final: no more will come, and no more could be read later.
        lost: there may be more, which cannot be read any more.
    """

    pod: Pod
    text: str
    nonce: str
    final: bool = False
    lost: bool = False


class Malformed(Exception):
    """A record that its kind's model does not allow, or that contradicts another."""


def harvest(outputs: Iterable[Output], journal: Journal, threads: int = 1) -> Harvest:
    """What the outputs add to the journal.

    Args:
        threads: of each pod.
    """
    results: dict[int, list[Record]] = {}
    plans: dict[int, NewPlan] = {}
    settled: list[Pod] = []
    seen: dict[RecordKind, set[str]] = {RecordKind.RESULT: set(journal.keys), RecordKind.CALL: set(journal.calls)}
    for output in sorted(outputs, key=lambda output: (output.pod.round, output.pod.attempt, output.pod.index)):
        pod = output.pod
        transcript = records.read(output.text.splitlines(), output.nonce)
        found = [transcript.records[number] for number in sorted(transcript.records)]
        allowed = None if pod.kind is ObjectKind.PLAN else _cells(journal, pod.round)
        finished = [*_finished(found)]
        for key, _, record in finished:
            asked = allowed is None or record.kind is RecordKind.CALL or key in allowed
            if asked and key not in seen[record.kind]:
                seen[record.kind].add(key)
                results.setdefault(pod.round, []).append(record)
        commit = pod.commit
        if (
            pod.kind is ObjectKind.PLAN
            and pod.round not in {*journal.plans, *plans}
            and commit is not None
            and commit.exit_code == ExitCode.DONE
            and transcript.complete(commit)
            and (plan := _plan(found, pod)) is not None
        ):
            plans[pod.round] = plan
        if output.final:
            settled.append(pod)
            lost = accounts.repeated(commit, (usage for _, usage, _ in finished), threads) if pod.started else 0
            if (pod.allowance.is_limited or lost) and pod.account not in journal.accounts.closed:
                booked = Booked(account=pod.account, spent=spent(output, found), repeated=lost, final=True)
                results.setdefault(pod.round, []).append(Record(RecordKind.BOOKED, booked.to_header()))
    return Harvest({round_: tuple(new) for round_, new in results.items()}, tuple(plans.values()), tuple(settled))


def spent(output: Output, found: Iterable[Record]) -> Spending:
    """What a pod spent that is over: its last word, or what it said that it was going to. All that it was allowed,
    where nothing can be known.
    """
    commit = output.pod.commit
    if commit is not None and commit.spent is not None:
        return commit.spent
    if output.lost:
        return output.pod.allowance.all
    said = [record for record in found if record.kind is RecordKind.BOOKED]
    try:
        return Booked.model_validate(said[-1].header).spent if said else Spending()
    except ValidationError:
        return output.pod.allowance.all


def artifact_of(record: Record) -> Artifact:
    """The winner in an ARTIFACT record. Raises Malformed where program and header do not belong together."""
    try:
        header = ArtifactHeader.model_validate(record.header)
        body = json.loads(record.body)
        program, report = body[PROGRAM_FILE], body[REPORT_FILE]
        digest = hashlib.sha256(program.encode()).hexdigest()
        json.loads(program), json.loads(report)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"artifact: {error}") from None
    if digest != header.sha256:
        raise Malformed("artifact: the program is not what its digest says")
    return Artifact(program=program, report_text=report, sha256=header.sha256, report=header.report)


def result_of(record: Record) -> Result:
    """The header of a RESULT record. Raises Malformed."""
    try:
        return Result.model_validate(record.header)
    except ValidationError as error:
        raise Malformed(f"result: {error}") from None


def call_of(record: Record) -> CallMade:
    """The header of a CALL record. Raises Malformed."""
    try:
        return CallMade.model_validate(record.header)
    except ValidationError as error:
        raise Malformed(f"call: {error}") from None


def _finished(found: Iterable[Record]) -> Iterator[tuple[str, Usage, Record]]:
    """RESULT and CALL records, each with what tells it from others of its kind, and what it took."""
    for record in found:
        try:
            if record.kind is RecordKind.RESULT:
                result = result_of(record)
                yield result.key, result.usage, record
            elif record.kind is RecordKind.CALL:
                call = call_of(record)
                yield call.identity, call.usage, record
        except Malformed:
            continue


def _cells(journal: Journal, round_: int) -> set[str]:
    return {cell.key for task in journal.tasks(round_) or () for cell in task.cells}


def _plan(found: Sequence[Record], pod: Pod) -> NewPlan | None:
    """None where the records contradict each other: then the plan counts as failed, and another attempt follows."""
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
