"""The product installed on a kind cluster, and the same compile by stock DSPy."""

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
LONGEST = ["test_journal.py", "test_limits.py", "test_control.py", "test_faults.py", "test_rates.py"]
"""Test files, slowest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the slowest file first: otherwise one process still runs it when the others are done."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def namespace(installed: testbed.Cluster, worker_id: str) -> Iterator[Namespace]:
    """A namespace with provider, program, data and key."""
    with triage_namespace(installed, f"e2e-{worker_id}", "--seed", str(SEED)) as found:
        yield found


@pytest.fixture(scope="session")
def stock() -> StockRun:
    """The winner and ranking of stock DSPy in one process; its provider answers as the cluster's does."""
    with running_provider(seed=SEED, knowledge=TRIAGE / "knowledge.jsonl") as provider:
        return CASE.stock(provider)


@pytest.fixture(scope="session")
def undisturbed(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> int:
    """Provider requests of an undisturbed run; the first process that needs the number measures it."""
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
    """Answers slow enough to catch pods in the middle of their work."""
    namespace.reset_provider()
    namespace.set_faults(latency="constant:1")
    yield
    namespace.set_faults()
