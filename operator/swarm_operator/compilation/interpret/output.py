"""The records in a pod's output."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from swarm_operator.compilation.interpret.records import finished
from swarm_operator.compilation.model.roles import ROLES
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Pod
from swarm_wire.message_base import MOST
from swarm_wire.pod_output import Reader, Transcript
from swarm_wire.records import Bounds, Framed, RecordKind, Sealed
from swarm_wire.spending import Usage

HEADERS_BYTES: Final = 16 * 1024 * 1024
INFLATED_BYTES: Final = 256 * 1024 * 1024
"""Of the records of one pod, headers, and all that is inflated to check them: ten times what a pod prints that does not
mean harm. What passes that is as if it had not been printed."""


@dataclass(frozen=True)
class Output:
    """What could be read of a pod's output.

    Attributes:
        found: records that the journal lacked then, as they were printed, in order.
        told: what all its results and calls took, those in the journal included.
        transcript: which records there were.
        final: no more will come, and no more could be read later.
        lost: there may be more, which cannot be read any more.
    """

    pod: Pod
    found: Sequence[Framed] = ()
    told: Usage = field(default_factory=Usage)
    transcript: Transcript = field(default_factory=Transcript)
    final: bool = False
    lost: bool = False

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return sum(len(record.head) + len(record.sealed) for record in self.found if isinstance(record, Sealed))


def transcribed(pod: Pod, text: bytes, nonce: str, journal: Journal) -> Output:
    """The records in a pod's output. Takes little more memory than what is new among them."""
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
