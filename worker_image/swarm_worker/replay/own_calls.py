"""Serves the LM calls that an optimizer makes itself. The plan makes each call once, and journals its answer."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from swarm_wire.messages import CallMade, Outcome, Result
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.words import sentence
from swarm_worker.client.call import LMCall, Make
from swarm_worker.client.flow import Flow, result_of, run
from swarm_worker.client.installed import client
from swarm_worker.content.codec import Codec
from swarm_worker.errors import BadInput
from swarm_worker.journal.store import Store
from swarm_worker.lookahead.concurrency import is_alone
from swarm_worker.lookahead.scouts import Scout, Sighting
from swarm_worker.provider import latency
from swarm_worker.provider.price_list import took
from swarm_worker.replay.asked import Asked
from swarm_worker.replay.call_sharing import Table
from swarm_worker.replay.course import Course
from swarm_worker.replay.effects.call import Call
from swarm_worker.replay.execute import failure, told
from swarm_worker.replay.output import Output
from swarm_worker.replay.scouting import Scouting

AT_ONCE = 16
"""Largest number of LM calls that a plan makes concurrently."""

may_stand_in: contextvars.ContextVar[bool] = contextvars.ContextVar("may_stand_in", default=False)
"""Whether a text placeholder can replace the answer to the current LM call."""


class Missing(BaseException):
    """A scout has no answer to an LM call. The hook of `Predict.forward` catches this, and gives a placeholder text."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class OwnCalls:
    """Serves the LM calls that an optimizer makes outside of cells."""

    def __init__(
        self, store: Store, codec: Codec, asked: Asked, output: Output, course: Course, scouting: Scouting
    ) -> None:
        self._store, self._codec, self._asked, self._output = store, codec, asked, output
        self._course, self._scouting = course, scouting
        self._maker = client().maker()
        self._flights = Table()
        self._occurrences: dict[str, int] = {}

    def around(self, lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        """Makes an LM call once and journals it; later calls take the answer from the journal."""
        with self._output.ending():
            effect = self._named(lm, call)
            if (scout := self._scouting.scout) is not None:
                self._scouted(scout, effect)
            else:
                yield from self._found(effect, make)
        return self._value(effect)

    def make_sighted(self) -> bool:
        """Makes the calls that scouts found. Returns whether there were any."""
        return run(self._make_all())

    def _found(self, effect: Call, make: Make) -> Flow[None]:
        """Makes the call if the journal has no answer. If another thread or coroutine makes it, waits for that."""
        self._course.follow(effect.kind, effect.digest)
        while not effect.is_known(self._store):
            if (flight := self._flights.claim(effect.digest)) is not None:
                assert isinstance(flight, Future)
                yield result_of(flight)  # another thread or coroutine makes this call
                continue
            try:
                if may_stand_in.get() and self._scouting.is_on and is_alone() and self._scouting.look() is not None:
                    raise Missing(effect.digest)
                self._asked.calls.pop(effect.digest, None)
                yield from self._make_all(self._make(effect.digest, effect.call, make))
            finally:
                self._flights.land(effect.digest, None)

    def _make_all(self, *own: Flow[None]) -> Flow[bool]:
        """Makes the calls that scouts found, and the plan's own call if given. Returns whether there were any."""
        flows = [*own, *(self._sighted(key, payload) for key, payload in self._asked.take_calls().items())]
        if not flows:
            return False
        self._course.spend_here()
        with self._output.working():
            if len(flows) == 1:
                yield from flows[0]
            else:
                # The pool waits for all answers, even after an error, because calls under way are paid for.
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    context = contextvars.copy_context()
                    list(pool.map(lambda flow: context.copy().run(run, flow), flows))
        return True

    def _sighted(self, key: str, payload: bytes) -> Flow[None]:
        lm, call = self._codec.loads(payload)
        yield from self._make(key, call, self._maker(lm, call))

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

    def _make(self, key: str, call: LMCall, make: Make) -> Flow[None]:
        """Makes an LM call, and journals its answer or exception. Raises SwarmError if that is no result."""
        try:
            with latency.measured() as times:
                answer = yield make
            latency.mark(answer, times)
        except (Exception, SystemExit) as error:
            failed = outcome, value = failure(error, self._codec.redact)
            result = Result(key=key, outcome=outcome, error=told(value, self._codec.redact))
            self._output.keep(Record(RecordKind.RESULT, result.to_header(), self._portable(self._codec.dumps, failed)))
        else:
            header = CallMade(key=key, usage=took(call, answer)).to_header()
            self._output.keep(Record(RecordKind.CALL, header, self._portable(self._codec.dumps_answer, answer)))

    def _portable(self, dumps: Callable[[Any], bytes], answer: Any) -> bytes:
        """Returns the bytes of an answer for the journal. Ends the process if the answer cannot be pickled.

        It raises no exception, because an optimizer might catch it.
        """
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
        """In a scout, returns if the journal has the answer. If not, reports the call to the plan.

        After the report, raises Missing if a placeholder text can replace the answer. If not, ends the scout.
        """
        if not effect.unresolved and effect.is_known(self._store):
            return
        if asyncio._get_running_loop() is not None:
            scout.end()
        sighting = Sighting(effect.kind, effect.digest, effect.unresolved)
        scout.report(sighting, lambda: self._codec.dumps((effect.lm, effect.call)))
        if not may_stand_in.get():
            scout.end()
        raise Missing(effect.digest)
