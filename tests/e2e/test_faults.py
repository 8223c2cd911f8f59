"""Whatever dies once during a run changes neither the winner nor, beyond calls in flight, the number of requests."""

import json
import time
from collections.abc import Iterator

import pytest

from support.cluster import OPERATOR_NAMESPACE, Manifest, Namespace, condition, is_over
from support.compiles import StockRun
from support.e2e import triage

THREADS, CALLS_PER_CELL, TRAIN = 4, 2, 24
IN_FLIGHT = (THREADS + TRAIN * 4) * CALLS_PER_CELL
"""Of one worker pod: a cell a thread; its bootstraps (at most four in all) may be anywhere in the training set."""

SOME_CALLS = 12
"""Then some cells are finished, and most are not."""


@pytest.fixture(scope="module")
def undisturbed(namespace: Namespace) -> int:
    """Provider requests of a run that nobody disturbs."""
    namespace.reset_provider()
    namespace.apply(triage("undisturbed"))
    assert condition(namespace.wait_for("undisturbed", is_over), "Ready")["status"] == "True"  # type: ignore[index]
    return namespace.requests()


@pytest.fixture
def slow(namespace: Namespace) -> Iterator[None]:
    """Long enough answers that pods can be caught in the middle of their work."""
    namespace.reset_provider()
    namespace.set_faults(latency="constant:1")
    yield
    namespace.set_faults()


def pods(namespace: Namespace, compilation: Manifest, role: str) -> list[Manifest]:
    """Running pods of a run."""
    labels = {"dspy-swarm.dev/run": compilation["status"]["runId"], "dspy-swarm.dev/role": role}
    return [pod for pod in namespace.list("pods", **labels) if pod["status"]["phase"] == "Running"]


def catch(namespace: Namespace, name: str, role: str) -> Manifest:
    """A running pod of a role, in the middle of its work."""
    for _ in range(600):
        compilation = namespace.get("dspyc", name)
        assert not is_over(compilation), compilation["status"]
        if compilation.get("status", {}).get("runId") and (found := pods(namespace, compilation, role)):
            return found[0]
        time.sleep(0.2)
    raise TimeoutError(f"no {role} pod of {name} ran")


def finish(namespace: Namespace, name: str, stock: StockRun) -> Manifest:
    """The Compilation when it is over, with the winner of stock."""
    compilation = namespace.wait_for(name, is_over)
    assert condition(compilation, "Ready")["status"] == "True", compilation["status"]  # type: ignore[index]
    program = json.loads(namespace.get("configmap", f"{name}-artifact")["data"]["program.json"])
    program.pop("metadata")
    assert program == stock.program
    return compilation


@pytest.mark.usefixtures("slow")
def test_the_operator_is_deleted_while_workers_run(namespace: Namespace, stock: StockRun, undisturbed: int) -> None:
    namespace.apply(triage("operator-dies"))
    catch(namespace, "operator-dies", "work")
    namespace.cluster.kubectl(
        "--namespace", OPERATOR_NAMESPACE, "delete", "pods", "--all", "--grace-period=0", "--force"
    )
    finish(namespace, "operator-dies", stock)
    assert namespace.requests() == undisturbed


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("grace", ["30", "0"], ids=["gracefully", "with grace 0"])
def test_a_worker_pod_is_deleted(namespace: Namespace, stock: StockRun, undisturbed: int, grace: str) -> None:
    name = f"worker-dies-{grace}"
    namespace.apply(triage(name))
    pod = catch(namespace, name, "work")
    while namespace.requests() < SOME_CALLS:
        time.sleep(0.1)
    arguments = ["--grace-period=0", "--force"] if grace == "0" else [f"--grace-period={grace}"]
    namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false", *arguments)
    finish(namespace, name, stock)
    assert undisturbed <= namespace.requests() <= undisturbed + IN_FLIGHT


def test_a_plan_pod_is_deleted(namespace: Namespace, stock: StockRun, undisturbed: int) -> None:
    namespace.reset_provider()
    namespace.apply(triage("plan-dies"))
    pod = catch(namespace, "plan-dies", "plan")
    namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false", "--grace-period=0", "--force")
    finish(namespace, "plan-dies", stock)
    assert namespace.requests() == undisturbed
