"""What records carry, in plain bytes: frames are deflated and encoded, so a look at them as they are finds nothing."""

import re
from collections.abc import Iterable, Iterator

from swarm_wire.records import Record, read

_NONCE = re.compile(r"swarm/\d+ ([!-~]{8,64}) ")


def inflated(records: Iterable[Record]) -> Iterator[bytes]:
    """Each record's header and body as they were before their frame."""
    for record in records:
        yield repr(record.header).encode()
        yield record.body


def printed(output: str) -> list[Record]:
    """The records in pods' output, whosever they are."""
    lines = output.splitlines()
    nonces = sorted(set(_NONCE.findall(output)))
    return [record for nonce in nonces for record in read(lines, nonce).records.values()]
