"""A run keeps to the limits of its cost, as the provider's own log shows."""

import json

import pytest

from support.cluster import Manifest, Namespace, condition, is_over
from support.compiles import StockRun
from support.e2e import IN_FLIGHT, finish, little, triage
from support.sampling import of_the_day

LIMIT = 60
WIDE = {"pods": 6, "threadsPerPod": 4}


def limited(name: str, **limits: object) -> Manifest:
    return triage(name, swarm=WIDE, limits=limits)


def ready(compilation: Manifest) -> tuple[str, str]:
    found = condition(compilation, "Ready")
    assert found is not None
    return found["status"], found["reason"]


def test_a_limit_ends_a_run_and_a_higher_limit_continues_it(namespace: Namespace, stock: StockRun) -> None:
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


def test_at_a_limit_the_best_program_so_far_is_published_if_the_spec_says_so(namespace: Namespace) -> None:
    namespace.reset_provider()
    # A pod that finds no room on the node would start when the limit is reached, and the baseline would lack its cells.
    few = {"pods": 2, "threadsPerPod": 4}
    namespace.apply(triage("partial", swarm=few, limits={"lmCalls": LIMIT, "publishPartial": True}))
    ended = namespace.wait_for("partial", is_over)
    assert ready(ended) == ("True", "PublishedPartial")
    assert namespace.requests() <= LIMIT
    report = json.loads(namespace.get("configmap", "partial-artifact")["data"]["report.json"])
    assert f"limits.lmCalls: {LIMIT}" in report["partial"]


@pytest.fixture(scope="module")
def unlimited(namespace: Namespace) -> tuple[str, int]:
    """Returns the winner and the number of requests of a run without a limit, whose plans evaluate the candidates."""
    namespace.reset_provider()
    namespace.apply(little("unlimited"))
    assert ready(namespace.wait_for("unlimited", is_over)) == ("True", "Published")
    return program(namespace, "unlimited"), namespace.requests()


def program(namespace: Namespace, name: str) -> str:
    found: str = namespace.get("configmap", f"{name}-artifact")["data"]["program.json"]
    return found


@pytest.mark.parametrize("part", of_the_day([0.5, 0.65, 0.8]))
def test_a_limit_that_a_plan_reaches_does_not_change_the_winner(
    namespace: Namespace, unlimited: tuple[str, int], part: float
) -> None:
    winner, requests = unlimited
    name = f"raised-{part * 100:.0f}"
    namespace.reset_provider()
    namespace.apply(little(name, limits={"lmCalls": int(part * requests), "publishPartial": True}))
    assert ready(namespace.wait_for(name, is_over)) == ("True", "PublishedPartial")

    raised = {"spec": {"limits": {"lmCalls": 10 * requests}}}
    namespace.kubectl("patch", "dspyc", name, "--type=merge", f"--patch={json.dumps(raised)}")
    namespace.wait_for(name, lambda found: ready(found)[1] != "PublishedPartial")
    assert ready(namespace.wait_for(name, is_over)) == ("True", "Published")
    assert program(namespace, name) == winner
    report = json.loads(namespace.get("configmap", f"{name}-artifact")["data"]["report.json"])
    assert report["partial"] is None
    assert namespace.requests() <= requests + IN_FLIGHT
