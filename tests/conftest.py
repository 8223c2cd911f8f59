"""Each folder is a tier of tests. Tests that need a cluster or a Gitea run only on request."""

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Tests never assert how long something takes.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

# pytest explains failed assertions of these helpers, too.
pytest.register_assert_rewrite("faults.stage", "support.decisions", "support.kube_contract")

TIERS = {"unit", "replay", "users", "real", "gitea", "gitops", "cluster", "e2e", "faults"}
NEED_A_CLUSTER = {"gitops", "cluster", "e2e", "faults"}
LOGS, LOG_END = 6, 4000
"""A failed test shows so many of its newest logs, and so many of the last characters of each log."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--with-cluster", action="store_true", help="run what needs a cluster; makes one with kind")
    parser.addoption("--with-training", action="store_true", help="really train a model; needs .venv-train")
    parser.addoption("--with-smollm2", action="store_true", help="fine-tune SmolLM2, too: make distill-real")
    parser.addoption("--with-gitea", action="store_true", help="run what needs a real Gitea; builds one with Go")
    parser.addoption("--with-flux", action="store_true", help="run what needs Flux and a Gitea; builds them with Go")
    parser.addoption("--without-dspy", action="store_true", help="a test that imports DSPy fails: for the quick loop")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--without-dspy"):
        # With this entry, Python refuses to import DSPy, here and in xdist's processes.
        sys.modules["dspy"] = None  # type: ignore[assignment]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a failed test the ends of the logs in its folder, and the objects in its namespace."""
    report = yield
    if report.failed:
        given = getattr(item, "funcargs", {})
        report.sections += [*_logs(given.get("tmp_path")), *_namespace(given.get("namespace"))]
    return report


def _logs(folder: Path | None) -> Iterator[tuple[str, str]]:
    for log in sorted(folder.rglob("*.log"), key=lambda path: path.stat().st_mtime)[-LOGS:] if folder else ():
        yield f"{log.relative_to(folder)}", log.read_text(encoding="utf-8", errors="replace")[-LOG_END:]  # type: ignore[arg-type]


def _namespace(namespace: Any) -> Iterator[tuple[str, str]]:
    for what in ("events --sort-by=.lastTimestamp", "dspyc,jobs,pods") if namespace else ():
        try:
            yield f"kubectl get {what}", namespace.kubectl("get", *what.split())[-LOG_END:]
        except Exception as error:
            yield f"kubectl get {what}", str(error)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(root).parts[0]
        if tier in TIERS:
            item.add_marker(getattr(pytest.mark, tier))
        needs_a_cluster = tier in NEED_A_CLUSTER or item.get_closest_marker("cluster") is not None
        if needs_a_cluster and not config.getoption("--with-cluster"):
            item.add_marker(pytest.mark.skip(reason="needs a cluster: --with-cluster"))
        if tier == "real" and not config.getoption("--with-training"):
            item.add_marker(pytest.mark.skip(reason="trains a model: --with-training"))
        if tier == "gitea" and not config.getoption("--with-gitea"):
            item.add_marker(pytest.mark.skip(reason="needs a real Gitea: --with-gitea"))
        if tier == "gitops" and not config.getoption("--with-flux"):
            item.add_marker(pytest.mark.skip(reason="needs Flux: --with-flux"))
