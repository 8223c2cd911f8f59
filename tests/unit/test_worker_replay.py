"""The journal as a plan sees it, cells, the engine, and looking ahead."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import dspy
import pytest
from dspy.utils.exceptions import LMAuthError, LMBillingError, LMRateLimitError, LMTimeoutError

from support.effects import Step
from support.wire import blob, digest
from support.worker import run_python
from swarm_wire.messages import Outcome, PlanEnd, PlanOutcome, Result, Usage
from swarm_wire.records import Record, RecordKind
from swarm_worker.errors import BadInput, Drift, ProviderFailed, SwarmError
from swarm_worker.exceptions import describe
from swarm_worker.replay import lookahead
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.codec import Codec
from swarm_worker.replay.engine import Engine
from swarm_worker.replay.execute import portable, run_cell
from swarm_worker.replay.lookahead import Scout, Sighting, look
from swarm_worker.replay.placeholder import EXTREMES
from swarm_worker.replay.store import Store

CODEC = Codec({"student": "sk-a-very-secret-key"})


def result(key: int, body: bytes = b"", calls: int = 1) -> Record:
    header = Result(key=digest(key), outcome=Outcome.OK, usage=Usage(calls=calls))
    return Record(RecordKind.RESULT, header.model_dump(by_alias=True, mode="json", exclude_none=True), body)


def plan_end(round_: int, stream: str) -> Record:
    end = PlanEnd(outcome=PlanOutcome.BLOCKED, round=round_, binding=f"b{round_}")
    return Record(RecordKind.PLAN, end.model_dump(by_alias=True, mode="json", exclude_none=True), stream.encode())


# --- store -------------------------------------------------------------------------------------------------------


def test_the_first_result_of_a_key_counts() -> None:
    store = Store.of([result(1, b"first", 2), result(2, b"other", 3), result(1, b"second", 50)])
    assert (len(store), store.body(digest(1)), store.usage().calls) == (2, b"first", 5)
    store.put(result(1, b"third"))
    assert store.body(digest(1)) == b"first"
    assert digest(3) not in store


def test_plans_are_in_the_order_of_their_rounds() -> None:
    store = Store.of([plan_end(1, '[["wave","b"]]'), blob(b"skipped"), plan_end(0, "[]"), plan_end(1, "[]")])
    assert [end.binding for end in store.plans] == ["b0", "b1"]
    assert store.stream == [("wave", "b")]
    assert Store.of([]).stream == []


# --- cells -------------------------------------------------------------------------------------------------------


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Local(Exception):
    def __init__(self) -> None:
        super().__init__("holds a generator")
        self.it = (number for number in range(3))


def raising(error: Exception) -> Callable[[], Any]:
    def cell() -> Any:
        raise error

    return cell


def cell(function: Callable[..., Any]) -> tuple[Result, Any]:
    record = run_cell(digest(1), function, (), Answers(CODEC, lambda key: None, print))
    return Result.model_validate(record.header), CODEC.loads(record.body)


def test_a_cells_value_is_its_result() -> None:
    header, value = cell(lambda: (dspy.Prediction(answer="a"), True))
    assert header == Result(key=digest(1), outcome=Outcome.OK)
    assert value[0] is Outcome.OK
    assert value[1][0].answer == "a"


@pytest.mark.parametrize(
    ("error", "kept", "line"),
    [
        (ValueError("bad"), ValueError, "ValueError: bad"),
        (KeyError("k"), KeyError, "KeyError: 'k'"),
        (Unpicklable(1, 2), Exception, "Exception: Unpicklable('1 and 2')"),
        (Local(), Exception, "Exception: Local('holds a generator')"),
        (ValueError("x" * 900), ValueError, "ValueError: " + "x" * 488),
        (ValueError("half \udcff"), ValueError, "ValueError: half ?"),
    ],
)
def test_an_exception_is_a_result_that_can_travel(error: Exception, kept: type[Exception], line: str) -> None:
    header, (outcome, found) = cell(raising(error))
    assert (header.outcome, outcome, type(found)) == (Outcome.ERROR, Outcome.ERROR, kept)
    assert header.error is not None
    place = header.error.removeprefix(line)
    assert place == "" if len(line) == 500 else re.fullmatch(r" \(test_worker_replay\.py, line \d+\)", place)
    assert str(error) in str(found)
    assert describe(found).replace("\udcff", "?").startswith(line)
    assert "test_worker_replay.py, line " in describe(found)


def test_an_exception_that_can_travel_is_itself() -> None:
    error = ValueError("bad")
    assert portable(error) is error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [
        (LMRateLimitError("slow down"), ProviderFailed, "ProviderFailed"),
        (LMTimeoutError("no answer"), ProviderFailed, "ProviderFailed"),
        (caused(RuntimeError("within"), LMRateLimitError("slow down")), ProviderFailed, "ProviderFailed"),
        (LMAuthError("bad key"), BadInput, "CredentialsRejected"),
        (LMBillingError("no money"), BadInput, "CredentialsRejected"),
        (caused(ValueError("within"), LMAuthError("bad key")), BadInput, "CredentialsRejected"),
    ],
)
def test_a_provider_that_does_not_answer_is_never_a_score(
    error: Exception, raised: type[SwarmError], reason: str
) -> None:
    with pytest.raises(raised) as ended:
        cell(raising(error))
    assert ended.value.reason == reason


def test_a_loop_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert cell(raising(one))[0].outcome is Outcome.ERROR


# --- engine ------------------------------------------------------------------------------------------------------


class Left(BaseException):
    """Stands for the end of the process."""

    def __init__(self, error: SwarmError | None) -> None:
        self.error = error


def leave(error: SwarmError | None = None) -> NoReturn:
    raise Left(error)


@dataclass
class Desk:
    """An engine and what it emitted."""

    journal: list[Record] = field(default_factory=list)
    emitted: list[Record] = field(default_factory=list)
    looks_ahead: bool = True

    def __post_init__(self) -> None:
        self.engine = Engine(Store.of(self.journal), CODEC, self.emitted.append, leave, looks_ahead=self.looks_ahead)

    def left(self, *steps: Step) -> SwarmError | None:
        with pytest.raises(Left) as left:
            list(map(self.engine.need, steps))
        return left.value.error


def test_what_the_journal_has_is_returned() -> None:
    desk = Desk([result(1, b"value")])
    assert desk.engine.need(Step(1)) == b"value"
    assert (desk.emitted, desk.engine.asked) == ([], [])
    assert desk.engine.stream == [("wave", digest(1))]


def test_what_it_lacks_is_asked_for_and_the_plan_ends() -> None:
    desk = Desk([result(1)])
    assert desk.left(Step(1), Step(2)) is None
    assert [record.kind for record in desk.emitted] == [RecordKind.BLOB, RecordKind.TASK]
    assert [task.digest for task in desk.engine.asked] == [digest(2)]
    assert desk.engine.stream == [("wave", digest(1)), ("wave", digest(2))]


def test_what_cannot_travel_ends_the_plan_with_its_cause() -> None:
    error = Desk().left(Step(1, fails=True))
    assert isinstance(error, BadInput)
    assert error.reason == "ProgramNotPortable"
    assert "cannot pickle '_io.TextIOWrapper' object" in str(error)


@pytest.mark.parametrize(
    ("before", "drifts"),
    [
        ('[["wave","{1}"]]', False),
        ('[["wave","{1}"],["wave","{2}"],["wave","{3}"]]', False),
        ('[["wave","{2}"]]', True),
        ('[["bootstrap","{1}"]]', True),
        ('[["wave","{1}"],["wave","{9}"]]', True),
    ],
)
def test_a_plan_needs_what_the_plan_before_it_needed(before: str, drifts: bool) -> None:
    for number in (1, 2, 3, 9):
        before = before.replace(f"{{{number}}}", digest(number))
    error = Desk([result(1), plan_end(0, before)]).left(Step(1), Step(2))
    assert isinstance(error, Drift) == drifts
    assert error is None or error.reason == "Nondeterministic"


SWALLOWED = """
import os
from support.worker import NONCE
from swarm_worker.process import Process
from swarm_worker.replay.codec import Codec
from swarm_worker.replay.engine import Engine
from swarm_worker.replay.placeholder import EXTREMES
from swarm_worker.replay.store import Store
from support.effects import Step
process = Process()
engine = Engine(Store(), Codec({}), process.put, process.end, looks_ahead=False)
try:
    engine.need(Step(1))
except BaseException:
    print("swallowed")
finally:
    os.write(2, b"still here")
"""


def test_leaving_cannot_be_swallowed(tmp_path: Any) -> None:
    done = run_python(SWALLOWED, SWARM_TERMINATION_LOG=str(tmp_path / "log"), SWARM_NONCE="x" * 16)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("swarm/1 ") == 2
    assert '"records":2' in (tmp_path / "log").read_text()


# --- lookahead ---------------------------------------------------------------------------------------------------


def agreed(script: Callable[[Scout], object], known: frozenset[int] = frozenset()) -> list[int]:
    """Numbers of the tasks that join the round when each scout does as the script says."""
    found: list[int] = []
    scout = look({digest(number) for number in known}, lambda _, number: found.append(number), EXTREMES)
    if scout is not None:
        try:
            script(scout)
        finally:
            os._exit(0)
    return found


def sight(scout: Scout, number: int, *, unresolved: bool = False, kind: str = "wave") -> bool:
    scout.report(Sighting(kind, digest(number), unresolved), lambda: number)
    return True


def differing(scout: Scout, one: int, other: int) -> bool:
    return sight(scout, one if scout.letter == "A" else other)


def die(scout: Scout, role: str) -> bool:
    if scout.letter == role:
        os.kill(os.getpid(), 9)
    return False


SCRIPTS: list[tuple[str, Callable[[Scout], object], list[int]]] = [
    ("both want the same", lambda it: [sight(it, number) for number in (1, 2, 3)], [1, 2, 3]),
    ("both end", lambda it: None, []),
    ("one disagreement is skipped", lambda it: [sight(it, 1), differing(it, 2, 3), sight(it, 4)], [1, 4]),
    ("two in a row end it", lambda it: [differing(it, 2, 3), differing(it, 4, 5), sight(it, 6)], []),
    (
        "disagreements apart are skipped",
        lambda it: [differing(it, 1, 2), sight(it, 3), differing(it, 4, 5), sight(it, 6)],
        [3, 6],
    ),
    ("unresolved is not asked for", lambda it: [sight(it, 1, unresolved=True), sight(it, 2)], [2]),
    (
        "unresolved for one alone ends it",
        lambda it: [sight(it, 1, unresolved=it.letter == "A"), sight(it, 2)],
        [],
    ),
    ("another kind ends it", lambda it: [sight(it, 1, kind=it.letter), sight(it, 2)], []),
    ("the same twice is asked for once", lambda it: [sight(it, 1), sight(it, 1), sight(it, 2)], [1, 2]),
    ("the first scout dies", lambda it: [sight(it, 1), die(it, "A"), sight(it, 2)], [1]),
    ("the second scout dies", lambda it: [sight(it, 1), die(it, "B"), sight(it, 2)], [1]),
    ("one ends before the other", lambda it: [sight(it, 1), it.letter == "A" or sight(it, 2)], [1]),
    ("a scout raises", lambda it: [sight(it, 1), 1 / 0], [1]),
]


@pytest.mark.parametrize(("case", "script", "expected"), SCRIPTS, ids=[row[0] for row in SCRIPTS])
def test_what_joins_a_round(case: str, script: Callable[[Scout], object], expected: list[int]) -> None:
    assert agreed(script) == expected


def test_what_the_round_has_is_not_asked_for_again() -> None:
    assert agreed(lambda it: [sight(it, 1), sight(it, 2)], frozenset({1})) == [2]


def test_the_budget_bounds_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookahead, "BUDGET", 5)
    assert agreed(lambda it: [sight(it, number) for number in range(100)]) == [0, 1, 2, 3, 4]


def test_a_scout_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(lookahead, "PATIENCE_SECONDS", 0.1)
    assert agreed(lambda it: [sight(it, 1), it.letter == "A" or threading.Event().wait(), sight(it, 2)]) == [1]


def test_no_scout_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    fork, pids = os.fork, list[int]()

    def noted() -> int:
        pids.append(fork())
        return pids[-1]

    monkeypatch.setattr(os, "fork", noted)
    assert agreed(lambda it: [sight(it, 1), differing(it, 2, 3), differing(it, 2, 3), threading.Event().wait()]) == [1]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_there_is_no_looking_ahead_from_another_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(look, set(), print, EXTREMES).result() is None


def test_the_engine_asks_for_what_does_not_depend_on_what_is_missing() -> None:
    desk = Desk([result(5, b"known")])
    pid = os.getpid()
    try:
        value = desk.engine.need(Step(1, guess=True))  # only scouts get here
        low = value[0][1][1] < 0.6
        desk.engine.need(Step(2, guess=True))
        assert desk.engine.need(Step(5)) == b"known"
        desk.engine.need(Step(10 + low, guess=True))
        desk.engine.need(Step(3))  # no placeholder: both end here
        desk.engine.need(Step(4))
    except Left:
        assert os.getpid() == pid
    finally:
        if os.getpid() != pid:
            os._exit(1)
    assert [task.digest for task in desk.engine.asked] == [digest(1), digest(2), digest(3)]
    assert desk.engine.stream == [("wave", digest(1))], "scouts do not write the plan's stream"
    assert not desk.engine.is_scout


def test_without_looking_ahead_only_the_first_is_asked_for() -> None:
    desk = Desk(looks_ahead=False)
    desk.left(Step(1, guess=True))
    assert [task.digest for task in desk.engine.asked] == [digest(1)]
