"""The operator decides when it reads a pod's log, which lines count, and when it gives the log up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.wire import printed
from support.worlds import KEY, NOW, ago, cell, job, planned, pod, results
from swarm_operator.cluster import errors
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.interpret import reads, spending
from swarm_operator.compilation.interpret.harvest import harvest as harvested
from swarm_operator.compilation.interpret.output import Output
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.observe import pod_logs
from swarm_operator.compilation.observe.pod_logs import LogReader
from swarm_operator.settings import Settings
from swarm_wire.messages import Bound, Outcome, Result
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import Allowance, Booked, Spending

JOB = job(ObjectKind.WORK, 0)
NONCE = object_names.nonce(KEY.uid, JOB.name)
SETTINGS = Settings(log_deadline=60, lost_after=30, concurrent_logs=8)
NINE = Allowance(calls=9)
RESULTS = [Record(RecordKind.RESULT, Result(key=cell(0, n), outcome=Outcome.OK).to_header()) for n in range(4)]
LINES, COMMIT = printed(RESULTS, NONCE)
GONE = b"unable to retrieve container logs for containerd://0a1b2c3d4e5f"
WHOLE = "".join(LINES).encode()
HALF = "".join(LINES[:2]).encode()
LONG = HALF + b"x" * reads.OUTPUT_BYTES
JOURNAL = Journal(planned(0))


class Kubelet:
    """Stands for a kubelet that returns a log as bytes or raises an error."""

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self.answer, self.asked = answer, list[str]()

    async def log(self, namespace: str, pod: str, container: str, *, limit: int, timeout: float) -> bytes:
        self.asked.append(pod)
        found = self.answer(pod)
        if isinstance(found, Exception):
            raise found
        text: bytes = await found if isinstance(found, Awaitable) else found
        return text


def reader(kubelet: Kubelet, settings: Settings = SETTINGS) -> LogReader:
    return LogReader(kubelet, KEY, settings, asyncio.Semaphore(settings.concurrent_logs))  # type: ignore[arg-type]


async def read(answer: Any, found: Pod, now: datetime = NOW, later: float = 0.0) -> list[Output]:
    """Returns the output of a pod that the operator reads now. It has also tried to read `later` seconds before, if
    `later` is set."""
    tried = reader(Kubelet(lambda _: answer))
    if later:
        await tried.read([found], JOURNAL, now - timedelta(seconds=later))
    return await tried.read([found], JOURNAL, now)


ENDED = pod(JOB, exit_code=137, held=True, allowance=NINE, finished_at=ago(200))
COMMITTED = replace(ENDED, exit_code=0, commit=COMMIT)
REJECTED = errors.Rejected("previous terminated container not found")
AWAY = errors.Unavailable("no connection")


@pytest.mark.parametrize(
    ("answer", "found", "later", "expected"),
    [
        (HALF, ENDED, 0, (2, True, False)),
        (WHOLE, COMMITTED, 0, (4, True, False)),
        (HALF, COMMITTED, 0, (2, False, False)),
        (HALF, COMMITTED, 61, (2, True, True)),
        (GONE, ENDED, 0, (0, False, False)),
        (GONE + b"\n", ENDED, 0, (0, False, False)),
        (HALF + GONE, ENDED, 0, (2, False, False)),
        (HALF + GONE, ENDED, 61, (2, True, True)),
        (GONE, COMMITTED, 0, (0, False, False)),
        (GONE, ENDED, 61, (0, True, True)),
        (b"x" + GONE, ENDED, 0, (0, True, False)),
        (GONE + b"\n" + HALF, ENDED, 0, (2, True, False)),
        (WHOLE + GONE, COMMITTED, 0, (4, True, False)),
        (REJECTED, ENDED, 0, (0, False, False)),
        (REJECTED, ENDED, 61, (0, True, True)),
        (AWAY, COMMITTED, 61, (0, True, True)),
        (HALF, pod(JOB), 0, (2, False, False)),
        (LONG, ENDED, 0, (2, False, False)),
        (LONG, ENDED, 61, (2, True, True)),
    ],
    ids=[
        "a killed pod's log is read to its end",
        "the log has all that the commit names",
        "the log has less than the commit names",
        "the log has less than the commit names for too long",
        "the kubelet has no log",
        "the kubelet has no log and ends its message with a line feed",
        "the container runtime restarts",
        "the container runtime restarts for too long",
        "the log is gone, but a commit exists",
        "the log is gone for too long",
        "the user prints the kubelet's message within a line",
        "output follows the kubelet's message",
        "the log is complete before the kubelet's message",
        "the API server answers 400",
        "the API server answers 400 for too long",
        "the API server is unreachable for too long",
        "the pod is running",
        "the log is longer than the operator reads",
        "the log is longer than the operator reads for too long",
    ],
)
async def test_the_operator_knows_when_it_can_get_no_more_lines_of_a_log(
    answer: Any, found: Pod, later: float, expected: tuple[int, bool, bool]
) -> None:
    (output,) = await read(answer, found, later=later)
    assert (len(output.found), output.final, output.lost) == expected


LOST = pod(JOB, deleted_at=ago(31), allowance=NINE)


@pytest.mark.parametrize("answer", [AWAY, REJECTED, GONE, HALF], ids=repr)
@pytest.mark.parametrize("changes", [{}, {"started": False}, {"held": False}], ids=str)
async def test_a_lost_pod_counts_as_having_spent_its_allowance(answer: Any, changes: dict[str, Any]) -> None:
    found = replace(LOST, **changes)
    outputs = await read(answer, found)
    harvest = harvested(outputs, JOURNAL)
    assert harvest.settled == (found,)
    (booked,) = (record.header for record in harvest.results[0] if record.kind is RecordKind.BOOKED)
    assert Booked.model_validate(booked).spent == Spending(calls=9)
    assert Booked.model_validate(booked).final


async def test_the_spending_of_a_pod_without_our_finalizer_is_booked_at_once_and_only_once() -> None:
    stripped = replace(ENDED, held=False)
    (output,) = await read(GONE, stripped)
    assert (output.final, output.lost) == (True, True)
    assert spending.spent(output) == Spending(calls=9)
    booked = harvested([output], JOURNAL).results[0][0].header
    kept = Journal(planned(0))
    kept.accounts.book(Booked.model_validate(booked))
    assert await reader(Kubelet(lambda _: GONE)).read([stripped], kept, NOW) == []


@pytest.mark.parametrize("answer", [WHOLE, HALF], ids=repr)
async def test_a_pod_that_lost_our_finalizer_is_still_read_to_its_end(answer: Any) -> None:
    """The operator reads the rest of such a log once, whether or not the run has a limit or spent anything."""
    stripped = pod(JOB, held=False)
    tried = reader(Kubelet(lambda _: answer))
    (output,) = await tried.read([stripped], JOURNAL, NOW)
    assert not output.final
    ended = replace(stripped, ended=True, exit_code=0, commit=COMMIT, finished_at=NOW)
    (output,) = await tried.read([ended], JOURNAL, NOW + timedelta(seconds=1))
    assert (output.final, output.lost) == (True, answer is HALF)
    assert await tried.read([ended], JOURNAL, NOW + timedelta(seconds=2)) == []


@pytest.mark.parametrize(
    ("of", "first", "journal"),
    [
        (JOB, [], planned(0)),
        (job(ObjectKind.PLAN, 0), [Record(RecordKind.BOUND, Bound(binding="b").to_header())], []),
    ],
    ids=["a worker", "the first plan"],
)
async def test_the_operator_does_not_wait_for_a_lost_log_whose_records_are_in_the_journal(
    of: Job, first: list[Record], journal: list[Shard]
) -> None:
    """A pod of a drained node ends once the operator has read its log. Its log disappears with its container."""
    lines, commit = printed([*first, *RESULTS], object_names.nonce(KEY.uid, of.name))
    draining = pod(of, deleted_at=NOW)
    answers = iter(["".join(lines).encode(), GONE, GONE])
    tried = reader(Kubelet(lambda _: next(answers)))
    full = Journal([*journal, results(0, *range(len(RESULTS)))])
    for second in range(2):
        (output,) = await tried.read([draining], full, NOW + timedelta(seconds=2 * second))
        assert not output.final
    ended = replace(draining, ended=True, exit_code=75, commit=commit, finished_at=NOW)
    (output,) = await tried.read([ended], full, NOW + timedelta(seconds=9))
    assert (output.final, output.lost, output.pod) == (True, False, ended)


async def test_the_operator_repeats_failed_reads_of_a_log_at_growing_intervals() -> None:
    kubelet = Kubelet(lambda _: AWAY)
    tried = reader(kubelet)
    for second in range(0, 300, 5):
        await tried.read([pod(JOB)], JOURNAL, NOW + timedelta(seconds=second))
    assert 5 <= len(kubelet.asked) <= 10


async def test_a_later_pass_gives_up_a_log_at_once_if_an_earlier_pass_gave_it_up() -> None:
    """If the operator waited for the log again in a later pass, it would not release the pod."""
    tried = reader(Kubelet(lambda _: GONE))
    killed = replace(ENDED, finished_at=NOW)
    for second in range(0, 200, 2):
        if found := [o for o in await tried.read([killed], JOURNAL, NOW + timedelta(seconds=second)) if o.final]:
            break
    assert found
    (output,) = await tried.read([killed], JOURNAL, NOW + timedelta(seconds=second + 1))
    assert (output.final, output.lost) == (True, True)


async def test_slow_logs_of_one_compilation_do_not_block_reads_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_logs, "READ_SECONDS", 0.2)
    gate, forever = asyncio.Semaphore(8), asyncio.Event()

    async def hang() -> bytes:
        await forever.wait()
        return b""

    dead = Kubelet(lambda _: hang())
    of = job(ObjectKind.WORK, 0, completions=30)
    first = LogReader(dead, KEY, SETTINGS, gate)  # type: ignore[arg-type]
    hanging = asyncio.create_task(first.read([pod(of, n) for n in range(30)], JOURNAL, NOW))
    await asyncio.sleep(0.05)
    second = LogReader(Kubelet(lambda _: WHOLE), KEY, SETTINGS, gate)  # type: ignore[arg-type]
    (output,) = await second.read([pod(JOB)], JOURNAL, NOW)
    assert len(output.found) == 4
    assert not hanging.done()
    await hanging
    assert len(dead.asked) < 30, "the rest is read in a later pass"


async def test_a_pass_reads_only_as_much_output_as_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_logs, "PASS_BYTES", 1)
    of = job(ObjectKind.WORK, 0, completions=30)
    kubelet = Kubelet(lambda _: WHOLE)
    pods = [pod(of, n) for n in range(30)]
    tried = LogReader(kubelet, KEY, SETTINGS, asyncio.Semaphore(2))  # type: ignore[arg-type]
    lines, _ = printed(RESULTS, object_names.nonce(KEY.uid, of.name))
    kubelet.answer = lambda _: "".join(lines).encode()
    first = len(await tried.read(pods, JOURNAL, NOW))
    assert first <= 2, "as many as are read side by side"
    await tried.read(pods, JOURNAL, NOW)
    assert len(set(kubelet.asked)) > first, "others come next"
