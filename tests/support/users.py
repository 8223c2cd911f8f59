"""Compiles the programs of `tests/programs/users` by stock DSPy and by the local driver, and compares outcomes.

All processes except the twins are forks of one server (`support.forks`).
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support import forks, stock_user
from support.compiles import ROOT, camel
from support.hashed import HashedProvider, Request
from swarm_wire.names import WorkerReason
from swarm_worker.local.reasons import LocalReason

IN_FLIGHT = 8
"""The number of concurrent cells. So many cells may make the same call at the same time."""
REASONS = [*WorkerReason, *LocalReason]
FOLDER = ROOT / "tests" / "programs" / "users"
_PATHS = [ROOT / "worker_image", ROOT / "tests", ROOT / "examples" / "provider"]


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with DSPy's parameters. `metric` is the name of its metric in the user's module."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "metric"

    @property
    def spec(self) -> dict[str, Any]:
        return {self.name: {camel(name): value for name, value in self.parameters.items()}}


@dataclass(frozen=True)
class Stock:
    """The outcome of a compile by stock DSPy: a winner or an error. Its requests are the misses of its LM cache.

    Attributes:
        inputs: the fields that the examples mark as inputs, or none if the script failed before its examples.
    """

    requests: list[Request]
    inputs: list[str] = field(default_factory=list)
    program: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    error: str = ""
    log: str = ""


@dataclass(frozen=True)
class Ours:
    """The outcome of a compile by the local driver: a winner, or a refusal in the form "Reason: message"."""

    requests: list[Request]
    program: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    refusal: str = ""
    output: str = ""


def start_forks() -> None:
    """Starts the server of forks unless it runs."""
    forks.start(os.pathsep.join(map(str, _PATHS)))


def run_stock(provider: HashedProvider, folder: Path, module: str, optimizer: Optimizer, *, threads: int = 1) -> Stock:
    """Compiles by stock DSPy in its own process."""
    case = {
        "module": module,
        "metric": optimizer.metric,
        "optimizer": optimizer.name,
        "parameters": dict(optimizer.parameters),
        "threads": threads,
        "folder": str(FOLDER),
    }
    target = folder / f"stock-{threads}.json"
    with provider.counted() as requests:
        forks.fork(stock_user.write, case, environment(provider), str(target))
    found = json.loads(target.read_text(encoding="utf-8"))
    return Stock(requests, **{**found, "program": _canonical(found.get("program", {}))})


def run_ours(
    provider: HashedProvider,
    folder: Path,
    module: str,
    optimizer: Optimizer,
    inputs: list[str],
    *,
    twin: bool = True,
    spec: Mapping[str, Any] | None = None,
    small_wave: int | None = None,
) -> Ours:
    """Compiles by the local driver in this process.

    Args:
        small_wave: the most cells of a wave that the plan runs itself. With 0, workers run all cells.
    """
    file, journal = folder / "compilation.yaml", folder / "journal"
    file.write_text(yaml.safe_dump(_manifest(provider.url, module, optimizer, inputs, spec or {})), encoding="utf-8")
    more = {} if small_wave is None else {"SWARM_SMALL_WAVE": str(small_wave)}
    arguments = ["run", "-f", str(file), "--workers", "2", "--journal", str(journal)]
    with provider.counted() as requests:
        status, output = forks.swarm(arguments, environment(provider, SWARM_TWIN=str(int(twin)), **more), FOLDER)
    if status:
        found = re.search(rf"^(?:{'|'.join(REASONS)}): .*", output, re.MULTILINE | re.DOTALL)
        return Ours(requests, refusal=found[0].strip() if found else f"exit code {status}", output=output)
    program, report = (
        json.loads((journal / "artifact" / name).read_text()) for name in ("program.json", "report.json")
    )
    scores = {name: report["scores"][name] for name in ("baseline", "best")}
    return Ours(requests, program=_canonical(program), scores=scores, output=output)


def verdict(stock: Stock, ours: Ours) -> str:
    """Returns "equal", "refused: ...", or how the two outcomes differ."""
    if stock.error:
        if ours.refusal and stock.error.partition(": ")[2][:80] in ours.refusal:
            return "equal"
        return f"refused: {ours.refusal}" if ours.refusal else f"DIFFERENT: stock raised {stock.error}"
    if ours.refusal:
        return f"refused: {ours.refusal}"
    if ours.program != stock.program or ours.scores != stock.scores:
        which = "program" if ours.program != stock.program else "scores"
        return f"DIFFERENT: another {which}; stock {stock.scores}, ours {ours.scores}"
    if strange := set(ours.requests) - set(stock.requests):
        return f"DIFFERENT: {len(strange)} of {len(ours.requests)} requests are none of stock's"
    if len(ours.requests) > len(stock.requests) + IN_FLIGHT:
        return f"DEARER: {len(ours.requests)} requests instead of {len(stock.requests)}"
    return "equal"


def environment(provider: HashedProvider, **more: str) -> dict[str, str]:
    """Returns the environment of every process of a compile. It names the provider for programs with own clients."""
    paths = os.pathsep.join(map(str, [FOLDER, *_PATHS]))
    user = {"PROVIDER": provider.url, "DEPARTMENT": "harbour"}
    fixed = {"PYTHONHASHSEED": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "COLUMNS": "160", "NO_COLOR": "1"}
    return {**os.environ, "PYTHONPATH": paths, **fixed, **user, **more}


def _manifest(
    url: str, module: str, optimizer: Optimizer, inputs: list[str], more: Mapping[str, Any]
) -> dict[str, Any]:
    which = optimizer.spec
    if optimizer.name == "custom":
        which = {"custom": {"entrypoint": f"{module}:{optimizer.parameters['entrypoint']}"}}
    spec = {
        "program": {"entrypoint": f"{module}:program"},
        "metric": {"entrypoint": f"{module}:{optimizer.metric}"},
        "data": {
            "inputs": inputs,
            "train": {"entrypoint": f"{module}:train"},
            "validation": {"entrypoint": f"{module}:validation"},
        },
        "models": {"student": {"model": "openai/gpt-4o-mini", "endpoint": url}},
        "optimizer": which,
        "swarm": {"threadsPerPod": 4, "speculation": 0},
        **more,
    }
    kind = {"apiVersion": "dspy-swarm.dev/v1alpha1", "kind": "DSPyCompilation"}
    return {**kind, "metadata": {"name": module.replace("_", "-")}, "spec": spec}


def _canonical(program: dict[str, Any]) -> dict[str, Any]:
    program.pop("metadata", None)
    return program
