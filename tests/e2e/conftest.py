"""The end-to-end tests compare runs on a kind cluster with the same compile by stock DSPy."""

import json
from collections.abc import Iterator

import pytest

import testbed
from simulated_provider.testing import running_provider
from support.cluster import Namespace, condition, is_over
from support.compiles import Case, StockRun
from support.e2e import TRIAGE, triage, triage_namespace
from support.installed import first_of, installed

__all__ = ["installed"]

CASE = Case(
    "triage",
    parameters={"num_candidate_programs": 3, "max_labeled_demos": 6},
    program="Two",
    metric="triage_metric",
    train=24,
    validation=16,
    teacher=True,
)
SEED = 7
FIRST = ["test_journal.py", "test_rates.py", "test_limits.py", "test_control.py", "test_faults.py"]
"""The slow test files. The first one measures `undisturbed`; the last two need it, so they do not wait for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the slowest files first. Otherwise one process would still run them when the others are done."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def namespace(installed: testbed.Cluster, worker_id: str) -> Iterator[Namespace]:
    """Yields a namespace with the provider, the program, its data and an API key."""
    with triage_namespace(installed, f"e2e-{worker_id}", "--seed", str(SEED)) as found:
        yield found


@pytest.fixture(scope="session")
def stock() -> StockRun:
    """Returns the compile by stock DSPy in one process. Its provider gives the same answers as that in the cluster."""
    with running_provider(seed=SEED, knowledge=TRIAGE / "knowledge.jsonl") as provider:
        return CASE.stock(provider)


@pytest.fixture(scope="session")
def undisturbed(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> int:
    """Returns the number of requests of a run without faults. The first process that needs the number measures it."""
    known = tmp_path_factory.getbasetemp().parent / f"undisturbed-{testrun_uid}.json"
    with first_of(known.with_suffix(".lock")) as is_first:
        if is_first:
            namespace.reset_provider()
            namespace.apply(triage("undisturbed"))
            over = namespace.wait_for("undisturbed", is_over)
            assert condition(over, "Ready")["status"] == "True"  # type: ignore[index]
            known.write_text(json.dumps(namespace.requests()), encoding="utf-8")
    found: int = json.loads(known.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def slow(namespace: Namespace) -> Iterator[None]:
    """Makes the provider answer slowly, so that tests can catch pods in the middle of their work."""
    namespace.reset_provider()
    namespace.set_faults(latency="constant:1")
    yield
    namespace.set_faults()
