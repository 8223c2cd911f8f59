"""How fast the pods of a cluster ask a provider, in the provider's own log."""

from itertools import pairwise

from support.cluster import OPERATOR_NAMESPACE, Manifest, Namespace
from support.compiles import StockRun
from support.e2e import IN_FLIGHT, finish, triage

RPM = 300


def limited(name: str, group: str) -> Manifest:
    made = triage(name, swarm={"pods": 6, "threadsPerPod": 4, "maxAttempts": 1})
    for model in made["spec"]["models"].values():
        model["parameters"] = {"numRetries": 0}
        model["limits"] = {"requestsPerMinute": RPM, "group": group}
    return made


def test_all_pods_keep_to_a_limit_even_when_the_limiter_dies(namespace: Namespace, stock: StockRun) -> None:
    """The provider objects to what is more than two seconds ahead of the limit. Nothing is tried twice here."""
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
