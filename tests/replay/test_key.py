"""A key is in the environment of processes, and nowhere in what they leave behind."""

import signal
from pathlib import Path
from typing import Any

from simulated_provider.testing import running_provider
from support.canary import inflated
from support.compiles import KNOWLEDGE, Case, run_local, start_local
from support.kills import kill_one
from swarm_wire.names import SHARD_SUFFIX
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import unpack

KEY = "sk-canary-0123456789abcdef"
KEYS: dict[str, Any] = {"SWARM_API_KEY_STUDENT": KEY, "SWARM_API_KEY_TEACHER": KEY}
CASE = Case(
    "triage", parameters={"num_candidate_programs": 1, "max_labeled_demos": 2}, train=6, validation=6, teacher=True
)
"""Tasks carry the teacher: a model with its key."""


def test_the_local_drivers_folder_holds_no_key(tmp_path: Path) -> None:
    """Neither in the middle of a run, where its tasks are, nor at its end."""
    with running_provider(seed=1, knowledge=KNOWLEDGE, api_key=[KEY]) as wants:
        manifest = CASE.manifest(wants.url)
        for model in manifest["spec"]["models"].values():
            model["apiKey"] = {"secret": {"name": "provider", "key": "key"}}
        wants.set_faults(latency="0.3")
        driver = start_local(manifest, tmp_path, **KEYS)
        kill_one("work", driver, tmp_path, signal.SIGKILL)
        driver.send_signal(signal.SIGKILL)
        output, _ = driver.communicate()
        assert {RecordKind.TASK, RecordKind.BLOB} <= without_key(tmp_path, output)
        wants.set_faults()
        run = run_local(manifest, tmp_path, **KEYS)
    assert run.status == 0, run.output
    assert {RecordKind.RESULT, RecordKind.PLAN} <= without_key(tmp_path, run.output)


def without_key(folder: Path, output: str) -> set[RecordKind]:
    """The kinds of records in a folder, which holds no key in any way."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    records: list[Record] = []
    for path in files:
        if path.suffix == SHARD_SUFFIX:
            records += unpack(path.read_bytes(), growing=True)
    everything = [output.encode(), *(path.read_bytes() for path in files), *inflated(records)]
    assert [found for found in everything if KEY.encode() in found] == []
    return {record.kind for record in records}
