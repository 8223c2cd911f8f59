"""The end-to-end tests compare runs on a kind cluster with the same compile by stock DSPy."""

import json
from collections.abc import Iterator

import pytest

import testbed
from simulated_provider.testing import running_provider
from support.cluster import Namespace, condition, is_over
from support.compiles import Case, StockRun
from support.e2e import TRIAGE, triage, triage_namespace
from support.installed import first_of, installed

__all__ = ["installed"]

CASE = Case(
    "triage",
    parameters={"num_candidate_programs": 3, "max_labeled_demos": 6},
    program="Two",
    metric="triage_metric",
    train=24,
    validation=16,
    teacher=True,
)
SEED = 7
VALIDATION = TRIAGE / "data" / "validation.jsonl"
OPEN = """
import os, pathlib, sys

file = pathlib.Path("/folder/triage/validation.jsonl")
file.parent.mkdir(exist_ok=True)
file.write_text(sys.argv[1])
os.chmod("/folder", 0o777)
"""
FIRST = ["test_journal.py", "test_rates.py", "test_limits.py", "test_control.py", "test_faults.py"]
"""The slow test files. The first one measures `undisturbed`; the last two need it, so they do not wait for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the slowest files first. Otherwise one process would still run them when the others are done."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def namespace(installed: testbed.Cluster, worker_id: str) -> Iterator[Namespace]:
    """Yields a namespace with the provider, the program, its data and an API key."""
    with triage_namespace(installed, f"e2e-{worker_id}", "--seed", str(SEED)) as found:
        yield found


@pytest.fixture(scope="session")
def stock() -> StockRun:
    """Returns the compile by stock DSPy in one process. Its provider gives the same answers as that in the cluster."""
    with running_provider(seed=SEED, knowledge=TRIAGE / "knowledge.jsonl") as provider:
        return CASE.stock(provider)


@pytest.fixture(scope="session")
def undisturbed(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> int:
    """Returns the number of requests of a run without faults. The first process that needs the number measures it."""
    known = tmp_path_factory.getbasetemp().parent / f"undisturbed-{testrun_uid}.json"
    with first_of(known.with_suffix(".lock")) as is_first:
        if is_first:
            namespace.reset_provider()
            namespace.apply(triage("undisturbed"))
            over = namespace.wait_for("undisturbed", is_over)
            assert condition(over, "Ready")["status"] == "True"  # type: ignore[index]
            known.write_text(json.dumps(namespace.requests()), encoding="utf-8")
    found: int = json.loads(known.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def claim(namespace: Namespace) -> Iterator[str]:
    """Yields the name of a claim for a folder of the node, which has the file triage/validation.jsonl.

    The claim has no storage class.
    """
    name, path = f"volume-{namespace.name}", f"/var/lib/volume-{namespace.name}"
    size = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": size,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "claimRef": {"namespace": namespace.name, "name": name},
        },
    }
    claimed = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": size},
        },
    }
    # Only volume plugins let a pod's group write to a volume. A folder of the node has no plugin.
    opened = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "folder", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}],
            "containers": [
                {
                    "name": "open",
                    "image": "dspy-swarm/worker:dev",
                    "command": ["python", "-c", OPEN, VALIDATION.read_text(encoding="utf-8")],
                    "securityContext": {"runAsUser": 0},
                    "volumeMounts": [{"name": "folder", "mountPath": "/folder"}],
                }
            ],
        },
    }
    cluster = namespace.cluster
    document = {"apiVersion": "v1", "kind": "List", "items": [volume, opened]}
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(document))
    cluster.kubectl("wait", "--namespace=default", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}")
    namespace.apply(claimed)
    namespace.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", f"persistentvolumeclaim/{name}", "--timeout=60s")
    yield name
    cluster.kubectl("delete", "--namespace=default", f"pod/{name}", "--wait=false")
    cluster.kubectl("delete", "persistentvolume", name, "--wait=false")


@pytest.fixture
def slow(namespace: Namespace) -> Iterator[None]:
    """Makes the provider answer slowly, so that tests can catch pods in the middle of their work."""
    namespace.reset_provider()
    namespace.set_faults(latency="constant:1")
    yield
    namespace.set_faults()
