"""Measures a case on the kind cluster: `kubectl apply`, real pods, and the artifact in a ConfigMap."""

import base64
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import testbed
from bench.cases import BenchCase
from bench.local import swarm, widths
from bench.measurements import Swarm
from bench.reference import KNOWLEDGE, SEED
from support.cluster import Manifest, Namespace, condition, config_map, install_operator
from support.compiles import PROGRAMS, ROOT
from swarm_operator.compilation.api import LABEL_KIND, ObjectKind
from swarm_wire.records import Record
from swarm_wire.shards import unpack

TRIAGE = ROOT / "examples" / "triage"
SOURCES = [PROGRAMS / "replay_programs.py", PROGRAMS / "rollouts.py", TRIAGE / "triage.py"]
NAME, ENDPOINT, DEADLINE = "case", "http://provider:8000/v1", "900s"


def installed() -> testbed.Cluster:
    """Installs this checkout's operator on the kind cluster, and returns the cluster."""
    cluster = testbed.cluster()
    cluster.load(*testbed.project_images())
    install_operator(cluster)
    return cluster


def measure(cluster: testbed.Cluster, bench: BenchCase, winner: dict[str, Any], speculation: int) -> Swarm:
    with prepared(cluster, bench) as namespace:
        load = os.getloadavg()[0]
        began = time.monotonic()
        namespace.apply(compilation(bench, speculation))
        namespace.kubectl("wait", f"dspyc/{NAME}", "--for=jsonpath={.status.completionTime}", f"--timeout={DEADLINE}")
        seconds = time.monotonic() - began
        found = namespace.get("dspyc", NAME)
        ready = condition(found, "Ready") or {}
        if ready.get("status") != "True":
            raise RuntimeError(f"{bench.name} ended without an artifact: {ready.get('reason')}: {ready.get('message')}")
        artifact = namespace.get("configmap", found["status"]["artifact"]["configMap"]["name"])["data"]
        program, report = json.loads(artifact["program.json"]), json.loads(artifact["report.json"])
        program.pop("metadata")
        return Swarm(
            on="cluster",
            speculation=speculation,
            seconds=round(seconds, 1),
            widths=widths(journal(namespace)),
            requests=namespace.requests(),
            calls=report["usage"]["calls"],
            wasted_calls=report["wasted"]["calls"],
            same=program == winner,
            load=round(load, 1),
        )


@contextmanager
def prepared(cluster: testbed.Cluster, bench: BenchCase) -> Iterator[Namespace]:
    """Yields a namespace that has provider, program and data."""
    namespace = Namespace(cluster, "bench")
    namespace.delete()
    namespace.create()
    try:
        namespace.start_provider(KNOWLEDGE, f"--latency=constant:{bench.latency}", f"--seed={SEED}", "--varied")
        namespace.apply(
            config_map("programs", {path.name: path.read_text(encoding="utf-8") for path in SOURCES}),
            config_map(
                "tickets", {path.name: path.read_text(encoding="utf-8") for path in (TRIAGE / "data").glob("*.jsonl")}
            ),
        )
        yield namespace
    finally:
        namespace.delete(wait=False)


def compilation(bench: BenchCase, speculation: int) -> Manifest:
    """Returns the manifest of the case, with sources that pods can mount."""
    manifest = bench.case.manifest(ENDPOINT, **swarm(bench, speculation))
    spec = manifest["spec"]
    spec["program"]["source"] = {"configMap": {"name": "programs"}}
    for part in ("train", "validation"):
        limit = spec["data"][part]["limit"]
        spec["data"][part] = {"configMap": {"name": "tickets", "key": f"{part}.jsonl"}, "limit": limit}
    manifest["metadata"]["name"] = NAME
    return manifest


def journal(namespace: Namespace) -> Iterator[Record]:
    """Yields the records in the journal's ConfigMaps."""
    for found in namespace.list("configmap", **{LABEL_KIND: ObjectKind.RESULTS}):
        for text in found["binaryData"].values():
            yield from unpack(base64.b64decode(text))
