"""The one place where a plan may lack a result.

`need` takes it from the journal. A call that the plan makes itself is made here. For everything else the plan looks
ahead for what else this round may run, says what it lacks, and ends: with the process (`leave`), so that nothing that
an optimizer or a user's program catches can keep it from ending.
"""

import threading
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from swarm_wire.messages import Task
from swarm_wire.names import WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_worker.errors import BadInput, Drift, SwarmError
from swarm_worker.replay.codec import Codec
from swarm_worker.replay.effects import Call, Tasks
from swarm_worker.replay.execute import run_cell
from swarm_worker.replay.lookahead import Scout, Sighting, look
from swarm_worker.replay.placeholder import ROLES
from swarm_worker.replay.store import Store, Stream


class Effect(Protocol):
    """What the engine must know of an effect: a name, whether the journal has it, what it came to."""

    @property
    def kind(self) -> str: ...
    @property
    def digest(self) -> str: ...
    def is_known(self, store: Store) -> bool: ...
    def load(self, store: Store, codec: Codec) -> Any: ...


class Scattered(Effect, Protocol):
    """An effect that workers execute."""

    @property
    def unresolved(self) -> bool: ...
    def tasks(self, store: Store, codec: Codec) -> Tasks: ...
    def placeholder(self, role: str, position: int) -> Any:
        """A stand-in for the result, or None where there can be none."""


class Leave(Protocol):
    """Ends the process: blocked, or with an error."""

    def __call__(self, error: SwarmError | None = None) -> NoReturn: ...


class Engine:
    """Serves effects to the hooks.

    Args:
        store: the journal.
        codec: for payloads and results.
        emit: prints a record.
        leave: ends the process.
        looks_ahead: ask for more than the first missing effect.

    Attributes:
        stream: effects needed so far.
        asked: tasks emitted.
        failures: first lines of what cells raised, in the order in which the optimizer met them.
    """

    def __init__(
        self, store: Store, codec: Codec, emit: Callable[[Record], None], leave: Leave, *, looks_ahead: bool = True
    ) -> None:
        self.store, self.codec = store, codec
        self._emit, self._leave, self._looks_ahead = emit, leave, looks_ahead
        self._scout: Scout | None = None
        self._blobs: set[str] = set()
        self._lock = threading.RLock()
        self._occurrences: dict[str, int] = {}
        self.stream: Stream = []
        self.asked: list[Task] = []
        self.failures: list[str] = []

    def need(self, effect: Scattered) -> Any:
        """The effect's result. Does not return where the journal lacks it."""
        with self._lock:
            if self._scout is not None:
                return self._scouted(self._scout, effect)
            self._follow(effect)
            if effect.is_known(self.store):
                return effect.load(self.store, self.codec)
            self._ask(self._records(effect))
            if self._looks_ahead and effect.placeholder(ROLES[0], 0) is not None:
                self._scout = look({effect.digest}, self._ask)
                if self._scout is not None:
                    return effect.placeholder(self._scout.role, self._scout.position)
            self._leave()

    def _records(self, effect: Scattered) -> list[Record]:
        """The records of the effect's task. Ends the process where they cannot travel: an optimizer may catch."""
        try:
            return effect.tasks(self.store, self.codec).records()
        except Exception as error:
            self._leave(
                BadInput(
                    WorkerReason.PROGRAM_NOT_PORTABLE,
                    f"the program, metric or data cannot travel to workers: {type(error).__name__}: {error}. Keep open "
                    "files, connections and generators out of them: make them where they are used.",
                )
            )

    def _ask(self, records: list[Record]) -> None:
        for record in records:
            if record.kind is RecordKind.BLOB:
                # Waves over the same data share a blob: it is printed once.
                if record.header["key"] in self._blobs:
                    continue
                self._blobs.add(record.header["key"])
            if record.kind is RecordKind.TASK:
                self.asked.append(Task.model_validate(record.header))
            self._emit(record)

    def _scouted(self, scout: Scout, effect: Scattered) -> Any:
        """In a scout: what is known, or a placeholder after a word with the referee."""
        if not effect.unresolved and effect.is_known(self.store):
            return effect.load(self.store, self.codec)
        sighting = Sighting(effect.kind, effect.digest, effect.unresolved)
        scout.report(sighting, lambda: self._records(effect))
        stand_in = effect.placeholder(scout.role, scout.position)
        if stand_in is None:
            scout.end()
        return stand_in

    def call(self, lm: Any, call: Any, stock: Callable[[Any, Any], Any]) -> Any:
        """The result of an LM call that the plan makes: made once, then journaled."""
        effect = Call(lm, call)
        if self._scout is not None:
            # Only the plan spends: an answer that is not there ends the scouting.
            if not call.cache or not effect.is_known(self.store):
                self._scout.end()
            return effect.load(self.store, self.codec)
        if not call.cache:
            with self._lock:
                self._occurrences[effect.digest] = occurrence = self._occurrences.get(effect.digest, 0) + 1
            effect = Call(lm, call, occurrence)
        with self._lock:
            self._follow(effect)
        if not effect.is_known(self.store):
            try:
                record = run_cell(effect.digest, stock, (lm, call), self.codec)
            except SwarmError as error:
                self._leave(error)
            with self._lock:
                self.store.put(record)
                self._emit(record)
        return effect.load(self.store, self.codec)

    @property
    def is_scout(self) -> bool:
        """Whether this process is a fork that only looks ahead."""
        return self._scout is not None

    def _follow(self, effect: Effect) -> None:
        """Each plan must need what the plan before it needed, in the same order."""
        number, found = len(self.stream), (effect.kind, effect.digest)
        self.stream.append(found)
        if number < len(self.store.stream) and self.store.stream[number] != found:
            kind, digest = self.store.stream[number]
            self._leave(
                Drift(
                    WorkerReason.NONDETERMINISTIC,
                    f"effect {number + 1} was the {kind} {digest} before and is the {found[0]} {found[1]} now: the "
                    "program, metric or data differs from process to process. Look for time, unseeded randomness, "
                    "the order of a set, or the environment; make it the same each time, then request a new run.",
                )
            )
