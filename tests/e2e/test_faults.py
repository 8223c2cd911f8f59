"""The death of one process does not change the winner, and the run repeats only calls in flight."""

import pytest

from support.cluster import OPERATOR_NAMESPACE, OPERATOR_PODS, Namespace
from support.compiles import StockRun
from support.e2e import IN_FLIGHT, THREADS, catch, finish, spend, triage
from support.sampling import of_the_day


@pytest.mark.usefixtures("slow")
def test_a_run_survives_the_deletion_of_the_operator_while_workers_run(
    namespace: Namespace, stock: StockRun, undisturbed: int
) -> None:
    namespace.apply(triage("operator-dies"))
    spend(namespace)
    catch(namespace, "operator-dies", "work")
    at_once = ("--grace-period=0", "--force")
    namespace.cluster.kubectl("--namespace", OPERATOR_NAMESPACE, "delete", "pods", "-l", OPERATOR_PODS, *at_once)
    finish(namespace, "operator-dies", stock)
    assert namespace.requests() == undisturbed


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("grace", of_the_day(["30", "0"]))
def test_a_run_survives_the_deletion_of_a_worker_pod(
    namespace: Namespace, stock: StockRun, undisturbed: int, grace: str
) -> None:
    name = f"worker-dies-{grace}"
    namespace.apply(triage(name))
    spend(namespace)
    pod = catch(namespace, name, "work")
    arguments = ["--grace-period=0", "--force"] if grace == "0" else [f"--grace-period={grace}"]
    namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false", *arguments)
    finish(namespace, name, stock)
    # The output of a pod that is deleted without a grace period is lost unless the operator has read it before.
    unread = THREADS if grace == "0" else 0
    assert undisturbed <= namespace.requests() <= undisturbed + IN_FLIGHT + unread


def test_a_run_survives_the_deletion_of_a_plan_pod(namespace: Namespace, stock: StockRun, undisturbed: int) -> None:
    namespace.reset_provider()
    namespace.apply(triage("plan-dies"))
    pod = catch(namespace, "plan-dies", "plan")
    namespace.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false", "--grace-period=0", "--force")
    finish(namespace, "plan-dies", stock)
    assert namespace.requests() == undisturbed
