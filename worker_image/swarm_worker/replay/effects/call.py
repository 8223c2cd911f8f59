"""The effect of an optimizer's own LM call."""

from typing import Any

from swarm_wire.messages import Outcome
from swarm_worker.client.call import LMCall
from swarm_worker.content.codec import Codec
from swarm_worker.content.outcome import Value
from swarm_worker.journal.store import Store
from swarm_worker.replay.calls import name_call


class Call:
    """One LM call that an optimizer makes itself: a proposal, a reflection. The plan makes the call and journals it.

    Each repetition of an uncached call is a new effect, numbered by `occurrence`.
    """

    kind = "call"

    def __init__(self, lm: Any, call: LMCall, occurrence: int = 0) -> None:
        self.lm, self.call, self._is_sample = lm, call, occurrence > 0
        self.digest, self.unresolved = name_call(lm, call, occurrence)
        self.keys = [self.digest]

    def is_known(self, store: Store) -> bool:
        return self.digest in store or store.answer(self.digest, is_sample=self._is_sample) is not None

    def load(self, store: Store, codec: Codec) -> Value:
        """Returns OK with the LM client's answer, or ERROR with its exception."""
        if (answer := store.answer(self.digest, is_sample=self._is_sample)) is not None:
            return Outcome.OK, codec.loads_answer(answer)
        value: Value = codec.loads(store.body(self.digest))
        return value
