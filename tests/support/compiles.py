"""Runs compiles for tests by stock DSPy in one process and by the local driver.

`Case` describes a compile for both. Its methods `stock` and `swarm` run it and count its requests. If the server of
forks (`support.forks`) runs, stock DSPy runs in a fork of it, and the driver runs in this process.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from support import forks

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "programs"
KNOWLEDGE = ROOT / "examples" / "triage" / "knowledge.jsonl"
PATHS = [PROGRAMS, ROOT / "worker_image", ROOT / "examples" / "triage", ROOT / "examples" / "provider"]


@dataclass(frozen=True)
class Case:
    """Describes a compile for stock DSPy and for the local driver. `parameters` have DSPy's names."""

    name: str
    optimizer: str = "bootstrapFewShotWithRandomSearch"
    parameters: dict[str, Any] = field(default_factory=dict)
    program: str = "One"
    metric: str = "exact"
    module: str = "replay_programs"
    """The module of the program and the metric."""
    train: int = 24
    validation: int | None = 16
    """The number of validation examples. With None, neither the spec nor stock gets a validation set."""
    teacher: bool = False
    prompt: bool = False
    adapter: str = ""
    """The adapter of the spec: "json", "xml" or "twoStep". The second model of "twoStep" is the large model."""
    state: str = ""
    """The program.json that the student starts from; empty: the student as its code makes it."""
    distill: dict[str, Any] | None = None
    """spec.distill, with DSPy's names."""
    finetune: dict[str, Any] = field(default_factory=dict)
    """spec.finetune, if the case has a fine-tune."""
    client: str = "openai"
    """The prefix of the models' names, which selects the client. "litellm_proxy" selects LiteLLM."""

    @property
    def tunes(self) -> bool:
        """Whether a model is fine-tuned."""
        return self.distill is not None or self.optimizer in ("bootstrapFinetune", "betterTogether")

    def stock(self, provider: Any) -> "StockRun":
        """Compiles by stock DSPy in one process, with one thread and DSPy's LM cache."""
        case = {**asdict(self), "url": provider.url}
        with counted(provider) as requests, tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "stock.json"
            if forks.are_there():
                import stock

                forks.fork(stock.main, json.dumps(case), str(target), environment())
            else:
                command = [sys.executable, str(PROGRAMS / "stock.py"), json.dumps(case), str(target)]
                subprocess.run(command, env=environment(), check=True)
            found = json.loads(target.read_text(encoding="utf-8"))
        return StockRun(**found, requests=requests[0])

    def swarm(
        self, provider: Any, folder: Path, *, speculation: int | None = None, workers: int = 2, **env: str
    ) -> "LocalRun":
        """Compiles by the local driver in this folder. In a folder with a journal, the driver continues its run.

        Args:
            speculation: the spec's `swarm.speculation`. If it is None, the spec has no such field.
            env: additional environment variables, such as SWARM_LOOKAHEAD="0".
        """
        swarm = {} if speculation is None else {"speculation": speculation}
        with counted(provider) as requests:
            run = run_local(self.manifest(provider.url, **swarm), folder, workers=workers, **env)
        return replace(run, requests=requests[0])

    def manifest(self, url: str, **swarm: Any) -> dict[str, Any]:
        """Returns the DSPyCompilation of this case."""
        data = ROOT / "examples" / "triage" / "data"

        def source(name: str, limit: int) -> dict[str, Any]:
            return {"path": str(data / f"{name}.jsonl"), "limit": limit}

        models = {"student": {"model": f"{self.client}/small", "endpoint": url}}
        asked = {"teacher": self.teacher, "prompt": self.prompt, "extraction": self.adapter == "twoStep"}
        models |= {
            role: {"model": f"{self.client}/large", "endpoint": url} for role, is_asked in asked.items() if is_asked
        }
        spec = {
            "program": {
                "entrypoint": f"{self.module}:{self.program}",
                **({"adapter": {self.adapter: {}}} if self.adapter else {}),
                **({"state": {"path": self.state}} if self.state else {}),
            },
            "metric": {"entrypoint": f"{self.module}:{self.metric}"},
            "data": {
                "inputs": ["ticket"],
                "train": source("train", self.train),
                **({"validation": source("validation", self.validation)} if self.validation else {}),
            },
            "models": models,
            "optimizer": {self.optimizer: _named(self.parameters)},
            "swarm": {"threadsPerPod": 4, **swarm},
            **({"finetune": self.finetune} if self.tunes else {}),
            **({"distill": {camel(key): value for key, value in self.distill.items()}} if self.distill else {}),
        }
        return {
            "apiVersion": "dspy-swarm.dev/v1alpha1",
            "kind": "DSPyCompilation",
            "metadata": {"name": "case"},
            "spec": spec,
        }


@dataclass(frozen=True)
class StockRun:
    """The outcome of a compile by stock DSPy."""

    requests: int
    """The requests to the provider, which are the misses of DSPy's LM cache."""
    calls: int = 0
    """The requested completions, whether or not they come from the cache."""
    program: dict[str, Any] = field(default_factory=dict)
    """The winner's state."""
    ranking: list[float] = field(default_factory=list)
    """The candidates' scores, the best first. It is empty if the optimizer keeps no list of candidates."""
    scores: dict[str, float] = field(default_factory=dict)
    """The scores on the validation set: "baseline" is the student's, "best" is the winner's."""
    error: str | None = None
    """The error that ended the compile."""


@contextmanager
def counted(provider: Any) -> Iterator[list[int]]:
    """Resets the provider. At the end of the block, the list holds the number of requests."""
    provider.reset()
    found: list[int] = []
    yield found
    found.append(provider.stats()["requests"])


@dataclass(frozen=True)
class LocalRun:
    """The outcome of a run of the local driver, with the files that it left."""

    status: int
    output: str
    journal: Path
    requests: int = -1
    """The number of requests to the provider. -1 means that nobody counted them."""

    @property
    def program(self) -> dict[str, Any]:
        """Returns the winner's state without the versions that DSPy's `save` adds."""
        found: dict[str, Any] = json.loads((self.journal / "artifact" / "program.json").read_text(encoding="utf-8"))
        found.pop("metadata")
        return found

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.journal / "artifact" / "report.json").read_text(encoding="utf-8"))
        return found

    @property
    def ranking(self) -> list[float]:
        return [candidate["score"] for candidate in self.report["candidates"]]

    @property
    def scores(self) -> dict[str, float]:
        """Returns the scores on the validation set: "baseline" is the student's, "best" is the winner's."""
        return {name: self.report["scores"][name] for name in ("baseline", "best")}

    @property
    def rounds(self) -> int:
        found: int = self.report["rounds"]
        return found

    @property
    def calls(self) -> int:
        """Returns the number of LM calls whose results the journal holds."""
        found: int = self.report["usage"]["calls"]
        return found

    @property
    def wasted(self) -> dict[str, int]:
        """Returns the numbers of "cells" and "calls" whose results the optimizer did not need."""
        found: dict[str, int] = self.report["wasted"]
        return found


def environment(**more: str) -> dict[str, str]:
    """Returns the environment of processes that tests start."""
    paths = os.pathsep.join(map(str, PATHS))
    return {**os.environ, "PYTHONPATH": paths, "COLUMNS": "160", "NO_COLOR": "1", "SWARM_TWIN": "0", **more}


def start_local(manifest: dict[str, Any], folder: Path, *, workers: int = 2, **env: str) -> subprocess.Popen[str]:
    """Starts the local driver as a process. `folder` holds its files and its journal."""
    return subprocess.Popen(
        [sys.executable, "-m", "swarm_worker", *_arguments(manifest, folder, workers)],
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _arguments(manifest: dict[str, Any], folder: Path, workers: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "compilation.yaml"
    file.write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return ["run", "-f", str(file), "--workers", str(workers), "--journal", str(folder / "journal")]


def run_local(manifest: dict[str, Any], folder: Path, *, workers: int = 2, **env: str) -> LocalRun:
    """Runs the local driver until it ends."""
    if forks.are_there():
        status, output = forks.swarm(_arguments(manifest, folder, workers), environment(**env), Path.cwd())
        return LocalRun(status, output, folder / "journal")
    return ended(start_local(manifest, folder, workers=workers, **env), folder)


def ended(process: subprocess.Popen[str], folder: Path) -> LocalRun:
    """Waits until the process that `start_local` started in this folder has ended."""
    output, _ = process.communicate()
    return LocalRun(process.returncode, output, folder / "journal")


def run_file(folder: Path, provider: Any, *arguments: str, **env: str) -> LocalRun:
    """Runs the local driver as users do, in a folder with a compilation.yaml. The journals are in the same folder."""
    with counted(provider) as requests:
        status, output = forks.swarm(["run", "-f", "compilation.yaml", *arguments], environment(**env), folder)
    journals = [*folder.glob("mine"), *folder.glob(".dspy-swarm/*")]
    newest = max(journals, key=lambda path: path.stat().st_mtime_ns, default=folder / ".dspy-swarm")
    return LocalRun(status, output, newest, requests[0])


def _named(parameters: Any) -> Any:
    """Returns parameters with the API's names, at all depths."""
    if not isinstance(parameters, dict):
        return parameters
    return {camel(key): _named(value) for key, value in parameters.items()}


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
