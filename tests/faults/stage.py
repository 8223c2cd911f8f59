"""One small compile on the cluster, its operator behind a fault proxy, and what must hold in the end whatever was done.

The compile has everything that a run can have: two rounds, plans that make calls themselves, two worker pods, a
bootstrap, guesses.
"""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from faults.api import Api, Refused
from faults.process import OUR_FAULT, Operator
from faults.proxy import Call, FaultProxy
from support.cluster import Manifest, Namespace, condition, is_over
from support.compiles import Case, StockRun
from support.e2e import ENDPOINT, triage

TRAIN, VALIDATION, CALLS_PER_CELL, BOOTSTRAPS = 6, 6, 2, 1
CASE = Case(
    "triage",
    parameters={"num_candidate_programs": 1, "max_labeled_demos": 4},
    program="Two",
    metric="triage_metric",
    train=TRAIN,
    validation=VALIDATION,
)
PODS, THREADS = 2, 2
A_POD = (THREADS + TRAIN * BOOTSTRAPS) * CALLS_PER_CELL
"""Provider requests that a pod may have in flight: a cell for each thread, of which one may be a whole bootstrap."""
A_PLAN = VALIDATION * CALLS_PER_CELL
"""The same of a plan: the cells of a wave that it runs itself."""

GROUP = "/apis/dspy-swarm.dev/v1alpha1"
SETTINGS = {
    "gather_interval": 1,
    "pending_deadline": 20,
    "retry_delay": 1,
    "resync_interval": 5,
    "lost_after": 5,
    "log_deadline": 10,
    "worker_image": "dspy-swarm/worker:dev",
}
QUIET = 2.0
"""Seconds that are looked at for requests of an operator that has nothing to do."""
IDLE_READS = 40
"""More than that in QUIET seconds is a loop: an idle operator lists everything each 5 seconds."""
PUBLISHED = {"Ready": ("True", "Published"), "Succeeded": ("True", "Published")}


def failed(reason: str) -> dict[str, tuple[str, str]]:
    """The conditions of a run that ended without an artifact."""
    return {"Ready": ("False", reason), "Stalled": ("True", reason), "Succeeded": ("False", reason)}


@dataclass(frozen=True)
class Undisturbed:
    """What is true of a run that nobody disturbs."""

    stock: StockRun
    requests: int
    writes: list[Call]


@dataclass
class Stage:
    """A namespace with a provider, and one operator that serves it alone, through `proxy`."""

    namespace: Namespace
    api: Api
    proxy: FaultProxy
    operator: Operator
    reference: Undisturbed | None = None
    name: str = "compile"
    counted_from: int = 0

    # What happens.

    def begin(self, **spec: Any) -> None:
        """kubectl apply. The provider counts from here; what was set about its answers stays."""
        self.counted_from += self.requests()
        manifest = small(self.name, **spec)
        manifest["metadata"]["namespace"] = self.namespace.name
        self.api.send("POST", self.path(""), manifest)

    def ready(self) -> None:
        """The provider is as at its start, and nothing of another case is left."""
        self.api.send("POST", f"{self._provider}/reset", {})
        for found in self.api.get(self.path(""))["items"]:
            self.api.send("DELETE", self.path(found["metadata"]["name"]), {})

    def slow(self, seconds: float = 0.7) -> None:
        """Answers of the provider take long enough for pods to be caught in their work."""
        self.provider_faults(latency=f"constant:{seconds}")

    def provider_faults(self, **faults: Any) -> None:
        self.api.send("PUT", f"{self._provider}/faults", faults)

    def delete(self, policy: str = "Background") -> None:
        self.api.send("DELETE", self.path(), {"propagationPolicy": policy})

    def drop(self, kind: str, name: str, **options: Any) -> None:
        """Deletes an object of the core group, or a Job, by its plural and name."""
        self.api.send("DELETE", f"{self.core(kind)}/{name}", {"propagationPolicy": "Background", **options})

    def merge(self, path: str, patch: Any) -> Any:
        return self.api.send("PATCH", path, patch, content="application/merge-patch+json")

    # What is there.

    def path(self, name: str | None = None) -> str:
        name = self.name if name is None else name
        return f"{GROUP}/namespaces/{self.namespace.name}/dspycompilations" + (f"/{name}" if name else "")

    def core(self, kind: str) -> str:
        root = "/apis/batch/v1" if kind == "jobs" else "/api/v1"
        return f"{root}/namespaces/{self.namespace.name}/{kind}"

    @property
    def _provider(self) -> str:
        return f"{self.core('services')}/provider:8000/proxy/admin"

    def find(self) -> Manifest | None:
        found: Manifest | None = self.api.get(self.path())
        return found

    def requests(self) -> int:
        """Requests to the provider since the last `begin`."""
        return int(self.api.get(f"{self._provider}/stats")["requests"]) - self.counted_from

    def ours(self, kind: str) -> list[Manifest]:
        """Objects of a plural that the operator made, of all runs."""
        query = "labelSelector=app.kubernetes.io/managed-by%3Ddspy-swarm,dspy-swarm.dev/compilation-uid"
        found: list[Manifest] = self.api.get(f"{self.core(kind)}?{query}")["items"]
        return found

    # Moments.

    def when(self, happens: Callable[[], Any], seconds: float = 150) -> Any:
        """What it returns, as soon as that is true."""
        deadline = time.monotonic() + seconds
        while True:
            # The API server itself may be what is away.
            with contextlib.suppress(OSError, HTTPException, Refused):
                if found := happens():
                    return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._status()}\n{self.operator.log[-3000:]}")
            time.sleep(0.25)

    def pod(self, role: str, phase: str = "Running") -> Manifest:
        """A pod of a role ("plan", "work") in a phase, as soon as there is one. Pending: in that or a later one."""

        def there() -> Manifest | None:
            found = [pod for pod in self.ours("pods") if pod["metadata"]["labels"]["dspy-swarm.dev/role"] == role]
            return next((pod for pod in found if phase in ("Pending", pod["status"].get("phase"))), None)

        return self.when(there)  # type: ignore[no-any-return]

    def config_map(self, kind: str) -> Manifest:
        """One of our ConfigMaps of a kind ("run", "tasks", "results", "assignment"), as soon as there is one."""

        def there() -> Manifest | None:
            found = self.ours("configmaps")
            return next((item for item in found if item["metadata"]["labels"].get("dspy-swarm.dev/kind") == kind), None)

        return self.when(there)  # type: ignore[no-any-return]

    def paid(self, requests: int) -> None:
        """Returns when the provider has had so many requests."""
        self.when(lambda: self.requests() >= requests)

    def over(self, seconds: float = 360) -> Manifest:
        """The Compilation, when its run has ended."""
        return self.when(lambda: (found := self.find()) and is_over(found) and found, seconds)  # type: ignore[no-any-return]

    def _status(self) -> str:
        found = self.find()
        return json.dumps(found and found.get("status"), indent=1)

    # What must hold.

    def holds(self, *, lost: int = 0, saved: int = 0, restarts: bool = False) -> Manifest:
        """The run ends as if nothing had happened, and leaves nothing behind.

        Args:
            lost: most provider requests more than in an undisturbed run: what was in flight when something died.
            saved: most provider requests less than stock makes: what the provider has forgotten.
            restarts: whether the operator's process may end by itself and be started again by its kubelet.
        """
        assert self.reference is not None
        compilation = self.over()
        assert conditions(compilation) == PUBLISHED, compilation["status"]
        paid = self.requests()
        artifact = self.api.get(f"{self.core('configmaps')}/{self.name}-artifact")
        program = json.loads(artifact["data"]["program.json"])
        program.pop("metadata")
        assert program == self.reference.stock.program
        report = json.loads(artifact["data"]["report.json"])
        assert [candidate["score"] for candidate in report["candidates"]] == self.reference.stock.ranking
        # Stock's cache makes each call once; side by side, pods may make one more often.
        assert self.reference.stock.requests - saved <= paid <= self.reference.requests + lost
        status = compilation["status"]
        progress = status["progress"]
        assert progress["cellsDone"] == progress["cellsTotal"]
        assert progress["cellsTotal"] > 0 or report["reused"]["cells"] > 0
        assert status["artifact"]["sha256"] == artifact["metadata"]["annotations"]["dspy-swarm.dev/sha256"]
        self.settles(restarts=restarts)
        self.vanishes()
        return compilation

    def ends(self, reason: str, says: str = "") -> Manifest:
        """The run fails with this reason, pays for nothing more, and leaves nothing behind."""
        compilation = self.over()
        assert conditions(compilation) == failed(reason), compilation["status"]
        assert says in condition(compilation, "Stalled")["message"]  # type: ignore[index]
        self.settles()
        self.vanishes()
        return compilation

    def settles(self, *, restarts: bool = False) -> None:
        """A run is over: no pod or Job is left, its status is of the newest spec, the operator has nothing to do."""
        self.when(lambda: not self.ours("jobs") and not self.ours("pods"))
        compilation = self.find()
        assert compilation is not None
        assert compilation["status"]["observedGeneration"] == compilation["metadata"]["generation"]
        assert not compilation["metadata"].get("finalizers")
        self.rests(restarts=restarts)

    def rests(self, *, restarts: bool = False) -> None:
        """The operator comes to rest: it writes nothing, asks for little, and never fell."""
        began = time.monotonic()
        self.when(lambda: not self._lately(began, writes=True), seconds=30)
        late = self._lately(began)
        assert len(late) <= IDLE_READS, [str(call) for call in late]
        assert restarts or not self.operator.exits, self.operator.log[-3000:]
        assert OUR_FAULT not in self.operator.log, self.operator.log[-3000:]
        assert "rehearsal-key" not in self.operator.log

    def _lately(self, began: float, *, writes: bool = False) -> list[Call]:
        """Requests of the last QUIET seconds, of which none is before `began`."""
        time.sleep(max(0.0, began + QUIET - time.monotonic()))
        since = time.monotonic() - QUIET
        return [call for call in self.proxy.seen if call.at > since and (call.writes or not writes)]

    def vanishes(self) -> None:
        """A deleted Compilation takes everything with it."""
        self.delete()
        self.gone()

    def gone(self) -> None:
        """Nothing of it is left."""
        self.when(lambda: self.find() is None)
        for kind in ("jobs", "pods", "configmaps"):
            self.when(lambda kind=kind: not self.ours(kind))  # type: ignore[misc]


def conditions(compilation: Manifest) -> dict[str, tuple[str, str]]:
    return {found["type"]: (found["status"], found["reason"]) for found in compilation["status"]["conditions"]}


def small(name: str, **spec: Any) -> Manifest:
    """The compile of CASE. `spec` replaces whole fields of its spec."""

    def data(file: str, limit: int) -> Manifest:
        return {"configMap": {"name": "triage-data", "key": f"{file}.jsonl"}, "limit": limit}

    key = {"secret": {"name": "provider-key", "key": "api-key"}}
    fields: dict[str, Any] = {
        "data": {"inputs": ["ticket"], "train": data("train", TRAIN), "validation": data("validation", VALIDATION)},
        "models": {"student": {"model": "openai/small", "endpoint": ENDPOINT, "apiKey": key}},
        "optimizer": {"bootstrapFewShotWithRandomSearch": {"numCandidatePrograms": 1, "maxLabeledDemos": 4}},
        "swarm": {"pods": PODS, "threadsPerPod": THREADS},
    }
    return triage(name, **{**fields, **spec})
