"""Builders for tests of the worker: object graphs, user modules, and pods as plain processes."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import dspy

from support import forks
from swarm_engine.slicing import missing_cells, slice_cells
from swarm_wire import names
from swarm_wire.messages import Assignment, Commit, RunRequest, SliceRef, Task
from swarm_wire.pod_output import Reader, Transcript, parse_commit
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import pack
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker import hash_seed

ROOT = Path(__file__).parents[2]
NONCE = "0123456789abcdef"


def environment(*paths: Path, **more: str) -> dict[str, str]:
    given = {key: value for key, value in os.environ.items() if not key.startswith("SWARM_")}
    python_path = os.pathsep.join(map(str, [*paths, ROOT / "worker_image", ROOT / "tests"]))
    return {**given, "PYTHONPATH": python_path, "PYTHONDONTWRITEBYTECODE": "1", "SWARM_TWIN": "0", **more}


def run_python(code: str, *paths: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(*paths, **more), capture_output=True, text=True, check=False)


# --- object graphs -----------------------------------------------------------------------------------------------


class Program(dspy.Module):
    """A program with a predictor that never calls a model."""

    def __init__(self, tag: str = "a") -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.tag = tag

    def forward(self, question: str) -> Any:
        return dspy.Prediction(answer=question.upper())


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def example(**fields: Any) -> Any:
    return dspy.Example(fields).with_inputs("question")


def scorer(threshold: float) -> Any:
    def score(example: Any, prediction: Any, trace: Any = None) -> bool:
        return len(prediction.answer) > threshold + 1

    return score


def graphs() -> dict[str, Any]:
    """Returns an object of every kind that a wave may contain."""
    program = Program()
    program.predict.demos = [example(question="q", answer="a"), {"question": "r", "augmented": True}]
    cycle: dict[str, Any] = {"self": None, "list": []}
    cycle["self"], cycle["list"] = cycle, [cycle]
    return {
        "program": program,
        "example": example(question="q", answer="a", score=1.0, history=[1, 2]),
        "closure": scorer(3),
        "lambda": lambda value, more=(1, {"x"}): {"a", "b", "c", value, *more},
        "method": program.forward,
        "partial": functools.partial(scorer, 3.5),
        "regex": re.compile("a+", re.IGNORECASE),
        "set": {"a", "b", "c", ("d", 1), frozenset({"e", "f"})},
        "defaultdict": defaultdict(list, {"a": [1]}),
        "cycle": cycle,
        "slots": Slotted({"x", "y"}),
        "signature": dspy.Signature("question, context: list[str] -> answer: int", "Answer it."),
        "lm": dspy.LM("openai/m", api_base="http://m/v1", api_key="secret-key-1234", temperature=0.5),
        "scalars": [None, True, 1, 1.5, float("nan"), "ä\udcff", b"bytes", 2j],
    }


# --- pods --------------------------------------------------------------------------------------------------------


def spec_of(module: str, **changes: Any) -> CompilationSpec:
    """Returns a spec whose program, metric and data are attributes of a module."""
    from support.wire_spec import a_spec

    data = {"inputs": ["question"], "train": {"entrypoint": f"{module}:train"}}
    data["validation"] = {"entrypoint": f"{module}:train"}
    entrypoints = {"program": {"entrypoint": f"{module}:program"}, "metric": {"entrypoint": f"{module}:metric"}}
    return CompilationSpec.model_validate(a_spec(**{**entrypoints, "data": data, **changes}))


@dataclass
class Ended:
    """The end of a pod's process, and all its output."""

    code: int
    transcript: Transcript
    commit: Commit | None
    output: list[str]
    errors: str

    @property
    def complete(self) -> bool:
        return self.transcript.complete(self.commit)

    def records(self, kind: RecordKind) -> list[Record]:
        return [record for _, record in sorted(self.transcript.records.items()) if record.kind is kind]

    @property
    def said(self) -> tuple[int, str | None]:
        return self.code, self.commit.reason if self.commit else "no commit"


@dataclass
class Pod:
    """The folders of a pod, in which its processes run."""

    folder: Path
    spec: CompilationSpec
    journal: list[Record] = field(default_factory=list)
    linger: ClassVar[dict[str, str]] = {}

    def request(self, **changes: Any) -> None:
        (self.folder / "run").mkdir(exist_ok=True, parents=True)
        written = json.loads(RunRequest(run_id="r", name="n", spec=self.spec).to_json())
        (self.folder / "run" / names.REQUEST_FILE).write_text(json.dumps({**written, **changes}))

    def _write(self, name: str, records: list[Record]) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        for number, shard in enumerate(pack(records)):
            (self.folder / name / f"{number}.shard").write_bytes(shard)

    def start(self, command: str, **env: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "swarm_worker", command],
            env=self._environment(env),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        if not (self.folder / "run").exists():
            self.request()
        self._write("journal", self.journal)
        folders = {
            names.ENV_RUN_DIR: "run",
            names.ENV_TASKS_DIR: "tasks",
            names.ENV_WORK_DIR: "work",
            names.ENV_JOURNAL_DIR: "journal",
            names.ENV_SOURCES_DIR: "sources",
            names.ENV_TERMINATION_LOG: "termination",
        }
        given = {name: str(self.folder / path) for name, path in folders.items()} | {names.ENV_NONCE: NONCE}
        return environment(self.folder, **{**given, **more})

    def end(self, process: subprocess.Popen[bytes]) -> Ended:
        out, errors = process.communicate(timeout=60)
        return self._ended(process.returncode, out, errors)

    def run(self, command: str, **env: str) -> Ended:
        """Runs a command in a fork of a process that has imported DSPy, or with another hash seed in a new process."""
        if hash_seed.VARIABLE in env:
            return self.end(self.start(command, **env))
        forks.start(environment()["PYTHONPATH"])
        output, errors = self.folder / "stdout", self.folder / "stderr"
        code = forks.fork(forks.pod, command, self._environment(env), self.folder, output, errors)
        return self._ended(code or 0, output.read_bytes(), errors.read_bytes())

    def _ended(self, code: int, out: bytes, errors: bytes) -> Ended:
        reader = Reader(NONCE)
        lines = out.decode("utf-8", "replace").splitlines()
        for line in lines:
            reader.feed(line)
        log = self.folder / "termination"
        commit = parse_commit(log.read_text(encoding="ascii"), NONCE) if log.exists() else None
        return Ended(code, reader.transcript(), commit, lines, errors.decode("utf-8", "replace"))

    def plan(self, **env: str) -> Ended:
        return self.run("plan", **env)

    def assign(self, planned: Ended, slices: list[list[SliceRef]] | None = None, version: int = 1) -> None:
        """Assigns the tasks of a plan to a worker, by default as one slice."""
        self._write("tasks", [*planned.records(RecordKind.BLOB), *planned.records(RecordKind.TASK)])
        tasks = [Task.model_validate(record.header) for record in planned.records(RecordKind.TASK)]
        one = slice_cells(missing_cells(tasks, ()), pods=1, threads=999, max_cells=9999)
        work = Assignment(
            schema_version=version, run_id="r", round=0, attempt=1, slices=one if slices is None else slices
        )
        (self.folder / "work").mkdir(exist_ok=True)
        (self.folder / "work" / names.ASSIGNMENT_FILE).write_text(work.to_json())

    def work(self, **env: str) -> Ended:
        return self.run("work", **env)


def module(folder: Path, text: str, name: str = "prog.py") -> None:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(text)


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Makes modules of the folder importable within the block, and forgets them afterwards."""
    before, paths = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = paths
        for name in [name for name in sys.modules if name not in before and _is_in(folder, sys.modules[name])]:
            del sys.modules[name]


def _is_in(folder: Path, module: ModuleType) -> bool:
    # A package without __init__.py has no `__file__`.
    places = [str(getattr(module, "__file__", "")), *map(str, getattr(module, "__path__", ()))]
    return any(str(folder) in place for place in places)


def until(process: subprocess.Popen[bytes], path: Path) -> None:
    """Waits until a process has made a file."""
    tick = threading.Event()
    while not path.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        tick.wait(0.02)


def interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)


def keys(**roles: str) -> Mapping[str, str]:
    return {names.api_key_env(role): key for role, key in roles.items()}
