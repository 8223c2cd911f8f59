"""`python -m bench.rates` checks the limit `requestsPerMinute: 600` with 30 pods on kind, by the provider's own log."""

import sys
import time
from bisect import bisect_left
from collections import Counter
from itertools import pairwise

from bench import on_cluster
from bench.cases import BenchCase
from support.cluster import condition
from support.compiles import Case
from support.e2e import pods

LIMIT, PODS = 600, 30
CASE = BenchCase(
    Case(
        "rates",
        parameters={"num_candidate_programs": 16},
        train=100,
        validation=100,
        teacher=True,
    ),
    latency=1.0,
    pods=PODS,
)
SMALL = {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"memory": "1Gi"}}
WAITS = 3.0
"""After this many seconds without a request, no pod can have had cells to run: a new round was being planned."""


def main() -> int:
    cluster = on_cluster.installed()
    with on_cluster.prepared(cluster, CASE) as namespace:
        made = on_cluster.compilation(CASE, 4)
        made["spec"]["swarm"] |= {"pods": PODS, "threadsPerPod": 4, "resources": SMALL, "pruning": "off"}
        for model in made["spec"]["models"].values():
            model["limits"] = {"requestsPerMinute": LIMIT, "group": "all"}
        namespace.apply(made)
        began, widest = time.monotonic(), 0
        while not (found := namespace.get("dspyc", on_cluster.NAME)).get("status", {}).get("completionTime"):
            if found.get("status", {}).get("runId"):
                widest = max(widest, len(pods(namespace, found, "work")))
            time.sleep(1)
        log = namespace.provider("/admin/requests")["requests"]
        ended = condition(found, "Ready") or {}
    times = sorted(entry["time"] for entry in log)
    print(f"{ended.get('reason')} after {time.monotonic() - began:.0f} s, {widest} pods at a time")
    print(f"{len(times)} requests, by status {dict(Counter(entry['status'] for entry in log))}")
    print(f"in each full minute in which work was waiting: {full_minutes(times)}")
    most = max(bisect_left(times, begin + 60) - number for number, begin in enumerate(times))
    print(f"in the fullest 60 seconds: {most}")
    return 0


def full_minutes(times: list[float]) -> list[int]:
    """Counts the requests in consecutive minutes.

    After WAITS seconds without a request, the next minute begins with the next request.
    """
    counts, begin = [], times[0]
    for before, after in pairwise(times):
        while after - begin >= 60 and before - begin >= 60 - WAITS:
            counts.append(sum(begin <= at < begin + 60 for at in times))
            begin += 60
        if after - before > WAITS:
            begin = after
    return counts


if __name__ == "__main__":
    sys.exit(main())
