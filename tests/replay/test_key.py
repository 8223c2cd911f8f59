"""A key is in the environment of processes, and nowhere in what they leave behind."""

from pathlib import Path

from simulated_provider.testing import running_provider
from support.canary import inflated
from support.compiles import ROOT, Case, run_local
from swarm_wire.names import SHARD_SUFFIX
from swarm_wire.records import RecordKind
from swarm_wire.shards import unpack

KEY = "sk-canary-0123456789abcdef"
CASE = Case("triage", parameters={"num_candidate_programs": 1, "max_labeled_demos": 2}, train=6, validation=6)


def test_the_local_drivers_folder_holds_no_key(tmp_path: Path) -> None:
    with running_provider(seed=1, knowledge=ROOT / "examples" / "triage" / "knowledge.jsonl", api_key=[KEY]) as wants:
        manifest = CASE.manifest(wants.url)
        manifest["spec"]["models"]["student"]["apiKey"] = {"secret": {"name": "provider", "key": "key"}}
        run = run_local(manifest, tmp_path, SWARM_API_KEY_STUDENT=KEY)
        assert run.status == 0, run.output
        assert wants.stats()["requests"] > 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    records = [record for path in files if path.suffix == SHARD_SUFFIX for record in unpack(path.read_bytes())]
    assert {RecordKind.RESULT, RecordKind.PLAN} <= {record.kind for record in records}
    everything = [run.output.encode(), *(path.read_bytes() for path in files), *inflated(records)]
    assert [found for found in everything if KEY.encode() in found] == []
