"""The process that fetches the data at URLs, once in a run. It imports neither DSPy nor user code."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from swarm_wire.names import WorkerReason
from swarm_wire.records import Record
from swarm_wire.snapshots import MOST_PACKED
from swarm_worker.errors import BadInput
from swarm_worker.journal import body_store
from swarm_worker.journal.body_store import OBJECT_BYTES, Sender, files_folder
from swarm_worker.pod.process import Process, read_request
from swarm_worker.user.urls import Fetched, Urls, take_options

MEBIBYTE: Final = 2**20
MOST_UNPACKED: Final = 200 * MEBIBYTE
"""Largest size of all files together whose bodies are printed. The operator inflates no more than 256 MiB of output."""


def main(process: Process) -> None:
    with process.ending():
        request = read_request()
        urls = Urls(request.spec.data, take_options(os.environ, request.spec.data))
        process.mask(urls.redact)
        depot = body_store.take(os.environ)
        if depot is not None:
            process.mask(lambda text: urls.redact(depot.redact(text)))
            process.equip(None, Sender(depot, f"{files_folder(request.run_id)}/part", process.print))
        with tempfile.TemporaryDirectory() as scratch:
            found = urls.fetch(Path(scratch))
            for file in found:
                process.say(f"spec.data.{file.of}: {file.size:,} bytes of {file.url}, sha256 {file.sha256}")
            if depot is None:
                records = _small(found)
            else:
                records = (record for file in found for record in file.records(OBJECT_BYTES))
            for record in records:
                process.put(record)


def _small(found: list[Fetched]) -> Iterator[Record]:
    """Returns the records of files whose bodies travel through the pod's output and are kept in ConfigMaps.

    Raises BadInput if they are too large for that.
    """
    size, packed, kept = 0, 0, list[Record]()
    for file in found:
        size += file.size
        for record in file.records():
            packed += len(record.frame())
            if packed > MOST_PACKED or size > MOST_UNPACKED:
                raise BadInput(
                    WorkerReason.DATA_INVALID,
                    f"spec.data.{file.of}.url: {file.url} has {file.size / MEBIBYTE:.1f} MiB. Without spec.journal, "
                    f"all files from URLs may have {MOST_PACKED // MEBIBYTE} MiB together when they are packed, and "
                    f"{MOST_UNPACKED // MEBIBYTE} MiB before. Set spec.journal, or put the file on a volume "
                    f"(data.{file.of}.volume).",
                )
            kept.append(record)
    return iter(kept)
