"""The product installed on a kind cluster, and what stock DSPy makes of the same compile."""

from collections.abc import Iterator

import pytest

import testbed
from simulated_provider.testing import running_provider
from support.cluster import Namespace, config_map, secret
from support.compiles import ROOT, Case, StockRun
from support.installed import installed

__all__ = ["installed"]

TRIAGE = ROOT / "examples" / "triage"
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


@pytest.fixture(scope="session")
def namespace(installed: testbed.Cluster, worker_id: str) -> Iterator[Namespace]:
    """A namespace that enforces the restricted Pod Security Standard, with provider, program, data and key."""
    found = Namespace(installed, f"e2e-{worker_id}")
    found.delete()
    found.create()
    found.start_provider(TRIAGE / "knowledge.jsonl", "--seed", str(SEED))
    data = {path.name: path.read_text(encoding="utf-8") for path in (TRIAGE / "data").glob("*.jsonl")}
    found.apply(
        config_map("triage-program", {"triage.py": (TRIAGE / "triage.py").read_text(encoding="utf-8")}),
        config_map("triage-data", data),
        secret("provider-key", {"api-key": "rehearsal-key-0123456789"}),
    )
    yield found
    found.delete(wait=False)


@pytest.fixture(scope="session")
def stock() -> StockRun:
    """The winner and ranking of stock DSPy in one process; its provider answers as the cluster's does."""
    with running_provider(seed=SEED, knowledge=TRIAGE / "knowledge.jsonl") as provider:
        return CASE.stock(provider)


@pytest.fixture
def slow(namespace: Namespace) -> Iterator[None]:
    """Long enough answers that pods can be caught in the middle of their work."""
    namespace.reset_provider()
    namespace.set_faults(latency="constant:1")
    yield
    namespace.set_faults()
