"""LM calls that an optimizer makes itself: the plan makes each once, then it is journaled."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from swarm_wire.messages import CallMade, Outcome, Result
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.words import sentence
from swarm_worker.client.call import AsyncMake, LMCall, Make
from swarm_worker.client.installed import client
from swarm_worker.content.codec import Codec
from swarm_worker.content.outcome import Value
from swarm_worker.errors import BadInput
from swarm_worker.journal.store import Store
from swarm_worker.lookahead.concurrency import is_alone
from swarm_worker.lookahead.scouts import Scout, Sighting
from swarm_worker.provider.price_list import took
from swarm_worker.replay.asked import Asked
from swarm_worker.replay.call_sharing import Table
from swarm_worker.replay.course import Course
from swarm_worker.replay.effects.call import Call
from swarm_worker.replay.execute import outcome_of, told
from swarm_worker.replay.output import Output
from swarm_worker.replay.scouting import Scouting

AT_ONCE = 16
"""LM calls of its own that a plan makes side by side."""

may_stand_in: contextvars.ContextVar[bool] = contextvars.ContextVar("may_stand_in", default=False)
"""Whether a text placeholder can stand for the answer to the LM call that is made here."""


class Missing(BaseException):
    """A scout has no answer to the LM call of this digest; whoever can make one up catches it."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class OwnCalls:
    """Serves LM calls outside of cells."""

    def __init__(
        self, store: Store, codec: Codec, asked: Asked, output: Output, course: Course, scouting: Scouting
    ) -> None:
        self._store, self._codec, self._asked, self._output = store, codec, asked, output
        self._course, self._scouting = course, scouting
        self._make_call = client().maker()
        self._flights = Table()
        self._occurrences: dict[str, int] = {}

    def call(self, lm: Any, call: LMCall, make: Make) -> Any:
        """The result of an LM call: made once, then journaled."""
        with self._output.ending():
            effect = self._made(lm, call, make)
        return self._value(effect)

    def _made(self, lm: Any, call: LMCall, make: Make) -> Call:
        """A call whose answer is known now."""
        effect = self._named(lm, call)
        if (scout := self._scouting.scout) is not None:
            self._scouted(scout, effect)
            return effect
        self._course.follow(effect.kind, effect.digest)
        while not effect.is_known(self._store):
            if (flight := self._flights.claim(effect.digest)) is not None:
                assert isinstance(flight, Future)
                flight.result()  # another thread makes it
                continue
            try:
                if may_stand_in.get() and self._scouting.is_on and is_alone() and self._scouting.look() is not None:
                    raise Missing(effect.digest)
                self._asked.calls.pop(effect.digest, None)
                self.make_found(lambda: self._make(effect.digest, call, make))
            finally:
                self._flights.land(effect.digest, None)
        return effect

    async def acall(self, lm: Any, call: LMCall, make: AsyncMake) -> Any:
        """As `call`, from a coroutine. Scouts end here."""
        with self._output.ending():
            effect = await self._async_made(lm, call, make)
        return self._value(effect)

    async def _async_made(self, lm: Any, call: LMCall, make: AsyncMake) -> Call:
        effect = self._named(lm, call)
        if self._scouting.scout is not None:
            if effect.unresolved or not effect.is_known(self._store):
                self._scouting.scout.end()
            return effect
        self._course.follow(effect.kind, effect.digest)
        while not effect.is_known(self._store):
            if (flight := self._flights.claim(effect.digest)) is not None:
                assert isinstance(flight, Future)
                await asyncio.wrap_future(flight)
                continue
            try:
                with self._output.working():
                    await self._make_async(effect.digest, call, make)
            finally:
                self._flights.land(effect.digest, None)
        return effect

    async def _make_async(self, key: str, call: LMCall, make: AsyncMake) -> None:
        self._course.spend()
        try:
            made = await make()
        except Exception as error:
            failure = error

            def again() -> Any:
                raise failure

            self._make(key, call, again)
        else:
            self._make(key, call, lambda: made)

    def make_found(self, *own: Callable[[], None]) -> bool:
        """Makes the calls that scouts found, and one of the plan's own; whether there was any."""

        def found(key: str, payload: bytes) -> None:
            lm, call = self._codec.loads(payload)
            self._make(key, call, lambda: self._make_call(lm, call))

        waiting = self._asked.take_calls()
        jobs = [*own, *(lambda key=key, payload=payload: found(key, payload) for key, payload in waiting.items())]
        if not jobs:
            return False
        self._course.spend_here()
        with self._output.working():
            if len(jobs) == 1:
                jobs[0]()
            else:
                # Not before those under way are answered: they are paid for.
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    context = contextvars.copy_context()
                    list(pool.map(lambda job: context.copy().run(job), jobs))
        return True

    def _named(self, lm: Any, call: LMCall) -> Call:
        effect = Call(lm, call)
        if call.cached:
            return effect
        with self._asked.lock:
            self._occurrences[effect.digest] = occurrence = self._occurrences.get(effect.digest, 0) + 1
        return Call(lm, call, occurrence)

    def _value(self, effect: Call) -> Any:
        self._course.used.update(effect.keys)
        with self._output.ending():
            outcome, value = effect.load(self._store, self._codec)
        if outcome is Outcome.ERROR:
            raise value
        return value

    def _make(self, key: str, call: LMCall, make: Make) -> None:
        """Makes an LM call here and journals it. Raises SwarmError."""
        outcome, value = outcome_of(make, (), self._codec.redact)
        if outcome is Outcome.OK:
            header = CallMade(key=key, usage=took(call, value)).to_header()
            self._output.keep(Record(RecordKind.CALL, header, self._portable(self._codec.dumps_answer, value)))
        else:
            failed: Value = outcome, value
            result = Result(key=key, outcome=outcome, error=told(value, self._codec.redact))
            self._output.keep(Record(RecordKind.RESULT, result.to_header(), self._portable(self._codec.dumps, failed)))

    def _portable(self, dumps: Callable[[Any], bytes], answer: Any) -> bytes:
        """What is journaled of an answer. Ends the process where there is none: an optimizer may catch."""
        try:
            return dumps(answer)
        except Exception as error:
            self._output.end(
                BadInput(
                    WorkerReason.RESULT_NOT_PORTABLE,
                    f"what a model answers cannot leave its process: {type(error).__name__}: "
                    f"{sentence(str(error))} Use a client whose answers are plain values, and a provider that "
                    "does not repeat the API key.",
                )
            )

    def _scouted(self, scout: Scout, effect: Call) -> None:
        """Returns where the answer is known."""
        if not effect.unresolved and effect.is_known(self._store):
            return
        sighting = Sighting(effect.kind, effect.digest, effect.unresolved)
        scout.report(sighting, lambda: self._codec.dumps((effect.lm, effect.call)))
        if not may_stand_in.get():
            scout.end()
        raise Missing(effect.digest)
