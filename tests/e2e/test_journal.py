"""A later run reuses results that an earlier run paid for. A journal that is too large for etcd is on a volume."""

import base64
import json
from typing import Any

import pytest

from support.cluster import Manifest, Namespace, condition, is_over
from support.compiles import StockRun
from support.e2e import IN_FLIGHT, finish, spend, triage
from swarm_wire.records import RecordKind
from swarm_wire.shards import unpack

NAME = "changed"


def change(namespace: Namespace, name: str, **swarm: Any) -> None:
    namespace.kubectl("patch", "dspyc", name, "--type=merge", f"--patch={json.dumps({'spec': {'swarm': swarm}})}")


def next_run(namespace: Namespace, before: Manifest, stock: StockRun) -> Manifest:
    """Waits until the run after this one is over, and returns its Compilation."""
    name = before["metadata"]["name"]
    namespace.wait_for(name, lambda found: found["status"]["runId"] != before["status"]["runId"] and is_over(found))
    return finish(namespace, name, stock)


@pytest.mark.usefixtures("slow")
def test_later_runs_of_a_compilation_reuse_paid_results(
    namespace: Namespace, stock: StockRun, undisturbed: int
) -> None:
    namespace.apply(triage(NAME))
    spend(namespace)
    first = namespace.wait_for(NAME, lambda found: found["status"]["progress"]["cellsDone"] > 0)
    change(namespace, NAME, threadsPerPod=3)
    second = next_run(namespace, first, stock)
    assert namespace.requests() <= undisturbed + IN_FLIGHT
    assert second["status"]["usage"]["reusedCalls"] > 0

    paid = namespace.requests()
    change(namespace, NAME, pods=3)
    third = next_run(namespace, second, stock)
    assert namespace.requests() == paid
    assert third["status"]["usage"]["calls"] == 0
    report = json.loads(namespace.get("configmap", f"{NAME}-artifact")["data"]["report.json"])
    print(report["reused"], third["status"]["usage"])
    assert report["reused"]["cells"] > 0
    assert third["status"]["usage"]["reusedCalls"] == report["reused"]["calls"]

    namespace.kubectl("annotate", "dspyc", NAME, "dspy-swarm.dev/rerun-at=now")
    rerun = next_run(namespace, third, stock)
    assert namespace.requests() == paid
    assert rerun["status"]["usage"]["calls"] == 0

    namespace.set_faults()
    namespace.kubectl("annotate", "dspyc", NAME, "dspy-swarm.dev/requested-at=now")
    fourth = next_run(namespace, rerun, stock)
    assert namespace.requests() >= paid + 0.8 * stock.requests
    assert fourth["status"]["usage"]["reusedCalls"] == 0
    for run in (first, second, third, rerun):
        namespace.wait_gone("configmaps", **{"dspy-swarm.dev/run": run["status"]["runId"]})


def test_a_run_with_journal_and_data_on_a_volume_publishes_the_same_winner(
    namespace: Namespace, stock: StockRun, undisturbed: int, claim: str
) -> None:
    namespace.reset_provider()
    voluminous = triage("voluminous", journal={"persistentVolumeClaim": {"claimName": claim}})
    file = {"claimName": claim, "path": "triage/validation.jsonl"}
    voluminous["spec"]["data"]["validation"] = {"volume": file, "limit": 16}
    namespace.apply(voluminous)
    first = finish(namespace, "voluminous", stock)
    paid = namespace.requests()
    assert paid <= undisturbed + IN_FLIGHT
    labels: Manifest = {"dspy-swarm.dev/run": first["status"]["runId"], "dspy-swarm.dev/kind": "results"}
    kept = [
        record
        for shard in namespace.list("configmaps", **labels)
        for data in shard["binaryData"].values()
        for record in unpack(base64.b64decode(data))
        if record.kind in (RecordKind.RESULT, RecordKind.CALL)
    ]
    assert any("stored" in record.header for record in kept)
    assert [record for record in kept if record.body] == []

    change(namespace, "voluminous", pods=3)
    next_run(namespace, first, stock)
    assert namespace.requests() == paid


def test_the_status_names_a_missing_volume_claim(namespace: Namespace) -> None:
    namespace.apply(triage("unclaimed", journal={"persistentVolumeClaim": {"claimName": "nowhere"}}))
    told = namespace.wait_for("unclaimed", lambda found: "nowhere" in str(condition(found, "Ready")))
    print(condition(told, "Ready"))
    namespace.kubectl("delete", "dspyc", "unclaimed")
