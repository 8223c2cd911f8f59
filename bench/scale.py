"""`python -m bench.scale` measures memory and CPU time of an operator with 200 Compilations, of which 50 run.

The provider takes seven seconds for an answer, so pods mostly wait, and a small machine is enough.
"""

import sys
import time
from dataclasses import dataclass

from bench import on_cluster
from bench.cases import BenchCase
from support.cluster import OPERATOR_NAMESPACE, Namespace
from support.compiles import Case

ALL, RUNNING = 200, 50
LATENCY, SECONDS = 7.0, 60.0
CASE = BenchCase(
    Case(
        "scale",
        parameters={"num_candidate_programs": 12, "max_labeled_demos": 4},
        train=20,
        validation=40,
    ),
    latency=LATENCY,
    pods=1,
)
TICKS = 100
"""Number of ticks per second in which the kernel counts CPU time."""
SMALL = {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"memory": "1Gi"}}


@dataclass(frozen=True)
class Usage:
    """Usage of the operator's process.

    Attributes:
        cpu: seconds of CPU time since the process started.
        memory: resident memory in MiB, with shared memory.
    """

    at: float
    cpu: float
    memory: float

    @classmethod
    def now(cls, namespace: Namespace) -> "Usage":
        deployment = ("--namespace", OPERATOR_NAMESPACE, "exec", "deployment/dspy-swarm")
        stat, *status = namespace.cluster.kubectl(
            *deployment, "--", "cat", "/proc/1/stat", "/proc/1/status"
        ).splitlines()
        # The fields follow the name of the process, which may contain any text. User and system time are fields 12 and
        # 13.
        user, system = map(int, stat.rpartition(")")[2].split()[11:13])
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        return cls(time.monotonic(), (user + system) / TICKS, resident / 1024)


def measured(namespace: Namespace, what: str) -> None:
    before = Usage.now(namespace)
    time.sleep(SECONDS)
    after = Usage.now(namespace)
    share = (after.cpu - before.cpu) / (after.at - before.at)
    print(f"{what}: {share:.1%} of a CPU, {after.memory:.0f} MiB", flush=True)


def running(namespace: Namespace) -> int:
    found = namespace.list("pods", **{"app.kubernetes.io/managed-by": "dspy-swarm"})
    return sum(pod["status"]["phase"] == "Running" for pod in found)


def main() -> int:
    cluster = on_cluster.installed()
    with on_cluster.prepared(cluster, CASE) as namespace:
        measured(namespace, "nothing to do")
        compilations = []
        for number in range(ALL):
            made = on_cluster.compilation(CASE, 4)
            made["metadata"]["name"] = f"scale-{number:03d}"
            made["spec"]["suspend"] = number >= RUNNING
            made["spec"]["swarm"] |= {"pods": 1, "threadsPerPod": 4, "resources": SMALL, "pruning": "off"}
            compilations.append(made)
        namespace.apply(*compilations[RUNNING:])
        time.sleep(20)
        measured(namespace, f"{ALL - RUNNING} Compilations, all suspended")
        namespace.apply(*compilations[:RUNNING])
        deadline = time.monotonic() + 300
        while running(namespace) < RUNNING * 0.9 and time.monotonic() < deadline:
            time.sleep(2)
        measured(namespace, f"{ALL} Compilations, {running(namespace)} pods running")
        for number in range(RUNNING):
            patch = '{"spec":{"suspend":true}}'
            namespace.kubectl("patch", "dspyc", f"scale-{number:03d}", "--type=merge", f"--patch={patch}")
        while running(namespace):
            time.sleep(2)
        time.sleep(20)
        measured(namespace, f"{ALL} Compilations, all suspended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
