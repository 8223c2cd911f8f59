"""Measures a case on this machine: the local driver against a simulated provider."""

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.cases import THREADS, BenchCase
from bench.measurements import Swarm
from bench.reference import PROVIDER
from simulated_provider.testing import running_provider
from support.compiles import counted, run_local
from swarm_wire.messages import PlanEnd
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import read_folder

WORKERS = 2


def measure(bench: BenchCase, winner: dict[str, Any], speculation: int) -> Swarm:
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_provider(**PROVIDER, latency=f"constant:{bench.latency}") as provider,
    ):
        load = os.getloadavg()[0]
        manifest = bench.case.manifest(provider.url, **swarm(bench, speculation))
        with counted(provider) as requests:
            began = time.monotonic()
            ran = run_local(manifest, Path(scratch), workers=WORKERS, SWARM_TWIN="1")
            seconds = time.monotonic() - began
        if ran.status:
            raise RuntimeError(f"{bench.name} ended without an artifact:\n{ran.output}")
        return Swarm(
            on="local",
            speculation=speculation,
            seconds=round(seconds, 1),
            widths=widths(read_folder(ran.journal / "journal")),
            requests=requests[0],
            calls=ran.calls,
            wasted_calls=ran.wasted["calls"],
            same=ran.program == winner,
            load=round(load, 1),
        )


def swarm(bench: BenchCase, speculation: int) -> dict[str, Any]:
    """Returns a `spec.swarm` that runs all cells of a round at the same time, but at most 1,000 cells."""
    return {
        "pods": bench.pods,
        "threadsPerPod": THREADS,
        "sliceSize": 5000,
        "speculation": speculation,
        "pruning": bench.pruning,
    }


def widths(journal: Iterable[Record]) -> list[int]:
    """Returns the number of cells of each round, from a journal's records."""
    ends = (PlanEnd.model_validate(record.header) for record in journal if record.kind is RecordKind.PLAN)
    return [end.cells for end in sorted(ends, key=lambda end: end.round) if end.cells]
