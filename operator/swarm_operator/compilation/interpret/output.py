"""Finds the records in a pod's output."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from swarm_operator.compilation.interpret.records import finished
from swarm_operator.compilation.model.pods import Pod
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.shards import Journal
from swarm_wire.message_base import MOST
from swarm_wire.pod_output import Reader, Transcript
from swarm_wire.records import Bounds, Framed, RecordKind, Sealed
from swarm_wire.spending import Usage

HEADERS_BYTES: Final = 16 * 1024 * 1024
INFLATED_BYTES: Final = 256 * 1024 * 1024
"""Limit on the bytes of all headers in one pod's output, and on the bytes that are inflated to check its records.

A benign pod needs a tenth of this. The operator ignores the records that exceed the limit.
"""


@dataclass(frozen=True)
class Output:
    """What the operator can read of a pod's output.

    Attributes:
        found: records that the journal lacked when the output was read, in the order in which the pod printed them.
        told: the usage of all results and calls in the output, including those that the journal already had.
        transcript: says which records the output has.
        final: whether the operator reads no more of the pod's output.
        lost: whether the pod may have printed more records, which nobody can read any more.
    """

    pod: Pod
    found: Sequence[Framed] = ()
    told: Usage = field(default_factory=Usage)
    transcript: Transcript = field(default_factory=Transcript)
    final: bool = False
    lost: bool = False

    @property
    def size(self) -> int:
        """Returns roughly how many bytes of memory the output takes."""
        return sum(len(record.head) + len(record.sealed) for record in self.found if isinstance(record, Sealed))


def transcribed(pod: Pod, text: bytes, nonce: str, journal: Journal) -> Output:
    """Reads the records in a pod's output. It takes little more memory than those records that the journal lacks."""
    bounds, told, kept = Bounds(HEADERS_BYTES, INFLATED_BYTES), [0, 0, 0], dict[int, Sealed]()
    prints = ROLES[pod.kind].prints

    def opened(number: int, frame: bytes) -> None:
        record = Sealed.from_frame(frame, bounds)
        if (done := finished(record)) is not None:
            identity, usage = done
            for position, figure in enumerate((usage.calls, usage.prompt_tokens, usage.completion_tokens)):
                told[position] = min(MOST, told[position] + figure)
            known: Mapping[str, object] | set[str] = journal.keys if record.kind is RecordKind.RESULT else journal.calls
            if identity not in known:
                kept[number] = record
        elif record.kind is RecordKind.BOOKED or (record.kind in prints and pod.round not in journal.plans):
            kept[number] = record

    reader, mark = Reader(nonce, opened=opened), nonce.encode()
    for line in io.BytesIO(text):
        if mark in line:
            reader.feed(line.decode("ascii", "replace"))
    calls, prompt, completion = told
    usage = Usage(calls=calls, prompt_tokens=prompt, completion_tokens=completion)
    return Output(pod, tuple(kept[number] for number in sorted(kept)), usage, reader.transcript())
