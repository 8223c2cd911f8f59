"""Gives each case a Stage, and prints at the end how many cases of each kind of fault passed."""

import fcntl
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

import testbed
from faults.kinds import summary
from faults.process import Operator, kubeconfig
from faults.proxy import FaultProxy
from faults.stage import CASE, SETTINGS, Stage, Undisturbed
from simulated_provider.testing import running_provider
from support.api import Api
from support.cluster import OPERATOR_NAMESPACE, OPERATOR_PODS, Namespace
from support.e2e import TRIAGE, triage_namespace
from support.installed import installed

__all__ = ["installed"]

SEED = 7
LONGEST = ["test_kubernetes_ends_a_frozen_process", "test_a_provider_that_fails_every_request_ends_the_run"]
"""Cases of some minutes, which wait for a deadline."""
WHOLE = os.environ.get("FAULTS") in ("whole", "all")

T = TypeVar("T")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    some = [item for item in items if WHOLE or here not in item.path.parents or item.get_closest_marker("some")]
    config.hook.pytest_deselected(items=[item for item in items if item not in some])
    # Cases that disturb the whole cluster come last, when other test processes have no more cases.
    # They wait for all others, so the cases that take longest come first.
    items[:] = sorted(some, key=lambda item: (item.get_closest_marker("alone") is not None, item.name not in LONGEST))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("fault"):
        item.user_properties.append(("fault", mark.args[0]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    outcomes = [
        (kind, outcome)
        for outcome in ("passed", "failed", "xfailed", "xpassed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, [])
        for name, kind in report.user_properties
        if name == "fault"
    ]
    if outcomes:
        terminalreporter.section("faults")
        for line in summary(outcomes):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def cluster(installed: testbed.Cluster) -> testbed.Cluster:
    """Stops the operator of the installed chart, since each case starts its own operator.

    The next installation, such as that of the end-to-end tests, starts the chart's operator again.
    """
    kubectl = ("--namespace", OPERATOR_NAMESPACE)
    installed.kubectl(*kubectl, "scale", "deployment", "dspy-swarm", "--replicas=0")
    installed.kubectl(*kubectl, "wait", "--for=delete", "pods", "-l", OPERATOR_PODS, "--timeout=60s")
    return installed


@pytest.fixture(scope="session")
def api(cluster: testbed.Cluster) -> Iterator[Api]:
    found = Api(cluster.kubeconfig)
    yield found
    found.close()


@pytest.fixture(scope="session")
def token(cluster: testbed.Cluster) -> str:
    """Returns a token of the chart's service account, so that the cases' operators have only its rights."""
    return cluster.kubectl("--namespace", OPERATOR_NAMESPACE, "create", "token", "dspy-swarm", "--duration=8h")


@pytest.fixture(scope="session")
def namespace(cluster: testbed.Cluster, api: Api, worker_id: str) -> Iterator[Namespace]:
    name = f"faults-{worker_id}"
    let_go(api, name)
    with triage_namespace(cluster, name, "--seed", str(SEED)) as found:
        yield found


def let_go(api: Api, namespace: str) -> None:
    """Removes the finalizers of pods that an interrupted run of these tests left, since no operator removes them."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    for pod in api.get(pods)["items"]:
        patch = {"metadata": {"finalizers": None}}
        api.send("PATCH", f"{pods}/{pod['metadata']['name']}", patch, content="application/merge-patch+json")


NewStage = Callable[..., AbstractContextManager[Stage]]


@pytest.fixture(scope="session")
def new_stage(api: Api, token: str) -> NewStage:
    """Returns a function that makes a Stage. Its `settings` become the operator's."""

    @contextmanager
    def make(namespace: Namespace, folder: Path, name: str = "compile", **settings: object) -> Iterator[Stage]:
        with ExitStack() as stack:
            proxy = stack.enter_context(FaultProxy(api.url, api.trust))
            config = kubeconfig(folder / "kubeconfig", proxy.url, token)
            given = {"namespaces": namespace.name, **SETTINGS, **settings}
            operator = stack.enter_context(Operator(config, folder, **given))
            yield Stage(namespace, api, proxy, operator, name=name)

    return make


@pytest.fixture(scope="session")
def reference(
    new_stage: NewStage, namespace: Namespace, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str
) -> Undisturbed:
    """Returns facts about a run without faults. The first test process that runs cases measures them."""
    shared = tmp_path_factory.getbasetemp().parent / f"undisturbed-{testrun_uid}"
    with shared.with_suffix(".lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not shared.exists():
            with new_stage(namespace, tmp_path_factory.mktemp("undisturbed"), "undisturbed") as stage:
                shared.write_bytes(pickle.dumps(undisturbed(stage)))
        found: Undisturbed = pickle.loads(shared.read_bytes())
    return found


def undisturbed(stage: Stage) -> Undisturbed:
    with running_provider(seed=SEED, knowledge=TRIAGE / "knowledge.jsonl") as provider:
        stock = CASE.stock(provider)
    stage.ready()
    stage.begin()
    stage.over()
    stage.settles()
    bill = stage.bill()
    writes = list(stage.proxy.writes)
    stage.vanishes()
    return Undisturbed(stock, bill, writes)


@pytest.fixture
def stage(
    new_stage: NewStage, namespace: Namespace, reference: Undisturbed, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    """Yields a Stage without a run. Indirect parametrization gives the operator's settings."""
    settings = getattr(request, "param", {})
    with new_stage(namespace, tmp_path, f"c{abs(hash(request.node.name)) % 10**8}", **settings) as found:
        found.reference = reference
        found.ready()
        yield found
        print(found.operator.log[-6000:])
        found.ready()


@pytest.fixture(autouse=True)
def turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets cases run concurrently, but a case that disturbs the whole cluster (marked `alone`) runs alone."""
    alone = request.node.get_closest_marker("alone") is not None
    where = os.environ.get("DSPY_SWARM_CONTEXT") or os.environ.get("DSPY_SWARM_CLUSTER", "")
    with (Path(tempfile.gettempdir()) / f"dspy-swarm-faults-{os.getuid()}-{where}").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
