"""Tiers by folder: what needs a cluster runs only when asked for."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Tests assert behaviour, never seconds.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

# They assert for the rows of a table, or the cases of a tier.
pytest.register_assert_rewrite("faults.stage", "support.decisions", "support.kube_contract")

TIERS = {"unit", "replay", "users", "cluster", "e2e", "faults"}
NEED_A_CLUSTER = {"cluster", "e2e", "faults"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--with-cluster", action="store_true", help="run what needs a cluster; makes one with kind")
    parser.addoption("--without-dspy", action="store_true", help="a test that imports DSPy fails: for the quick loop")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--without-dspy"):
        # Python then refuses to import it, here and in xdist's processes.
        sys.modules["dspy"] = None  # type: ignore[assignment]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(root).parts[0]
        if tier in TIERS:
            item.add_marker(getattr(pytest.mark, tier))
        if tier in NEED_A_CLUSTER and not config.getoption("--with-cluster"):
            item.add_marker(pytest.mark.skip(reason="needs a cluster: --with-cluster"))
