"""A fine-tune, which is a job outside of the cluster. A worker looks at it now and then, and no process waits."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dspy

from swarm_wire.messages import Cell, EffectKind, Outcome, Pending, Result, Task
from swarm_wire.records import Record, RecordKind
from swarm_wire.tuned import TunedModel
from swarm_worker.content.codec import Codec
from swarm_worker.content.outcome import Value
from swarm_worker.finetuning import tuning
from swarm_worker.finetuning.order import Order
from swarm_worker.journal.store import Store
from swarm_worker.replay.calls import Answers
from swarm_worker.replay.effects.effect import Score
from swarm_worker.replay.effects.tasks import Tasks, blob, value_of

WEIGHT = 8
"""A plan never runs such a task itself, and workers begin with it."""


class FineTune:
    """The effect of a fine-tune. It has one cell, whose value is the tuned model. Scouts do not find it."""

    unresolved = False

    def __init__(self, order: Order) -> None:
        self.order, self.digest = order, order.key
        self.kind = EffectKind.TRAIN if order.is_trained_here else EffectKind.FINETUNE
        self.keys = [self.digest]

    def is_known(self, store: Store) -> bool:
        return self.digest in store

    def errors_left(self, store: Store) -> None:
        return None

    def load(self, store: Store, codec: Codec) -> Value:
        return value_of(store, self.digest, codec, [])

    def tasks(self, store: Store, codec: Codec) -> Tasks:
        codec.guard(self.order.rows)
        payload, key = blob(self.order.to_bytes())
        task = Task(digest=self.digest, kind=self.kind, payload=key, cells=[Cell(key=self.digest)], weight=WEIGHT)
        return Tasks(task, {key: payload})

    def placeholder(self, letter: str, score: Score) -> None:
        return None


@dataclass
class FineTuneWork:
    """Looks at a fine-tune, in a worker."""

    task: Task
    order: Order

    def run(self, position: int, answers: Answers) -> Record:
        """Returns a RESULT record, or a PENDING record if the model is not there yet."""

        def note(waits: Pending) -> None:
            answers.emit(Record(RecordKind.PENDING, waits.to_header()))

        found = tuning.here().look(self.order, time.time(), note)
        if isinstance(found, Pending):
            return Record(RecordKind.PENDING, found.to_header())
        tuned, usage = found
        value: Value = Outcome.OK, tuned.to_header()
        result = Result(key=self.task.digest, outcome=Outcome.OK, usage=usage)
        return Record(RecordKind.RESULT, result.to_header(), answers.codec.dumps(value))


def make_work(task: Task, blobs: dict[str, bytes], codec: Codec) -> FineTuneWork:
    return FineTuneWork(task, Order.from_bytes(blobs[task.payload]))


class TrainingJob:
    """What stock DSPy's `LM.finetune` returns, as far as optimizers use it."""

    def __init__(self, lm: dspy.LM, order: Order, need: Callable[[FineTune], Value]) -> None:
        self._lm, self._order, self._need = lm, order, need
        self.thread = self

    def result(self, timeout: float | None = None) -> Any:
        """Returns the LM of the tuned model. It ends the process if the model is not there yet."""
        outcome, value = self._need(FineTune(self._order))
        if outcome is Outcome.OK and self._order.is_trained_here:
            trained = TunedModel.model_validate(value)
            outcome, value = self._need(FineTune(tuning.here().served(self._order, trained)))
        if outcome is not Outcome.OK:
            return value
        tuned = TunedModel.model_validate(value)
        tuning.here().made[tuned.model] = tuned
        elsewhere = {"api_base": tuning.here().address} if tuned.weights is not None else {}
        return self._lm.copy(model=tuned.model, **elsewhere)

    def join(self, timeout: float | None = None) -> None: ...
