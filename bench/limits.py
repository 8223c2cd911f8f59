"""`python -m bench.limits [RUNS [LIMIT]]` checks the limits `lmCalls: 1000` and `costUSD: 1` with 20 pods on kind.

The provider's own counts say whether a run has exceeded its limit.
"""

import sys
import time

from bench import on_cluster
from bench.cases import BenchCase
from support.cluster import Manifest, Namespace, condition, is_over
from support.compiles import Case
from support.e2e import pods

RUNS, PODS = 20, 20
PRICE = {"prompt": 2.0, "completion": 8.0}
CASE = BenchCase(
    Case(
        "limits",
        parameters={"num_candidate_programs": 16},
        train=100,
        validation=100,
        teacher=True,
    ),
    latency=0.5,
    pods=PODS,
)
SMALL = {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "1Gi"}}
LIMITS = {"lmCalls": 1000, "costUSD": 1.0}


def main() -> int:
    runs = int(sys.argv[1]) if sys.argv[1:] else RUNS
    only = sys.argv[2:] or list(LIMITS)
    cluster = on_cluster.installed()
    worst = 0
    for name in only:
        most = LIMITS[name]
        spent = []
        with on_cluster.prepared(cluster, CASE) as namespace:
            for number in range(runs):
                found, widest, seconds = run(namespace, number, {name: most})
                spent.append(bill(namespace)[name])
                reason = (condition(found, "Ready") or {}).get("reason")
                print(
                    f"{name} {most:g}: {spent[-1]:g} in {seconds:.0f} s, {widest} pods at a time, {reason}", flush=True
                )
                namespace.kubectl("delete", "dspyc", found["metadata"]["name"])
        passed = sum(each > most for each in spent)
        worst += passed
        print(f"{name}: {most:g} passed in {passed} of {runs} runs; {min(spent):g} to {max(spent):g} spent", flush=True)
    return min(1, worst)


def run(namespace: Namespace, number: int, limits: dict[str, float]) -> tuple[Manifest, int, float]:
    """Runs a Compilation to its end.

    Returns the Compilation, the largest number of worker pods that ran at the same time, and the run's seconds.
    """
    made = on_cluster.compilation(CASE, 4)
    name = made["metadata"]["name"] = f"limits-{number}"
    made["spec"]["swarm"] |= {"pods": PODS, "threadsPerPod": 4, "resources": SMALL, "pruning": "off"}
    made["spec"]["limits"] = limits
    for model in made["spec"]["models"].values():
        model |= {"price": PRICE, "parameters": {"maxTokens": 200}}
    namespace.reset_provider()
    namespace.apply(made)
    began, widest = time.monotonic(), 0
    while not is_over(found := namespace.get("dspyc", name)):
        if found.get("status", {}).get("runId"):
            widest = max(widest, len(pods(namespace, found, "work")))
        time.sleep(1)
    return found, widest, time.monotonic() - began


def bill(namespace: Namespace) -> dict[str, float]:
    """Returns what the provider would charge: its number of answers, and the price of their tokens."""
    stats = namespace.provider("/admin/stats")
    tokens = PRICE["prompt"] * stats["prompt_tokens"] + PRICE["completion"] * stats["completion_tokens"]
    return {"lmCalls": stats["by_status"].get("200", 0), "costUSD": tokens / 1e6}


if __name__ == "__main__":
    sys.exit(main())
