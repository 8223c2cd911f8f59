"""Makes Compilations for the end-to-end tests, and contains actions of these tests."""

import base64
import copy
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support.canary import inflated, printed
from support.cluster import (
    OPERATOR_NAMESPACE,
    POLL_SECONDS,
    Manifest,
    Namespace,
    condition,
    config_map,
    is_over,
    secret,
)
from support.compiles import ROOT, StockRun
from swarm_wire.names import SHARD_SUFFIX
from swarm_wire.records import RecordKind
from swarm_wire.shards import unpack
from testbed import Cluster
from testbed.shell import CommandError

TRIAGE = ROOT / "examples" / "triage"
API_KEY = "rehearsal-key-0123456789"
ENDPOINT = "http://provider:8000/v1"

THREADS, CALLS_PER_CELL = 4, 2
IN_FLIGHT = THREADS * CALLS_PER_CELL
"""The calls that a dead worker pod loses: those of one cell in each thread. A bootstrap loses only one call."""


@contextmanager
def triage_namespace(cluster: Cluster, name: str, *provider: str) -> Iterator[Namespace]:
    """Yields a namespace with provider, program, data and key. It enforces the restricted Pod Security Standard.

    Args:
        provider: arguments of the simulated provider.
    """
    found = Namespace(cluster, name)
    found.delete()
    found.create()
    found.start_provider(TRIAGE / "knowledge.jsonl", *provider)
    data = {path.name: path.read_text(encoding="utf-8") for path in (TRIAGE / "data").glob("*.jsonl")}
    found.apply(
        config_map("triage-program", {"triage.py": (TRIAGE / "triage.py").read_text(encoding="utf-8")}),
        config_map("triage-data", data),
        secret("provider-key", {"api-key": API_KEY}),
    )
    yield found
    found.delete(wait=False)


def triage(name: str, **spec: Any) -> Manifest:
    """Returns a small Compilation of the triage example. `spec` replaces whole fields of its spec."""
    key = {"secret": {"name": "provider-key", "key": "api-key"}}

    def data(file: str, limit: int) -> dict[str, Any]:
        return {"configMap": {"name": "triage-data", "key": f"{file}.jsonl"}, "limit": limit}

    fields: dict[str, Any] = {
        "program": {"entrypoint": "triage:Triage", "source": {"configMap": {"name": "triage-program"}}},
        "metric": {"entrypoint": "triage:metric"},
        "data": {"inputs": ["ticket"], "train": data("train", 24), "validation": data("validation", 16)},
        "models": {
            "student": {"model": "openai/small", "endpoint": ENDPOINT, "apiKey": key},
            "teacher": {"model": "openai/large", "endpoint": ENDPOINT, "apiKey": key},
        },
        "optimizer": {"bootstrapFewShotWithRandomSearch": {"numCandidatePrograms": 3, "maxLabeledDemos": 6}},
        "swarm": {"pods": 2, "threadsPerPod": 4},
    }
    return {
        "apiVersion": "dspy-swarm.dev/v1alpha1",
        "kind": "DSPyCompilation",
        "metadata": {"name": name},
        "spec": copy.deepcopy({**fields, **spec}),
    }


def little(name: str, **spec: Any) -> Manifest:
    """Returns a smaller Compilation, with fewer candidates, examples and pods, for tests that need only a run's end."""
    made = triage(name, **{"swarm": {"pods": 2, "threadsPerPod": 4}, **spec})
    made["spec"]["optimizer"]["bootstrapFewShotWithRandomSearch"]["numCandidatePrograms"] = 2
    for part in ("train", "validation"):
        made["spec"]["data"][part]["limit"] = 8
    return made


def pods(namespace: Namespace, compilation: Manifest, role: str) -> list[Manifest]:
    """Returns the running pods of a run."""
    labels = {"dspy-swarm.dev/run": compilation["status"]["runId"], "dspy-swarm.dev/role": role}
    return [pod for pod in namespace.list("pods", **labels) if pod["status"]["phase"] == "Running"]


def catch(namespace: Namespace, name: str, role: str) -> Manifest:
    """Waits for a running pod of a role, and returns it."""
    for _ in range(600):
        compilation = namespace.get("dspyc", name)
        assert not is_over(compilation), compilation["status"]
        if compilation.get("status", {}).get("runId") and (found := pods(namespace, compilation, role)):
            return found[0]
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"no {role} pod of {name} ran")


SOME_CALLS = 60
"""After so many requests, many cells are finished and many are not."""


def spend(namespace: Namespace, calls: int = SOME_CALLS) -> None:
    """Waits until the provider has answered so many requests."""
    while namespace.requests() < calls:
        time.sleep(POLL_SECONDS)


def finish(namespace: Namespace, name: str, stock: StockRun) -> Manifest:
    """Waits until the run is over, asserts that it has stock's winner, and returns the Compilation."""
    compilation = namespace.wait_for(name, is_over)
    assert condition(compilation, "Ready")["status"] == "True", compilation["status"]  # type: ignore[index]
    program = json.loads(namespace.get("configmap", f"{name}-artifact")["data"]["program.json"])
    program.pop("metadata")
    assert program == stock.program
    return compilation


class Outputs:
    """Reads the complete output of the swarm's pods in a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace, self._pool = namespace, ThreadPoolExecutor(32)
        self._read: dict[str, Future[str]] = {}

    def look(self) -> None:
        """Starts to read the logs of new pods."""
        for pod in self._namespace.list("pods", **{"app.kubernetes.io/managed-by": "dspy-swarm"}):
            name = pod["metadata"]["name"]
            if pod["status"].get("phase") != "Pending" and name not in self._read:
                self._read[name] = self._pool.submit(self._log, name)

    def _log(self, pod: str) -> str:
        try:
            return self._namespace.kubectl("logs", pod, "--follow")
        except CommandError as error:
            # The operator may have read the pod and removed it since it was listed.
            if "NotFound" not in str(error):
                raise
            return ""

    @property
    def text(self) -> str:
        return "\n".join(read.result() for read in self._read.values())


@dataclass(frozen=True)
class Told:
    """All that a namespace's objects and logs say, also in records, which are compressed and encoded there."""

    texts: list[bytes]
    kinds: set[RecordKind]
    """Kinds of records that are in the journal as well as in the logs."""


def told(namespace: Namespace, outputs: Outputs) -> Told:
    objects = namespace.kubectl("get", "dspyc,configmaps,events,jobs,pods", "--output", "json")
    packed = [
        (key, base64.b64decode(text))
        for found in json.loads(objects)["items"]
        for key, text in found.get("binaryData", {}).items()
    ]
    shards = [data for key, data in packed if key.endswith(SHARD_SUFFIX)]  # the program's archive is no shard
    kept, said = [record for shard in shards for record in unpack(shard)], printed(outputs.text)
    release = ("--namespace", OPERATOR_NAMESPACE, "--selector", "app.kubernetes.io/instance=dspy-swarm")
    ours = namespace.cluster.kubectl("logs", *release, "--tail=-1", "--prefix", "--max-log-requests=20")
    assert "limiter" in ours
    provider = namespace.kubectl("logs", "--selector", "app.kubernetes.io/name=provider", "--tail=-1")
    texts = [text.encode() for text in (objects, outputs.text, ours, provider)]
    kinds = {record.kind for record in kept} & {record.kind for record in said}
    return Told([*texts, *(data for _, data in packed), *inflated([*kept, *said])], kinds)
