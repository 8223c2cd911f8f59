"""Runs the operator with real plans and workers on one machine, without a cluster.

The operator uses the API server of `fake_cluster`. Each pod is a process, with folders for its mounts. The cluster has
a simulated clock, so a test decides when time is over.
"""

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.compiles import PATHS, Case, environment
from support.fake_cluster import NAMESPACE, FakeCluster, Object, StandIn, _sources
from swarm_operator.cluster.resources import CONFIG_MAPS, JOBS
from swarm_operator.compilation.api import COMPILATIONS, LABEL_UID, ConditionType
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.reconcile import Reconciler
from swarm_operator.compilation.status import Status
from swarm_operator.settings import Settings
from swarm_wire import names
from swarm_worker.local.launcher import Launcher

NAME = "sweep"
FOLDERS = {
    names.ENV_RUN_DIR: names.RUN_DIR,
    names.ENV_TASKS_DIR: names.TASKS_DIR,
    names.ENV_WORK_DIR: names.WORK_DIR,
    names.ENV_JOURNAL_DIR: names.JOURNAL_DIR,
    names.ENV_EARLIER_DIR: names.EARLIER_DIR,
    names.ENV_SOURCES_DIR: names.SOURCES_DIR,
}
SETTINGS = Settings(worker_image="worker:1", status_interval=0, retry_delay=0, gather_interval=1)
TICK_SECONDS = 0.02
"""Seconds between two checks of the running processes."""
HASTE = {names.ENV_LINGER_SECONDS: "0", names.ENV_GRACE_SECONDS: "10"}
"""Variables that let pods end without waiting, since no kubelet reads their output."""


class Process(StandIn):
    """The process of one pod."""

    def __init__(self, cluster: "RealPods", pod: Object, index: int) -> None:
        self._cluster, self._spec, self.lingered = cluster, pod["spec"], 0
        (container,) = self._spec["containers"]
        paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        self._volumes = {paths[volume["name"]]: volume for volume in self._spec["volumes"]}
        name = pod["metadata"]["name"]
        self._root: Path = cluster.folder / name
        for path in self._volumes:
            self._write(path)
        given = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        del given["HOME"]
        self.termination = self._root / "termination"
        folders = {variable: str(self._at(path)) for variable, path in FOLDERS.items()}
        more = {names.ENV_INDEX: str(index), names.ENV_TERMINATION_LOG: str(self.termination)}
        (command,) = container["args"]
        self._launched = cluster.launcher.start(
            command, environment(**{**given, **folders, **more, **HASTE}), cluster.folder / f"{name}.log"
        )
        self._output: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def has_ended(self) -> bool:
        return not self._reader.is_alive()

    @property
    def log(self) -> str:
        return b"".join(self._output).decode("ascii", "replace")

    def most(self) -> str:
        return self.log

    def terminate(self) -> None:
        if not self.has_ended:
            self._launched.terminate()

    def reap(self) -> int:
        self._launched.wait()
        return self._launched.reap()

    def _read(self) -> None:
        with self._launched.output as output:
            self._output.extend(output)

    def _at(self, path: object) -> Path:
        return self._root / str(path).strip("/")

    def _write(self, path: object) -> None:
        self._at(path).mkdir(parents=True, exist_ok=True)
        for source in _sources(self._volumes[path]):
            found = self._cluster.objects[CONFIG_MAPS.plural, source["name"]]
            data = {key: text.encode() for key, text in found.get("data", {}).items()}
            data |= {key: base64.b64decode(text) for key, text in found.get("binaryData", {}).items()}
            for item in source.get("items") or [{"key": key, "path": key} for key in data]:
                file = self._at(path) / item["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data[item["key"]])


@dataclass
class RealPods(FakeCluster):
    """A cluster whose pods are processes of this machine."""

    folder: Path = field(default_factory=Path)
    launcher: Launcher = field(default_factory=lambda: Launcher([str(path) for path in PATHS]))

    def started(self, pod: Object, index: int) -> StandIn:
        return Process(self, pod, index)

    def _run(self, pod: Object) -> None:
        name, status = pod["metadata"]["name"], pod["status"]
        process = self.running.get(name)
        if not isinstance(process, Process):
            super()._run(pod)
            return
        if "deletionTimestamp" in pod["metadata"]:
            process.terminate()
        self.logs[name] = process.log
        if not process.has_ended:
            return
        del self.running[name]
        code = process.reap()
        message = process.termination.read_text(encoding="ascii") if process.termination.exists() else ""
        if code in names.TERMINAL_EXITS:
            self._fail(pod["metadata"]["ownerReferences"][0]["uid"])
        ended = {"exitCode": code if code >= 0 else 128 - code, "message": message, "reason": "Error"}
        ended["finishedAt"] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        status |= {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "worker", "state": {"terminated": ended}}],
        }


def cluster_spec(case: Case, url: str, **swarm: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the spec of a case with its data in a ConfigMap, and the content of this ConfigMap."""
    spec = case.manifest(url, **swarm)["spec"]
    data = {}
    for name in ("train", "validation"):
        source = spec["data"][name]
        lines = Path(source.pop("path")).read_text(encoding="utf-8").splitlines(keepends=True)
        data[f"{name}.jsonl"] = "".join(lines)
        source["configMap"] = {"name": "data", "key": f"{name}.jsonl"}
    return spec, data


class Run:
    """A Compilation of a case, with its operator.

    Args:
        max_tokens: the most tokens of each answer.
        swarm: fields of spec.swarm.
    """

    def __init__(
        self,
        case: Case,
        provider: Any,
        folder: Path,
        *,
        limits: dict[str, Any],
        max_tokens: int = 100,
        **swarm: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.cluster, self._provider = RealPods(folder=folder), provider
        spec, data = cluster_spec(case, provider.url, **swarm)
        for model in spec["models"].values():
            model["parameters"], model["price"] = {"maxTokens": max_tokens}, {"prompt": 2.0, "completion": 8.0}
        self.cluster.config_map("data", **data)
        made = self.cluster.compilation({**spec, "limits": limits}, NAME)
        self.began = self.cluster.now
        self._key = Key(NAMESPACE, NAME, made["metadata"]["uid"])
        self._operator = Reconciler(self.cluster, SETTINGS, clock=lambda: self.cluster.now)

    @property
    def _compilation(self) -> Object:
        return self.cluster.of(COMPILATIONS, self._key.name)[0]

    @property
    def status(self) -> Status:
        return Status.of(self._compilation["status"])

    @property
    def ready(self) -> tuple[str, str, str]:
        """Returns status, reason and message of the condition Ready."""
        found = self.status.condition(ConditionType.READY)
        assert found is not None
        return found.status, str(found.reason), found.message

    @property
    def artifact(self) -> dict[str, Any]:
        """Returns the program and the report of the artifact."""
        found = self.cluster.of(CONFIG_MAPS, f"{self._key.name}-artifact")[0]["data"]
        program, report = json.loads(found[names.PROGRAM_FILE]), json.loads(found[names.REPORT_FILE])
        program.pop("metadata")
        return {"program": program, "report": report}

    def limit(self, **limits: Any) -> None:
        """Replaces spec.limits."""
        found = self._compilation
        found["spec"]["limits"] = limits
        found["metadata"]["generation"] += 1

    def end(self, each: Callable[[], None] = lambda: None, steps: int = 100_000) -> None:
        """Runs operator and pods until the run is over."""
        tick = threading.Event()
        for _ in range(steps):
            self._passes()
            if self._is_over:
                return
            before = set(self.cluster.running)
            # While processes work, the clock stands still, so the speed of this machine does not matter.
            self.cluster.step(0 if before else 1)
            each()
            if before and not any(of.has_ended for of in self.cluster.running.values() if isinstance(of, Process)):
                tick.wait(TICK_SECONDS)
        raise AssertionError(f"it does not end: {self.ready}")

    def _passes(self) -> None:
        for _ in range(50):
            if asyncio.run(self._pass()) != 0:
                return
        raise AssertionError("passes without end")

    async def _pass(self) -> float | None:
        return await self._operator(self._key)

    @property
    def _is_over(self) -> bool:
        found = self._compilation
        told = Status.of(found["status"])
        generation = found["metadata"]["generation"]
        return (
            told.observed_generation == generation
            and told.completion_time is not None
            and not any(job["metadata"]["labels"].get(LABEL_UID) == self._key.uid for job in self.cluster.of(JOBS))
            and not self.cluster.running
        )
