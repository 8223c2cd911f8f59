"""From a pod's output to the records that count. Pure parsing: what a pod printed is never believed beyond its rights.

A worker pod may say results of its round's cells. A plan pod may say results (of LM calls and small waves that it ran
itself) at any time; its tasks, its artifact and its end count only together, when the commit record says that all of
them were read. Both may tell of LM calls that were finished inside a cell. Round and attempt come from labels.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from swarm_engine import accounts
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.shards import Artifact, Journal
from swarm_operator.compilation.model.world import Harvest, Job, NewPlan, Pod
from swarm_wire.message_base import MOST
from swarm_wire.messages import ArtifactHeader, Bound, CallMade, PlanEnd, PlanOutcome, Result, Task
from swarm_wire.names import PROGRAM_FILE, REPORT_FILE, ExitCode
from swarm_wire.pod_output import Reader, Transcript
from swarm_wire.records import Bounds, Framed, Record, RecordKind, Sealed
from swarm_wire.spending import Booked, Spending, Usage

HEADERS_BYTES: Final = 16 * 1024 * 1024
INFLATED_BYTES: Final = 256 * 1024 * 1024
"""Of the records of one pod, headers, and all that is inflated to check them: ten times what a pod prints that does not
mean harm. What passes that is as if it had not been printed."""
MAP_BYTES: Final = 1_000_000
"""What a ConfigMap takes."""
NOTHING: Final = Spending()
ARTIFACT_BYTES: Final = 8 * MAP_BYTES
"""Of an artifact as JSON: none that is larger could be published, even where every character is escaped."""


@dataclass(frozen=True)
class Output:
    """What could be read of a pod's output.

    Attributes:
        found: records that the journal lacked then, as they were printed, in order.
        told: what all its results and calls took, those in the journal included.
        transcript: which records there were.
        final: no more will come, and no more could be read later.
        lost: there may be more, which cannot be read any more.
    """

    pod: Pod
    found: Sequence[Framed] = ()
    told: Usage = field(default_factory=Usage)
    transcript: Transcript = field(default_factory=Transcript)
    final: bool = False
    lost: bool = False

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return sum(len(record.head) + len(record.sealed) for record in self.found if isinstance(record, Sealed))


class Malformed(Exception):
    """A record that its kind's model does not allow, or that contradicts another."""


def transcribed(pod: Pod, text: bytes, nonce: str, journal: Journal) -> Output:
    """The records in a pod's output. Takes little more memory than what is new among them."""
    bounds, told, kept = Bounds(HEADERS_BYTES, INFLATED_BYTES), [0, 0, 0], dict[int, Sealed]()
    prints = ROLES[pod.kind].prints

    def opened(number: int, frame: bytes) -> None:
        record = Sealed.from_frame(frame, bounds)
        if (finished := _finished(record)) is not None:
            identity, usage = finished
            for position, figure in enumerate((usage.calls, usage.prompt_tokens, usage.completion_tokens)):
                told[position] = min(MOST, told[position] + figure)
            known: Mapping[str, object] | set[str] = journal.keys if record.kind is RecordKind.RESULT else journal.calls
            if identity not in known:
                kept[number] = record
        elif record.kind is RecordKind.BOOKED or (record.kind in prints and pod.round not in journal.plans):
            kept[number] = record

    reader, mark = Reader(nonce, opened=opened), nonce.encode()
    for line in io.BytesIO(text):
        if mark in line:
            reader.feed(line.decode("ascii", "replace"))
    calls, prompt, completion = told
    usage = Usage(calls=calls, prompt_tokens=prompt, completion_tokens=completion)
    return Output(pod, tuple(kept[number] for number in sorted(kept)), usage, reader.transcript())


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
        gone: from `vanished`.
        told: what the status says that the run has spent. What the journal's accounts do not say of that any more is
            booked again: somebody has taken them out.
    """
    books = journal.accounts.total
    results: dict[int, list[Framed]] = {}
    plans: dict[int, NewPlan] = {}
    settled: list[Pod] = []
    large: list[tuple[Pod, Framed]] = []
    cells: dict[int, set[str] | None] = {}
    seen: dict[RecordKind, set[str]] = {RecordKind.RESULT: set(), RecordKind.CALL: set()}
    known: Mapping[RecordKind, Mapping[str, object] | set[str]] = {
        RecordKind.RESULT: journal.keys,
        RecordKind.CALL: journal.calls,
    }
    for output in sorted(outputs, key=lambda output: (output.pod.round, output.pod.attempt, output.pod.index)):
        pod, found, commit, role = output.pod, output.found, output.pod.commit, ROLES[output.pod.kind]
        bound = _bound(found) if RecordKind.BOUND in role.singly and not journal.is_bound else None
        for record in found:
            if (finished := _finished(record)) is None:
                continue
            key, kind = finished[0], record.kind
            if kind is RecordKind.RESULT and role.is_dealt:
                if pod.round not in cells:
                    cells[pod.round] = _cells(journal, pod.round)
                asked = cells[pod.round]
                if asked is not None and key not in asked:
                    continue
            if key not in seen[kind] and key not in known[kind]:
                seen[kind].add(key)
                if bound is not None:
                    results.setdefault(pod.round, []).append(bound)
                    bound = None
                if isinstance(record, Sealed) and len(record.sealed) > MAP_BYTES:
                    large.append((pod, record))
                else:
                    results.setdefault(pod.round, []).append(record)
        if (
            role.together
            and pod.round not in {*journal.plans, *plans}
            and commit is not None
            and commit.exit_code == ExitCode.DONE
            and output.transcript.complete(commit)
            and (plan := _plan(found, pod)) is not None
        ):
            plans[pod.round] = plan
        if output.final:
            settled.append(pod)
            lost = accounts.repeated(commit, [output.told], threads) if pod.started or output.lost else 0
            cost = spent(output, lost)
            if (pod.allowance.is_limited or lost or cost != NOTHING) and pod.account not in journal.accounts.closed:
                booked = Booked(account=pod.account, spent=cost, repeated=lost, final=True)
                results.setdefault(pod.round, []).append(Record(RecordKind.BOOKED, booked.to_header()))
                # One that was let go was on the books before.
                books += NOTHING if pod.held else cost
    for round_, booked in gone:
        results.setdefault(round_, []).append(Record(RecordKind.BOOKED, booked.to_header()))
        books += booked.spent
    if (missing := (told | books) - books) != NOTHING:
        # An account of its own each time that something is taken out.
        rest = hashlib.sha256(" ".join(sorted(journal.accounts.closed)).encode()).hexdigest()
        booked = Booked(account=f"missing-{rest[:16]}", spent=missing, final=True)
        results.setdefault(0, []).append(Record(RecordKind.BOOKED, booked.to_header()))
    # What is too large for a ConfigMap ends the run: it waits until nothing else is new.
    if large and (results or plans):
        settled = [pod for pod in settled if pod.uid not in {owner.uid for owner, _ in large}]
    else:
        for pod, record in large:
            results.setdefault(pod.round, []).append(record)
    return Harvest({round_: tuple(new) for round_, new in results.items()}, tuple(plans.values()), tuple(settled))


def spent(output: Output, unprinted: int = 0) -> Spending:
    """What a pod spent that is over: its last word, or what it said that it was going to. All that it was allowed,
    where nothing can be known. Never less than what its results took.

    Args:
        unprinted: calls, at most, whose answers it did not print.
    """
    commit, allowance, told = output.pod.commit, output.pod.allowance, output.told
    if commit is not None and commit.spent is not None:
        return commit.spent
    least = accounts.least(told, 0 if allowance.is_limited else unprinted)
    if output.lost or (commit is None and _may_have_said_more(output)):
        return allowance.all | least
    said = [record for record in output.found if record.kind is RecordKind.BOOKED]
    try:
        return (Booked.model_validate(said[-1].header).spent if said else Spending()) | least
    except ValidationError:
        return allowance.all | least


def _may_have_said_more(output: Output) -> bool:
    """Whether the last word of a pod that was killed may be missing. One with an allowance opens its output with a
    record, before anything can be spent: where that is not there, a kubelet has rotated the log.
    """
    pod, transcript = output.pod, output.transcript
    has_begun = pod.started and pod.exit_code != ExitCode.INTERRUPTED
    return transcript.has_gaps or (pod.allowance.is_limited and has_begun and not transcript.digests)


def vanished(jobs: Iterable[Job], pods: Iterable[Pod], journal: Journal) -> list[tuple[int, Booked]]:
    """What is booked for pods of finished Jobs that are not there any more, and that nobody has booked: somebody took
    our finalizer or our labels off them. All that they were allowed may be spent.
    """
    there = {(pod.job_uid, pod.index) for pod in pods}
    found = []
    for job in jobs:
        if not job.finished or not job.allowance.is_limited:
            continue
        for index in range(job.completions):
            account = job.account(index)
            if (job.uid, index) not in there and not journal.accounts.has_closed(account):
                found.append((job.round, Booked(account=account, spent=job.allowance.all, final=True)))
    return found


def artifact_of(record: Framed) -> Artifact:
    """The winner in an ARTIFACT record. Raises Malformed where program and header do not belong together."""
    try:
        opened = record.opened(ARTIFACT_BYTES) if isinstance(record, Sealed) else record
        header = ArtifactHeader.model_validate(opened.header)
        body = json.loads(opened.body)
        program, report = body[PROGRAM_FILE], body[REPORT_FILE]
        digest = hashlib.sha256(program.encode()).hexdigest()
        if len(program) + len(report) <= MAP_BYTES:
            json.loads(program), json.loads(report)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"artifact: {error}") from None
    if digest != header.sha256:
        raise Malformed("artifact: the program is not what its digest says")
    return Artifact(program=program, report_text=report, sha256=header.sha256, report=header.report)


def result_of(record: Framed) -> Result:
    """The header of a RESULT record. Raises Malformed."""
    try:
        return Result.model_validate(record.header)
    except ValidationError as error:
        raise Malformed(f"result: {error}") from None


def call_of(record: Framed) -> CallMade:
    """The header of a CALL record. Raises Malformed."""
    try:
        return CallMade.model_validate(record.header)
    except ValidationError as error:
        raise Malformed(f"call: {error}") from None


def _finished(record: Framed) -> tuple[str, Usage] | None:
    """What tells a RESULT or CALL record from others of its kind, and what it took; None of any other record."""
    try:
        if record.kind is RecordKind.RESULT:
            result = result_of(record)
            return result.key, result.usage
        if record.kind is RecordKind.CALL:
            call = call_of(record)
            return call.identity, call.usage
    except Malformed:
        pass
    return None


def _bound(found: Iterable[Framed]) -> Framed | None:
    """What a plan says that its records belong to."""
    for record in found:
        if record.kind is RecordKind.BOUND:
            with contextlib.suppress(ValidationError):
                Bound.model_validate(record.header)
                return record
    return None


def _cells(journal: Journal, round_: int) -> set[str] | None:
    """What a plan asked for; None where somebody has deleted some of that: then workers are believed."""
    if round_ in journal.plans and journal.tasks(round_) is None:
        return None
    # Also where somebody has deleted the plan's end, and workers do what it asked for.
    return {cell.key for shard in journal.of(ObjectKind.TASKS, round_) for task in shard.tasks for cell in task.cells}


def _plan(found: Sequence[Framed], pod: Pod) -> NewPlan | None:
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
