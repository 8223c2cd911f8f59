"""Searches the content of records for secrets. Frames are compressed and encoded, so a search in them finds nothing."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from swarm_wire.names import SHARD_SUFFIX
from swarm_wire.pod_output import read
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import unpack

_NONCE = re.compile(r"swarm/\d+ ([!-~]{8,64}) ")


def inflated(records: Iterable[Record]) -> Iterator[bytes]:
    """Yields header and body of each record as plain bytes."""
    for record in records:
        yield json.dumps(record.header, ensure_ascii=False).encode()
        yield record.body


def traces(secret: str) -> list[bytes]:
    """Returns the bytes that would reveal a secret or a line of it."""
    texts = [text for text in (secret.strip(), *secret.splitlines()) if len(text) >= 8]
    ways = [text for line in texts for text in (line, quote(line, safe=""), quote_plus(line), json.dumps(line)[1:-1])]
    return [*map(str.encode, ways), *(b64encode(text.encode())[:-4] for text in texts)]


def left(folder: Path) -> Iterator[Record]:
    """Yields the records of all shards in a folder."""
    for path in sorted(folder.rglob(f"*{SHARD_SUFFIX}")):
        yield from unpack(path.read_bytes(), growing=True)


def kinds_without(secret: str, folder: Path, output: str) -> set[RecordKind]:
    """Asserts that neither folder nor output holds a secret. Returns the kinds of records in the folder."""
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    records = [*left(folder)]
    everything = [output.encode(), *files, *inflated(records)]
    assert [found for found in everything if any(trace in found for trace in traces(secret))] == []
    return {record.kind for record in records}


def printed(output: str) -> list[Record]:
    """Returns the records of all pods in this output."""
    lines = output.splitlines()
    nonces = sorted(set(_NONCE.findall(output)))
    return [record for nonce in nonces for record in read(lines, nonce).records.values()]
