"""What is to be trained, under a name that is made from all of it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from swarm_wire.tuned import TunedModel

TRAINER: Final = "trainer"
"""Parameters under this name are for a trainer."""


@dataclass(frozen=True)
class Order:
    """A fine-tune.

    Attributes:
        role: the model in spec.models whose provider trains.
        base: the model to train, as DSPy writes it.
        endpoint: where it is; empty for the provider's own.
        parameters: those of the job. The same order has the same.
        rows: training rows as JSON lines, in the form that DSPy's adapter makes.
        trained: what a trainer has made. Then the order is to wait for a server that answers for it.
    """

    role: str
    base: str
    endpoint: str
    parameters: Mapping[str, Any]
    rows: bytes
    trained: TunedModel | None = None

    @property
    def head(self) -> bytes:
        """Returns all but the rows, as one line of JSON."""
        return json.dumps({"role": self.role, **self._job, **self._made}, sort_keys=True).encode()

    @property
    def key(self) -> str:
        """Returns the name of the fine-tune: 32 hex digits. The role is no part of it."""
        text = json.dumps({**self._job, **self._made}, sort_keys=True).encode()
        return hashlib.sha256(b"finetune\0" + text + b"\0" + hashlib.sha256(self.rows).digest()).hexdigest()[:32]

    @property
    def _job(self) -> dict[str, Any]:
        return {"base": self.base, "endpoint": self.endpoint, "parameters": dict(self.parameters)}

    @property
    def _made(self) -> dict[str, Any]:
        return {"trained": self.trained.to_header()} if self.trained is not None else {}

    def to_bytes(self) -> bytes:
        return self.head + b"\n" + self.rows

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        head, _, rows = data.partition(b"\n")
        given = json.loads(head)
        trained = TunedModel.model_validate(given["trained"]) if "trained" in given else None
        return cls(**{**given, "trained": trained}, rows=rows)

    def served(self, trained: TunedModel, address: str, run_id: str) -> Self:
        """Returns the order to wait for a server that answers for what a trainer has made.

        Each run looks by itself: what a server had in an earlier run says nothing about today.
        """
        return replace(self, endpoint=address, parameters={"run": run_id}, rows=b"", trained=trained)

    @property
    def is_trained_here(self) -> bool:
        """Whether a trainer in a pod of its own carries out the order."""
        return TRAINER in self.parameters

    @property
    def count(self) -> int:
        """Returns the number of rows."""
        return len(self.rows.splitlines())

    @property
    def tokens(self) -> int:
        """Returns roughly the most tokens that the job trains, over all epochs. A provider's own number may be 4."""
        return -(-len(self.rows) // 3) * int(self.parameters.get("n_epochs") or 4)


@dataclass(frozen=True)
class Tuned:
    """A job that has succeeded.

    Attributes:
        model: name of the tuned model, as DSPy writes it.
        tokens: tokens of rows and epochs: the provider's number, or else an upper estimate.
    """

    model: str
    job: str
    tokens: int


def json_lines(rows: Sequence[Mapping[str, Any]], default: Callable[[Any], Any] | None = None) -> bytes:
    """Returns rows as JSON lines, with the same bytes for equal rows.

    Args:
        default: converts values that JSON does not know.
    """
    return "\n".join(json.dumps(row, ensure_ascii=False, sort_keys=True, default=default) for row in rows).encode()
