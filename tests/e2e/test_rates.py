"""Pods on a cluster keep to rate limits, as the provider's own log shows."""

from itertools import accumulate, pairwise

from support.cluster import OPERATOR_NAMESPACE, Manifest, Namespace
from support.compiles import StockRun
from support.e2e import IN_FLIGHT, finish, triage

RPM, TOGETHER = 300, 5


def limited(name: str, group: str) -> Manifest:
    made = triage(name, swarm={"pods": 6, "threadsPerPod": 4, "maxAttempts": 1})
    for model in made["spec"]["models"].values():
        model["parameters"] = {"numRetries": 0}
        model["limits"] = {"requestsPerMinute": RPM, "group": group}
    return made


def test_all_pods_together_keep_to_a_rate_limit_even_if_the_limiter_dies(namespace: Namespace, stock: StockRun) -> None:
    """The provider refuses requests that are more than two seconds early, and no refused request is repeated."""
    namespace.reset_provider()
    namespace.set_faults(rpm=RPM, burst=2 * RPM // 60)
    namespace.apply(limited("paced", "shared"))
    namespace.wait_for("paced", lambda _: namespace.requests() > 30)
    delete = ("delete", "pod", "--selector", "app.kubernetes.io/name=dspy-swarm-limiter", "--wait=false")
    namespace.cluster.kubectl("--namespace", OPERATOR_NAMESPACE, *delete)
    finish(namespace, "paced", stock)

    log = namespace.provider("/admin/requests")["requests"]
    assert {entry["status"] for entry in log} == {200}
    assert stock.requests <= len(log) <= stock.requests + IN_FLIGHT
    times = sorted(entry["time"] for entry in log)
    gap = max(later - before for before, later in pairwise(times))
    print(f"{len(times)} requests in {times[-1] - times[0]:.1f} s, at most {gap:.1f} s between two")
    namespace.set_faults()


def test_compilations_of_the_same_group_share_its_rate_limits(namespace: Namespace, stock: StockRun) -> None:
    """Two concurrent Compilations together never have more calls in flight than the limit of their group."""
    namespace.reset_provider()
    namespace.set_faults(latency="constant:0.3")
    names = ("one", "other")
    for name in names:
        made = triage(name, swarm={"pods": 3, "threadsPerPod": 4, "maxAttempts": 1})
        for model in made["spec"]["models"].values():
            model["limits"] = {"concurrency": TOGETHER, "group": "both"}
        namespace.apply(made)
    for name in names:
        finish(namespace, name, stock)
    log = namespace.provider("/admin/requests")["requests"]
    assert {entry["status"] for entry in log} == {200}
    moments = sorted(
        [*((entry["time"], 1) for entry in log), *((entry["time"] + entry["latency"], -1) for entry in log)]
    )
    together = max(accumulate(change for _, change in moments))
    print(f"{len(log)} requests, {together} at a time")
    assert together == TOGETHER
    namespace.set_faults()
