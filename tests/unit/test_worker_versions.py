"""The worker first checks that the functions of DSPy that our hooks replace are as expected. If not, it refuses to
run."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.worker import run_python
from swarm_wire.names import ExitCode, WorkerReason
from swarm_worker.client import versions
from swarm_worker.client.versions import Closure, Function, Names, Shape
from swarm_worker.errors import BadInput


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Makes a module `library`, whose functions and classes the shapes of the tests describe."""
    module = ModuleType("library")

    class Executor:
        def execute(self, function: Any, data: list[Any], *, strict: bool = True) -> list[Any]:
            def process(item: Any) -> Any:
                return function(item, data)

            return [process(item) for item in data if strict]

    @dataclass
    class Call:
        prompt: str
        cache: bool = True

    module.Executor, module.Call = Executor, Call  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "library", module)
    return module


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (Function("library.Executor.execute", "(self, function, data, *, strict=True)"), None),
        (
            Function("library.Executor.execute", "(self, function, data)"),
            "library.Executor.execute takes (self, function, data, *, strict=True), not (self, function, data)",
        ),
        (Function("library.Executor.run", "(self)"), "type object 'Executor' has no attribute 'run'"),
        (Function("library.Pool.run", "(self)"), "module 'library' has no attribute 'Pool'"),
        (Function("no_such_library.run", "()"), "there is no no_such_library.run"),
        (Names("library", "Executor Call"), None),
        (Names("library", "Executor Pool Thread"), "library has no Pool, Thread"),
        (Names("library.Call", "prompt cache"), None),
        (Names("library.Call", "prompt cache retries"), "library.Call has no retries"),
        (Closure("library.Executor.execute", "process", "data function"), None),
        (
            Closure("library.Executor.execute", "process", "function"),
            "library.Executor.execute has no function process that closes over function",
        ),
        (
            Closure("library.Executor.execute", "process_item", "data function"),
            "library.Executor.execute has no function process_item that closes over data function",
        ),
    ],
)
def test_the_check_of_dspy_reports_each_difference_from_the_known_functions(
    library: ModuleType, shape: Shape, problem: str | None
) -> None:
    assert list(versions.problems([shape])) == ([] if problem is None else [problem])


def test_the_installed_dspy_passes_the_check_of_known_functions() -> None:
    versions.check()


def test_exactly_one_of_our_lm_clients_belongs_to_the_installed_dspy() -> None:
    clients = [versions.CLIENT_34, versions.CLIENT_33]
    assert [not list(versions.problems(shapes)) for shapes in clients].count(True) == 1


@pytest.mark.parametrize("shapes", ["CLASSES", "HOOKS", "CLIENT_34" if versions.has_own_client() else "CLIENT_33"])
def test_a_dspy_whose_functions_are_unknown_is_refused(monkeypatch: pytest.MonkeyPatch, shapes: str) -> None:
    changed = Function("dspy.utils.parallelizer.ParallelExecutor.execute", "(self, function, data, timeout)")
    monkeypatch.setattr(versions, shapes, (changed,))
    with pytest.raises(
        BadInput, match=r"execute takes \(self, function, data\), not \(self, function, data, timeout\)"
    ) as refused:
        versions.check()
    assert refused.value.reason == WorkerReason.UNSUPPORTED_DSPY
    assert "Build the worker image with DSPy 3.3 or 3.4." in str(refused.value)


@pytest.mark.parametrize("command", ["plan", "work"])
def test_a_process_with_an_unsupported_dspy_ends_with_a_message(tmp_path: Path, command: str) -> None:
    (tmp_path / "dspy").mkdir()
    (tmp_path / "dspy" / "__init__.py").write_text('__version__ = "2.6.27"\n', encoding="utf-8")
    code = f"import sys; from swarm_worker.__main__ import main; sys.exit(main(['{command}']))"
    log = tmp_path / "termination"
    ended = run_python(code, tmp_path, SWARM_TERMINATION_LOG=str(log), SWARM_NONCE="0123456789abcdef")
    assert ended.returncode == ExitCode.BAD_INPUT, ended.stderr
    assert "UnsupportedDSPy: DSPy 2.6.27 is not supported: dspy has no BaseLM, LM" in ended.stderr
    assert '"reason":"UnsupportedDSPy"' in log.read_text(encoding="ascii")
