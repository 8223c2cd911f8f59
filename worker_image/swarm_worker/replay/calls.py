"""Makes each LM call once.

The package `client` passes every LM call of DSPy to this module, which names the call by its content. If the journal or
a finished call of this process has the answer, that answer is returned. If an equal call is under way, the call waits
for its answer. Stock DSPy's cache does the same within one process. Here, answers also serve other pods and later
rounds, and calls to different endpoints differ.

A call belongs to a cell (`cell_calls`) or to the process itself. A cell's `Ledger` handles the calls of the cell, and
counts their cost. `Outside` handles the process's own calls. The current ledger is in `dspy.settings`, because DSPy
passes these settings on to the threads that it starts.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import dspy

from swarm_wire.messages import CallMade
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.spending import Usage
from swarm_worker.client.call import LMCall, Make
from swarm_worker.client.flow import Flow, Step, result_of
from swarm_worker.client.installed import client
from swarm_worker.client.permanent_errors import Address
from swarm_worker.content.codec import Codec
from swarm_worker.content.digest import Walk
from swarm_worker.errors import BadInput, SwarmError
from swarm_worker.exceptions import place
from swarm_worker.provider import latency
from swarm_worker.provider.price_list import address_of, took
from swarm_worker.replay import fallbacks
from swarm_worker.replay.blame import spoiling
from swarm_worker.replay.call_sharing import Table, Window

Claim = bytes | Future[None] | None
"""What a claim of a call gives: the answer, a future to wait for, or None if the caller is to make the call."""

_SETTING = "swarm_ledger"
AHEAD = "swarm_ahead"
"""Name of the setting that marks code which `prefetch` runs ahead, so that its LM calls are answered early."""


class NotShared(BaseException):
    """Ends code that runs ahead when it makes an uncached call, whose answer no other code could use."""


def name_call(lm: Any, call: LMCall, occurrence: int = 0) -> tuple[str, bool]:
    """Returns a name for an LM call, and whether the call contains a placeholder.

    The name is made from the model, the messages and parameters as in DSPy's cache, and the endpoint.

    Args:
        occurrence: distinguishes repetitions of an uncached call.
    """
    walk = Walk()
    return walk.digest("call", type(lm).__qualname__, call.endpoint, call.content, occurrence), walk.unresolved


def _in_thread(claim: Callable[[], Claim]) -> Future[Claim]:
    """Claims in a new thread, not in the event loop's pool. The coroutine that makes the call may need that pool."""
    future: Future[Claim] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(claim())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@dataclass(frozen=True)
class Answer:
    """The answer of a finished LM call, not printed yet."""

    key: str
    body: bytes
    usage: Usage

    def record(self, cell: str | None) -> Record:
        return Record(RecordKind.CALL, CallMade(key=self.key, usage=self.usage, cell=cell).to_header(), self.body)


class Answers:
    """The finished calls that a process knows, and those under way.

    Args:
        known: returns the journals' answer to a call, or None.
        emit: prints a record.
        window: shares calls with other processes of this machine.
        is_reused: whether an earlier run paid for a known answer.
    """

    def __init__(
        self,
        codec: Codec,
        known: Callable[[str], bytes | None],
        emit: Callable[[Record], None],
        window: Window | None = None,
        is_reused: Callable[[str], bool] = lambda key: False,
    ) -> None:
        self.codec, self.emit, self.is_reused = codec, emit, is_reused
        self._known, self._window, self._table = known, window, Table()

    def claim(self, key: str) -> Claim:
        """Claims a call, and returns what `Table.claim` returns."""
        if (body := self._known(key)) is not None:
            return body
        found = self._table.claim(key)
        if found is None and self._window is not None and (body := self._window.claim(key)) is not None:
            self._table.land(key, body)
            return body
        return found

    def claiming(self, key: str) -> Step[Claim]:
        """Returns a step of a flow that claims a call."""
        return Step(lambda: self.claim(key), lambda: self.aclaim(key))

    async def aclaim(self, key: str) -> Claim:
        """Claims a call as `claim` does, but does not block the event loop."""
        if self._window is None:
            return self.claim(key)
        found = _in_thread(lambda: self.claim(key))
        try:
            return await asyncio.wrap_future(found)
        except asyncio.CancelledError:
            found.add_done_callback(lambda found: self._give_up(key, found))
            raise

    def _give_up(self, key: str, found: Future[Claim]) -> None:
        if found.exception() is None and found.result() is None:
            self.land(key, None)

    def land(self, key: str, body: bytes | None) -> None:
        """Ends a claimed call. The body is None if there is no answer that others could use."""
        self._table.land(key, body)
        if self._window is not None:
            self._window.land(key, body)


@dataclass
class Ledger:
    """The LM calls of one cell. `recorded` has DSPy's records of them, by the id of the object that owns the record.

    The ledger prints an answer when the cell begins its next call, so a killed process loses no call but each cell's
    last one. The last answer is part of the cell's RESULT record, so a cell with one call needs no CALL record.
    """

    cell: str | None
    answers: Answers
    recorded: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    pending: Answer | None = None
    failed: dict[str, tuple[Address, Exception]] = field(default_factory=dict)
    """Errors of calls that were not answered later, each with the called address, by key. A program may hide an
    error.
    """
    refused: SwarmError | None = None
    """Why the cell has no result: a call was not allowed, or failed for a reason outside of program and model."""
    reused: set[str] = field(default_factory=set)
    """Keys of calls that an earlier run paid for."""
    program: Any = None
    """The program whose calls `needed` counts."""
    needed: dict[str, Usage] = field(default_factory=dict)
    """Usage of the calls that `program` made, by `price_list.address_of`, without cost."""
    repeated: int = 0
    """How many of these calls asked again, because DSPy could not read an answer."""
    milliseconds: int | None = 0
    """Time that providers took for these calls; None if that of a call is not known."""
    _unshared: Usage = field(default_factory=Usage)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def around(self, lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        """Answers a call from the known answers, or makes it."""
        try:
            key = self._begin(lm, call)
            while key is not None and (claim := (yield self.answers.claiming(key))) is not None:
                if isinstance(claim, bytes):
                    return self._known(key, call, claim)
                yield result_of(claim)
            result = None
            try:
                with latency.measured() as times:
                    result = yield make
                latency.mark(result, times)
            except Exception as error:
                self._note(key, (lm.model, call.endpoint), error)
                raise
            finally:
                self._finish(key, call, result)
            return result
        except Exception as error:
            self.refused = spoiling(error) or self.refused
            raise

    @property
    def usage(self) -> Usage:
        """Returns the cost of the calls that have no CALL record of their own."""
        return self._unshared + self.pending.usage if self.pending else self._unshared

    def _begin(self, lm: Any, call: LMCall) -> str | None:
        """Returns the call's key; None for an uncached call, which is always made."""
        if not call.cached and dspy.settings.get(AHEAD):
            raise NotShared
        self.flush()
        if self.refused is not None:
            # The program has swallowed an earlier error. Its calls may now differ from those that it would make without
            # the error.
            raise self.refused
        return name_call(lm, call)[0] if call.cached else None

    def _known(self, key: str, call: LMCall, body: bytes) -> Any:
        answer = self.answers.codec.loads_answer(body)
        with self._lock:
            self.failed.pop(key, None)
            if self.answers.is_reused(key):
                self.reused.add(key)
            self._need(call, took(call, answer), answer)
        return answer

    def _need(self, call: LMCall, usage: Usage, answer: Any) -> None:
        repeats, time = fallbacks.repeats(), latency.milliseconds(answer)
        if self.program is not None and any(module is self.program for module in dspy.settings.caller_modules or ()):
            address = address_of(call.content["model"], call.endpoint)
            self.needed[address] = self.needed.get(address, Usage()) + usage.model_copy(update={"micro_usd": None})
            self.repeated += usage.calls if repeats else 0
            self.milliseconds = None if time is None or self.milliseconds is None else self.milliseconds + time

    def _note(self, key: str | None, address: Address, error: Exception) -> None:
        with self._lock:
            self.failed[key or f"uncached {len(self.failed)}"] = address, error

    def _finish(self, key: str | None, call: LMCall, result: Any) -> None:
        if result is None:
            if key is not None:
                self.answers.land(key, None)
            return
        usage, body = took(call, result), None
        if key is not None:
            try:
                body = self.answers.codec.dumps_answer(result)
            except Exception:  # an answer that cannot be written is not shared
                body = None
            self.answers.land(key, body)
        with self._lock:
            self.failed.pop(key or "", None)
            self._need(call, usage, result)
            if key is None or body is None:
                self._unshared += usage
            else:
                self._flush()
                self.pending = Answer(key, body, usage)

    def flush(self) -> None:
        """Prints the pending answer."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        if self.pending is not None:
            self.answers.emit(self.pending.record(self.cell))
            self.pending = None

    def __deepcopy__(self, memo: object) -> "Ledger":
        return self


@dataclass
class Loading(Ledger):
    """The LM calls that user code makes while a worker loads it.

    The plan makes the same calls in the same order. So plan and worker both name a repeated uncached call by its
    number.
    """

    is_over: bool = False
    _occurrences: Counter[str] = field(default_factory=Counter)

    def around(self, lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        return make.once() if self.is_over else super().around(lm, call, make)

    def end(self) -> None:
        """Leaves all later calls to stock DSPy."""
        self.flush()
        self.is_over = True

    def _begin(self, lm: Any, call: LMCall) -> str | None:
        self.flush()
        key = name_call(lm, call)[0]
        if call.cached:
            return key
        with self._lock:
            self._occurrences[key] += 1
            return name_call(lm, call, self._occurrences[key])[0]


@contextmanager
def cell_calls(cell: str, answers: Answers) -> Iterator[Ledger]:
    """Within the block, LM calls of this context (and of threads that DSPy starts in it) belong to the cell."""
    ledger = Ledger(cell, answers)
    with dspy.context(**{_SETTING: ledger}):
        try:
            yield ledger
        except BaseException:
            ledger.flush()
            raise


def current() -> Ledger | None:
    """Returns the ledger of the cell that runs here; None outside of cells."""
    ledger: Ledger | None = dspy.settings.get(_SETTING)
    return ledger


class Outside(Protocol):
    """Handles LM calls outside of cells."""

    def around(self, lm: Any, call: LMCall, make: Make) -> Flow[Any]: ...


class _Process:
    end: Callable[[SwarmError], NoReturn] | None = None


_process = _Process()


def refuse(reason: str, message: str) -> NoReturn:
    """Ends the current cell, even if the program swallows the exception. Outside of cells, it ends the process."""
    error = BadInput(reason, message)
    if (ledger := current()) is not None:
        ledger.refused = ledger.refused or error
    elif _process.end is not None:
        _process.end(error)
    raise error


def install(outside: Outside | None = None, end: Callable[[SwarmError], NoReturn] | None = None) -> None:
    """Intercepts the LM calls of this process.

    Args:
        outside: handles LM calls outside of cells. None: stock DSPy makes them.
        end: ends the process with an error, so that no code can catch it. None: the error is raised.
    """
    _process.end = end

    def around(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        found = current() or outside
        return make.once() if found is None else found.around(lm, call, make)

    client().intercept(around)
    for kind in client().others():
        kind.__call__ = kind.acall = _refuse_other


def _refuse_other(lm: Any, *given: Any, **named: Any) -> NoReturn:
    refuse(
        WorkerReason.INVALID_SPEC,
        f"{place()} asks a {type(lm).__name__}, whose answers cannot be journaled or counted here. Use a dspy.LM.",
    )
