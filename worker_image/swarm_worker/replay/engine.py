"""The one place where a plan may lack a result.

`need` takes it from the journal. A small wave, or a call that the plan makes itself, is made here. For everything else
the plan looks ahead for what else this round may run, says what it lacks, and ends: with the process (`leave`), so that
nothing that an optimizer or a user's program catches can keep it from ending.
"""

import asyncio
import contextvars
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from math import inf
from typing import Any, NoReturn, Protocol, TypeGuard

from swarm_wire.messages import CallMade, Outcome, Result, Task
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.words import sentence
from swarm_worker.client import permanent_errors
from swarm_worker.client.call import AsyncMake, LMCall, Make
from swarm_worker.client.installed import client
from swarm_worker.client.permanent_errors import RequestRefused
from swarm_worker.content.codec import Codec
from swarm_worker.content.outcome import Value
from swarm_worker.errors import (
    BadInput,
    CellTimeout,
    Drift,
    InfrastructureFailed,
    NoMoreCalls,
    OutputFull,
    SwarmError,
)
from swarm_worker.journal.run_journal import Stream
from swarm_worker.journal.store import Store
from swarm_worker.lookahead.concurrency import is_alone, is_main, is_ordered
from swarm_worker.lookahead.forecast import Forecast
from swarm_worker.lookahead.guesses import Guesses, allowance
from swarm_worker.lookahead.placeholder import EXTREMES, LIKELY, QUORUM, Outlook
from swarm_worker.lookahead.scouts import Scout, Sighting, look
from swarm_worker.provider.price_list import took
from swarm_worker.replay.call_sharing import Table
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.cell_timer import Watch
from swarm_worker.replay.effects.call import Call
from swarm_worker.replay.effects.effect import Effect
from swarm_worker.replay.effects.failures import Failures
from swarm_worker.replay.effects.registry import make_work
from swarm_worker.replay.effects.tasks import Tasks
from swarm_worker.replay.effects.wave import Evaluation
from swarm_worker.replay.execute import outcome_of, told
from swarm_worker.replay.pruning import Contest, Entrant
from swarm_worker.replay.tally import Tally

SMALL = 8
"""A wave of so many cells is run by the plan itself: quicker than a round."""
ALONE = 5
"""So many times as large may a wave be that nothing can run beside."""
CALLS_AT_ONCE = 16
"""LM calls of its own that a plan makes side by side."""
SETTLE_SECONDS = 0.3
"""A plan whose optimizer runs threads leaves when they have run nothing, and asked for nothing, for so long."""


class Leave(Protocol):
    """Ends the process: blocked, or with an error."""

    def __call__(self, error: SwarmError | None = None) -> NoReturn: ...


class Missing(BaseException):
    """A scout has no answer to the LM call of this digest; whoever can make one up catches it."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


def not_checked(observed: Stream) -> None:
    """Takes the plan's first effects for granted."""


class Engine:
    """Serves effects to the hooks.

    Args:
        store: the journal.
        codec: for payloads and results.
        emit: prints a record.
        leave: ends the process.
        looks_ahead: ask for more than the first missing effect.
        speculation: most guesses of a round.
        threads: cells that run here at the same time.
        watch: how long each has been running.
        small: most missing cells of a wave that is run here; more of one that nothing can run beside (`ALONE`).
        ahead: is called before LM calls are made here, by threads.
        check: is told, before the plan spends anything or ends, what it needed and found until then. A SwarmError that
            it raises ends the plan.
        is_full: whether so much is printed that another plan should go on.
        contest: of the compile's evaluations, where they need not all be finished.
        passes_over: whether evaluations that are not complete count for nothing now. A plan that only looks for what is
            complete asks for none of them.

    Attributes:
        has_checked: whether `check` was told.
        has_passed_over: whether it met one: what the optimizer does from there on is not what it would have done.
        stream: effects needed so far.
        asked: tasks emitted.
        guesses: digests of those among them that are guesses, and about how many runs of the program each takes.
        used: keys of results that were needed.
        tally: examples that the optimizer needed, and those that failed.
        answers: finished LM calls, for the cells that run here.
    """

    def __init__(
        self,
        store: Store,
        codec: Codec,
        emit: Callable[[Record], None],
        leave: Leave,
        *,
        looks_ahead: bool = True,
        speculation: int = 0,
        threads: int = 8,
        watch: Watch | None = None,
        small: int = SMALL,
        ahead: Callable[[], None] = lambda: None,
        check: Callable[[Stream], None] = not_checked,
        is_full: Callable[[], bool] = bool,
        contest: Contest | None = None,
        passes_over: Callable[[], bool] = bool,
    ) -> None:
        self.store, self.codec = store, codec
        self._emit, self._leave, self._check, self._is_full = emit, leave, check, is_full
        self._ahead = ahead
        self._contest, self._passes_over = contest, passes_over
        self._looks_ahead, self._speculation, self._threads = looks_ahead, speculation, threads
        self._small, self._small_alone = small, ALONE * min(small, threads)
        self._make_call = client().maker()
        self._scout: Scout | None = None
        self._blobs: set[str] = set()
        self._joined: set[str] = set()
        self._watch = watch or Watch(inf)
        self._unsaid: list[Record] = []
        self._waiting: dict[str, bytes] = {}
        self._forecast = Forecast()
        self._lock = threading.RLock()
        self._active_at = 0.0
        self._at_work: Counter[int] = Counter()
        self._unordered: set[str] = set()
        self._used_by_kind: list[tuple[str, Sequence[str]]] = []
        self._limits: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._flights = Table()
        self._occurrences: dict[str, int] = {}
        self.has_checked = self.has_passed_over = False
        self.answers = Answers(codec, store.answer, self._keep, is_reused=store.is_reused)
        self.stream: Stream = []
        self.asked: list[Task] = []
        self.guesses: dict[str, int] = {}
        self.used: set[str] = set()
        self.tally = Tally()

    @property
    def is_scout(self) -> bool:
        """Whether this process is a fork that only looks ahead."""
        return self._scout is not None

    @property
    def letter(self) -> str:
        """The letter of this scout's marks."""
        assert self._scout is not None
        return self._scout.letter

    # Waves and bootstraps

    def need(self, effect: Effect) -> Any:
        """The effect's result. Does not return where the journal lacks it."""
        with self.ending():
            return self._needed(effect)

    def _needed(self, effect: Effect) -> Any:
        if self._scout is not None:
            return self._scouted(self._scout, effect)
        self._follow(effect.kind, effect.digest)
        while not (self._is_settled(effect) or self._is_passed_over(effect)):
            tasks = self._tasks(effect)
            if _fits(tasks.task, self._small):
                self._run_here(tasks.task, tasks.blobs)
            elif (scout := self._block(effect, tasks)) is not None:
                return self._stand_in(scout, effect)
        known = [key for key in effect.keys if key in self.store]
        if known:
            self._used_by_kind.append((effect.kind, known))
        self.used.update(known)
        value = self._load(effect)
        if isinstance(effect, Evaluation) and not effect.has_failed(self.store):
            self._forecast.add(effect.program, effect.scores(value))
            self._enter(effect)
        return value

    def go_on(self, leftover: Iterable[Tasks]) -> NoReturn:
        """Asks again for what the last round has left to do, and leaves: nothing new before that."""
        for tasks in leftover:
            self._ask(tasks.task.digest, tasks.records())
        self.stream = list(self.store.stream)
        self._end()

    def _is_settled(self, effect: Effect) -> bool:
        """Whether nothing more of it is needed."""
        return effect.is_known(self.store) or (self._competes(effect) and effect.digest in self.spared)

    def _is_passed_over(self, effect: Effect) -> bool:
        if not (isinstance(effect, Evaluation) and self._passes_over()):
            return False
        self.has_passed_over = True
        return True

    def _load(self, effect: Effect) -> Any:
        if isinstance(effect, Evaluation) and not effect.is_known(self.store):
            return effect.bounded(self.store, self.codec, -inf if self._contest is None else self._contest.most)
        return effect.load(self.store, self.codec)

    def _block(self, effect: Effect, tasks: Tasks) -> Scout | None:
        """Asks for the effect and whatever else may run, and leaves.

        Returns:
            In a scout: its line. In the plan: None, if it need not leave yet: it found out more, or ran something.
        """
        if not is_alone():
            self._ask(effect.digest, tasks.records())
            self._settle()
        entrants = self._entrants(effect)
        if not entrants:
            self._ask(effect.digest, tasks.records())
        if self._looks_ahead:
            has_placeholder = effect.placeholder(EXTREMES[0].letter, lambda *_: 0.0) is not None
            if has_placeholder and (scout := self._find_independent()) is not None:
                return scout
            self._ask_for_part(*entrants)
            if self._is_settled(effect):
                self._ask_nothing()
                return None
            if len(self.asked) == 1 and _fits(self.asked[0], self._small_alone):
                self._run_asked()
                return None
            if has_placeholder and self._speculation and (scout := self._guess()) is not None:
                return scout
        self.spend()
        self._end()

    def _settle(self) -> NoReturn:
        """Leaves when all is quiet: other threads of the optimizer may still come to what they lack, which joins the
        round, and what they run here is paid for.
        """
        while True:
            with self._lock:
                quiet = time.monotonic() - self._active_at
                if quiet >= SETTLE_SECONDS and not self._others_work:
                    self.spend()
                    self._end()
            time.sleep(max(0.01, SETTLE_SECONDS - quiet))

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Within, something is paid for that would be lost with the process."""
        thread = threading.get_ident()
        with self._lock:
            self._at_work[thread] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[thread] -= 1
                self._active_at = time.monotonic()

    @property
    def _others_work(self) -> bool:
        """Whether something is under way in other threads. What coroutines of this one began waits for this one."""
        return any(count for thread, count in self._at_work.items() if thread != threading.get_ident())

    def _tasks(self, effect: Effect) -> Tasks:
        """The effect's task. Ends the process where it cannot travel: an optimizer may catch."""
        try:
            return effect.tasks(self.store, self.codec)
        except Exception as error:
            self._end(
                BadInput(
                    WorkerReason.PROGRAM_NOT_PORTABLE,
                    f"the program, metric or data cannot travel to workers: {sentence(str(error))}",
                )
            )

    def _ask(self, digest: str, records: list[Record]) -> None:
        with self._lock:
            if digest in {task.digest for task in self.asked}:
                return
            self._joined.add(digest)
            if not is_ordered():
                self._unordered.add(digest)
            for record in records:
                if record.kind is RecordKind.BLOB:
                    # Waves over the same data share a blob: it is printed once.
                    if record.header["key"] in self._blobs:
                        continue
                    self._blobs.add(record.header["key"])
                    self._unsaid.append(record)
                if record.kind is RecordKind.TASK:
                    self.asked.append(Task.model_validate(record.header))

    def _ask_nothing(self) -> None:
        """Takes back what was asked for."""
        for asked in (self.asked, self._joined, self._blobs, self._unsaid):
            asked.clear()

    def _run_asked(self) -> None:
        """Runs here the one task that was asked for."""
        [task] = self.asked
        blobs = {record.header["key"]: record.body for record in self._unsaid}
        self._ask_nothing()
        self._run_here(task, blobs)

    def _run_here(self, task: Task, blobs: Mapping[str, bytes]) -> None:
        """Runs the cells of a small wave in this process, as a worker would."""
        self.spend()
        self._ahead()
        work, failures = make_work(task, blobs, self.codec), Failures()

        def run(position: int) -> None:
            if failures.is_over:
                return
            with self._watch.timed():
                record = work.run(position, self.answers)
            failures.note(task, record)
            self._keep(record)

        with self._working(), ThreadPoolExecutor(self._threads) as pool:
            cells = [pool.submit(run, position) for position in range(len(task.cells))]
            while wait(cells, timeout=0.2).not_done:
                if self._watch.only_late:
                    self._end(CellTimeout(self._watch.late, self._watch.seconds))
        try:
            for cell in cells:
                self._settled(cell)
        except NoMoreCalls:
            if not failures.is_over:
                # The run goes on with the rest of it, and not with what another plan makes of a part.
                self._ask(task.digest, Tasks(task, dict(blobs)).rest(self.store).records())
                self._end()

    def _settled(self, cell: Future[None]) -> None:
        """Raises what a cell raised. What was refused is a result where others are answered."""
        try:
            cell.result()
        except RequestRefused as refused:
            if not permanent_errors.here().has_answered(refused.address):
                raise
            self._keep(refused.record)

    # Evaluations of which only the best counts

    @property
    def spared(self) -> Mapping[str, Collection[str]]:
        """Keys of the missing cells of each evaluation that cannot win, by digest."""
        return self._contest.spared if self._contest is not None else {}

    def _competes(self, effect: Effect) -> TypeGuard[Evaluation]:
        """Whether it may be cut short. Only where others can be seen ahead: by then one of them may have won."""
        return (
            self._contest is not None
            and self._contest.is_on
            and self._looks_ahead
            and isinstance(effect, Evaluation)
            and is_main()
        )

    def _entrants(self, effect: Effect) -> list[Entrant]:
        """The effect, if it competes."""
        if not self._competes(effect) or effect.has_failed(self.store):
            return []
        if (standing := effect.standing(self.store, self.codec)) is None:
            return []
        tasks = None if effect.is_known(self.store) else self._tasks(effect)
        return [Entrant(effect.digest, effect.keys, standing, tasks)]

    def _enter(self, effect: Evaluation) -> None:
        """Notes an evaluation that the plan has the scores of."""
        if self._contest is None or not is_main():
            return
        if (standing := effect.standing(self.store, self.codec)) is not None:
            with self.ending():
                self._contest.passed(Entrant(effect.digest, effect.keys, standing))

    def _ask_for_part(self, *at: Entrant) -> None:
        """Asks for those cells of competing evaluations that tell best which of them cannot win."""
        if self._contest is None:
            return
        for entrant, keys in self._contest.decide(*at):
            if keys:
                self._ask(entrant.digest, entrant.request.part(keys).records())
            self._joined.add(entrant.digest)  # no guess

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Whatever is raised within ends the process: an optimizer may catch, and make a score of it."""
        try:
            yield
        except SwarmError as error:
            self._end(error)
        except Exception as error:
            self._end(InfrastructureFailed(error))

    @property
    def is_at_work(self) -> bool:
        """Whether cells run here, or calls are made, whose answers may not be journaled yet."""
        return any(self._at_work.values())

    # LM calls

    def call(self, lm: Any, call: LMCall, make: Make) -> Any:
        """The result of an LM call that the plan makes: made once, then journaled."""
        with self.ending():
            effect = self._made(lm, call, make)
        return self._value(effect)

    def _made(self, lm: Any, call: LMCall, make: Make) -> Call:
        """A call whose answer is known now."""
        effect = self._named(lm, call)
        if self._scout is not None:
            self._scouted_call(self._scout, effect)
            return effect
        self._follow(effect.kind, effect.digest)
        while not effect.is_known(self.store):
            if (flight := self._flights.claim(effect.digest)) is not None:
                assert isinstance(flight, Future)
                flight.result()  # another thread makes it
                continue
            try:
                if may_stand_in.get() and self._looks_ahead and is_alone() and self._look(EXTREMES) is not None:
                    raise Missing(effect.digest)
                self._waiting.pop(effect.digest, None)
                self._make_waiting(lambda: self._make(effect.digest, call, make))
            finally:
                self._flights.land(effect.digest, None)
        return effect

    async def acall(self, lm: Any, call: LMCall, make: AsyncMake) -> Any:
        """As `call`, from a coroutine. Scouts end here."""
        with self.ending():
            effect = await self._async_made(lm, call, make)
        return self._value(effect)

    async def _async_made(self, lm: Any, call: LMCall, make: AsyncMake) -> Call:
        effect = self._named(lm, call)
        if self._scout is not None:
            if effect.unresolved or not effect.is_known(self.store):
                self._scout.end()
            return effect
        self._follow(effect.kind, effect.digest)
        while not effect.is_known(self.store):
            if (flight := self._flights.claim(effect.digest)) is not None:
                assert isinstance(flight, Future)
                await asyncio.wrap_future(flight)
                continue
            try:
                with self._working():
                    await self._make_async(effect.digest, call, make)
            finally:
                self._flights.land(effect.digest, None)
        return effect

    async def _make_async(self, key: str, call: LMCall, make: AsyncMake) -> None:
        self.spend()
        try:
            made = await make()
        except Exception as error:
            failure = error

            def again() -> Any:
                raise failure

            self._make(key, call, again)
        else:
            self._make(key, call, lambda: made)

    def _named(self, lm: Any, call: LMCall) -> Call:
        effect = Call(lm, call)
        if call.cached:
            return effect
        with self._lock:
            self._occurrences[effect.digest] = occurrence = self._occurrences.get(effect.digest, 0) + 1
        return Call(lm, call, occurrence)

    def _value(self, effect: Call) -> Any:
        self.used.update(effect.keys)
        with self.ending():
            outcome, value = effect.load(self.store, self.codec)
        if outcome is Outcome.ERROR:
            raise value
        return value

    def _make(self, key: str, call: LMCall, make: Make) -> None:
        """Makes an LM call here and journals it. Raises SwarmError."""
        outcome, value = outcome_of(make, (), self.codec.redact)
        if outcome is Outcome.OK:
            header = CallMade(key=key, usage=took(call, value)).to_header()
            self._keep(Record(RecordKind.CALL, header, self._portable(value)))
        else:
            failed: Value = outcome, value
            result = Result(key=key, outcome=outcome, error=told(value, self.codec.redact))
            self._keep(Record(RecordKind.RESULT, result.to_header(), self._portable(failed)))

    def _portable(self, answer: Any) -> bytes:
        """An answer's pickle. Ends the process where there is none: an optimizer may catch."""
        try:
            return self.codec.dumps(answer)
        except Exception as error:
            self._end(
                BadInput(
                    WorkerReason.RESULT_NOT_PORTABLE,
                    f"what a model answers cannot leave its process: {type(error).__name__}: "
                    f"{sentence(str(error))} Use a client whose answers are plain values, and a provider that "
                    "does not repeat the API key.",
                )
            )

    def _make_waiting(self, *own: Callable[[], None]) -> bool:
        """Makes the calls that scouts found, and one of the plan's own; whether there was any."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}

        def found(key: str, payload: bytes) -> None:
            lm, call = self.codec.loads(payload)
            self._make(key, call, lambda: self._make_call(lm, call))

        jobs = [*own, *(lambda key=key, payload=payload: found(key, payload) for key, payload in waiting.items())]
        if not jobs:
            return False
        self.spend()
        self._ahead()
        with self._working():
            if len(jobs) == 1:
                jobs[0]()
            else:
                # Not before those under way are answered: they are paid for.
                with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
                    context = contextvars.copy_context()
                    list(pool.map(lambda job: context.copy().run(job), jobs))
        return True

    # Looking ahead

    def _look(self, outlooks: Sequence[Outlook], **limits: Any) -> Scout | None:
        places = dict.fromkeys((digest for _, digest in self.stream[-1:]), 0)

        def met(sighting: Sighting) -> None:
            self._places[sighting.digest] = places.setdefault(sighting.digest, len(places))
            if left := sighting.errors_left:
                self._limits[sighting.digest] = min(left, self._limits.get(sighting.digest, left))

        def found(sighting: Sighting, request: Any) -> None:
            met(sighting)
            if sighting.kind == Call.kind:
                self._waiting[sighting.digest] = request
            elif isinstance(request, Entrant) and self._contest is not None:
                with self.ending():
                    self._contest.sighted(request)
            else:
                self._ask(sighting.digest, request)

        if self._contest is not None:
            self._contest.look_again()
        self._scout = look(self._joined | set(self._waiting), found, outlooks, met=met, **limits)
        return self._scout

    def _find_independent(self) -> Scout | None:
        """Asks for what does not depend on what is missing, and makes such LM calls."""
        while (scout := self._look(EXTREMES)) is None:
            if not self._make_waiting():
                return None
        return scout

    def _guess(self) -> Scout | None:
        certain = len(self.asked)
        paid, unneeded = self.store.usage().calls, self.store.waste(self.used).calls
        guesses = Guesses(allowance(paid, unneeded), self._prices())
        scout = self._look(LIKELY, quorum=QUORUM, limit=self._speculation, choice=guesses.take)
        self.guesses = {task.digest: _cost(task) for task in self.asked[certain:]}
        return scout

    def _prices(self) -> dict[str, float]:
        """LM calls of a cell, by the kind of its effect: as of the dearest one so far."""
        prices: dict[str, float] = {}
        calls = self.store.calls_by_cell()
        for kind, keys in self._used_by_kind:
            price = sum(calls[key] for key in keys) / len(keys)
            prices[kind] = max(price, prices.get(kind, 0.0))
        return prices

    def _stand_in(self, scout: Scout, effect: Effect) -> Any:
        return effect.placeholder(scout.letter, lambda *about: scout.score(*self._forecast.of(*about)))

    def _scouted(self, scout: Scout, effect: Effect) -> Any:
        """In a scout: what is known, or a placeholder after a word with the referee."""
        is_settled = not effect.unresolved and self._is_settled(effect)
        if is_settled and not self._competes(effect):
            return self._load(effect)
        cells = sum(key not in self.store for key in effect.keys)
        sighting = Sighting(effect.kind, effect.digest, effect.unresolved, cells, effect.errors_left(self.store))
        scout.report(sighting, lambda: self._request(effect))
        if is_settled:
            return self._load(effect)
        stand_in = self._stand_in(scout, effect)
        if stand_in is None:
            scout.end()
        return stand_in

    def _request(self, effect: Effect) -> Entrant | list[Record]:
        """What it takes to run an effect, or to compare it with others first."""
        if entrants := self._entrants(effect):
            return entrants[0]
        return [] if effect.is_known(self.store) else self._tasks(effect).records()

    def _scouted_call(self, scout: Scout, effect: Call) -> None:
        """Returns where the answer is known."""
        if not effect.unresolved and effect.is_known(self.store):
            return
        sighting = Sighting(effect.kind, effect.digest, effect.unresolved)
        scout.report(sighting, lambda: self.codec.dumps((effect.lm, effect.call)))
        if not may_stand_in.get():
            scout.end()
        raise Missing(effect.digest)

    # The journal, and the end

    def _end(self, error: SwarmError | None = None) -> NoReturn:
        """Ends the process. Of several threads one does, and none says anything after its last word."""
        with self._lock:
            if error is None:
                self._arrange()
                for record in (*self._unsaid, *(Record(RecordKind.TASK, task.to_header()) for task in self.asked)):
                    self._emit(record)
            self._leave(error)

    def _arrange(self) -> None:
        """Brings what was asked for into the order in which the optimizer comes to it, each task with the fewest errors
        that it must not have: where one fails, those behind it may not be needed.
        """
        self.asked = [
            task.model_copy(update={"max_errors": self._limits.get(task.digest, task.max_errors)})
            for task in sorted(self.asked, key=lambda task: self._places.get(task.digest, 0))
        ]

    def _keep(self, record: Record) -> None:
        """Journals what was finished here."""
        with self._lock:
            self.store.put(record)
            self._emit(record)
            self._active_at = time.monotonic()

    def spend(self) -> None:
        """From here on the plan costs something, or ends."""
        with self._lock:
            if not self.has_checked:
                self.has_checked = True
                found = [(str(task.kind), task.digest) for task in self.asked if task.digest not in self._unordered]
                with self.ending():
                    self._check([*self.stream, *found, *((Call.kind, digest) for digest in self._waiting)])

    def _follow(self, kind: str, digest: str) -> None:
        """Each plan must need what the plan before it needed, in the same order.

        Threads and coroutines of an optimizer have no order among them, so what they need does not count.
        """
        self._active_at = time.monotonic()
        if self._is_full():
            while self._others_work:
                time.sleep(0.01)
            self._end(OutputFull())
        if not is_ordered():
            return
        number, found = len(self.stream), (kind, digest)
        self.stream.append(found)
        if number < len(self.store.stream) and self.store.stream[number] != found and not self.has_passed_over:
            before = self.store.stream[number]
            self._end(
                Drift(
                    WorkerReason.NONDETERMINISTIC,
                    f"effect {number + 1} was the {before[0]} {before[1]} before and is the {kind} {digest} now: the "
                    "program, metric or data differs from process to process. Look for time, unseeded randomness, "
                    "the order of a set, or the environment; make it the same each time.",
                )
            )


def _fits(task: Task, small: int) -> bool:
    """Whether a plan that runs so many cells itself runs these."""
    return len(task.cells) <= small and task.weight == 1


def _cost(task: Task) -> int:
    return len(task.cells) * task.weight


may_stand_in: contextvars.ContextVar[bool] = contextvars.ContextVar("may_stand_in", default=False)
"""Whether a text placeholder can stand for the answer to the LM call that is made here."""
