"""What a run may cost, in the provider's own log."""

import json

from support.cluster import Manifest, Namespace, condition, is_over
from support.compiles import StockRun
from support.e2e import IN_FLIGHT, finish, triage

LIMIT = 60
WIDE = {"pods": 6, "threadsPerPod": 4}


def limited(name: str, **limits: object) -> Manifest:
    return triage(name, swarm=WIDE, limits=limits)


def ready(compilation: Manifest) -> tuple[str, str]:
    found = condition(compilation, "Ready")
    assert found is not None
    return found["status"], found["reason"]


def test_a_limit_ends_a_run_and_a_higher_one_lets_it_go_on(namespace: Namespace, stock: StockRun) -> None:
    namespace.reset_provider()
    namespace.apply(limited("limited", lmCalls=LIMIT))
    ended = namespace.wait_for("limited", is_over)

    print(condition(ended, "Ready")["message"])  # type: ignore[index]
    assert ready(ended) == ("False", "LimitReached")
    assert 0.8 * LIMIT <= namespace.requests() <= LIMIT
    assert ended["status"]["usage"]["spent"]["lmCalls"] == namespace.requests()
    assert ended["status"]["usage"]["allowed"] == {"lmCalls": LIMIT}

    raised = {"spec": {"limits": {"lmCalls": 1000}}}
    namespace.kubectl("patch", "dspyc", "limited", "--type=merge", f"--patch={json.dumps(raised)}")
    namespace.wait_for("limited", lambda found: ready(found)[1] != "LimitReached")
    after = finish(namespace, "limited", stock)
    assert after["status"]["runId"] == ended["status"]["runId"]
    assert namespace.requests() <= stock.requests + IN_FLIGHT


def test_the_best_program_by_then_is_published_if_it_is_wanted(namespace: Namespace) -> None:
    namespace.reset_provider()
    namespace.apply(limited("partial", lmCalls=LIMIT, publishPartial=True))
    ended = namespace.wait_for("partial", is_over)
    assert ready(ended) == ("True", "PublishedPartial")
    assert namespace.requests() <= LIMIT
    report = json.loads(namespace.get("configmap", "partial-artifact")["data"]["report.json"])
    assert f"limits.lmCalls: {LIMIT}" in report["partial"]
