"""The content of records in plain bytes: frames are deflated and encoded, so a search in them finds nothing."""

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
    """Each record's header and body before framing."""
    for record in records:
        yield json.dumps(record.header, ensure_ascii=False).encode()
        yield record.body


def traces(secret: str) -> list[bytes]:
    """Bytes that would reveal a secret, or a line of it."""
    texts = [text for text in (secret.strip(), *secret.splitlines()) if len(text) >= 8]
    ways = [text for line in texts for text in (line, quote(line, safe=""), quote_plus(line), json.dumps(line)[1:-1])]
    return [*map(str.encode, ways), *(b64encode(text.encode())[:-4] for text in texts)]


def left(folder: Path) -> Iterator[Record]:
    """The records in a folder."""
    for path in sorted(folder.rglob(f"*{SHARD_SUFFIX}")):
        yield from unpack(path.read_bytes(), growing=True)


def kinds_without(secret: str, folder: Path, output: str) -> set[RecordKind]:
    """The kinds of records in a folder; asserts that neither folder nor output holds a secret."""
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    records = [*left(folder)]
    everything = [output.encode(), *files, *inflated(records)]
    assert [found for found in everything if any(trace in found for trace in traces(secret))] == []
    return {record.kind for record in records}


def printed(output: str) -> list[Record]:
    """The records in pods' output, of any pod."""
    lines = output.splitlines()
    nonces = sorted(set(_NONCE.findall(output)))
    return [record for nonce in nonces for record in read(lines, nonce).records.values()]
