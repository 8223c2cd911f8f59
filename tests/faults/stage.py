"""Runs a small compile on the cluster, with an operator behind a fault proxy. Checks what must hold after any fault.

The compile has every part of a run: two rounds, plans that make LM calls, two worker pods, a bootstrap and guesses.
"""

import base64
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from faults.bill import Bill
from faults.process import OUR_FAULT, Operator
from faults.proxy import Call, FaultProxy
from support.api import Api, Refused
from support.cluster import Manifest, Namespace, condition, is_over, is_stuck
from support.compiles import Case, StockRun
from support.e2e import API_KEY, ENDPOINT, triage

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
A_POD = THREADS * CALLS_PER_CELL
"""The calls that a pod loses when it dies: those of one cell in each thread. A bootstrap loses only one call."""
A_PLAN = VALIDATION * CALLS_PER_CELL
"""The calls of a wave that a plan runs itself."""
UNREAD = THREADS
"""The further calls that are lost if a pod's log vanishes: those printed since the operator last read it."""
ENDING = PODS * THREADS * CALLS_PER_CELL + TRAIN * BOOTSTRAPS * CALLS_PER_CELL
"""The most calls after the end of a run, since pods finish their current cells or a bootstrap."""

GROUP = "/apis/dspy-swarm.dev/v1alpha1"
SETTINGS = {
    "gather_interval": 1,
    "pending_deadline": 20,
    "retry_delay": 1,
    "resync_interval": 3,
    "lost_after": 5,
    "log_deadline": 10,
    "worker_image": "dspy-swarm/worker:dev",
}
READ_WITHIN = 3.0
"""The operator reads a pod's log at least once in so many seconds."""
RESYNCS = 1
"""An operator is idle if it lists Compilations more often than this without a write."""
QUIET = 2.0
"""Seconds during which a test counts the requests of an idle operator."""
IDLE_READS = 40
"""The most requests of an idle operator in QUIET seconds. It lists everything every 3 seconds."""
PUBLISHED = {"Ready": ("True", "Published"), "Succeeded": ("True", "Published")}


def failed(reason: str) -> dict[str, tuple[str, str]]:
    """Returns the conditions of a run that failed for this reason."""
    return {"Ready": ("False", reason), "Stalled": ("True", reason), "Succeeded": ("False", reason)}


def stuck(reason: str) -> dict[str, tuple[str, str]]:
    """Returns the conditions of a run that something outside of it has kept from going on for long."""
    return {"Ready": ("False", reason), "Stalled": ("True", reason), "Succeeded": ("Unknown", reason)}


@dataclass(frozen=True)
class Undisturbed:
    """Facts about a run without faults."""

    stock: StockRun
    bill: Bill
    writes: list[Call]

    @property
    def requests(self) -> int:
        return len(self.bill)


@dataclass
class Told:
    """Records the statuses of a Compilation, each time that the test looks.

    Attributes:
        runs: holds the ids of the runs that the statuses named.
        falls: describes numbers in the status that became smaller, although they may only grow.
    """

    runs: set[str] = field(default_factory=set)
    falls: list[str] = field(default_factory=list)
    _highest: dict[str, int] = field(default_factory=dict)

    def hear(self, compilation: Manifest) -> None:
        uid, status = compilation["metadata"]["uid"], compilation.get("status") or {}
        if "observedGeneration" in status:
            self._rises(f"{uid}: observedGeneration", status["observedGeneration"])
        if "runId" in status:
            self.runs.add(status["runId"])
            self._rises(f"{status['runId']}: cellsDone", (status.get("progress") or {}).get("cellsDone", 0))

    def _rises(self, name: str, value: int) -> None:
        before = self._highest.get(name, value)
        if value < before:
            self.falls.append(f"{name} was {before}, then {value}")
        self._highest[name] = max(value, before)


@dataclass
class Stage:
    """A namespace with a provider, and an operator that serves only this namespace, through `proxy`.

    Attributes:
        operators: counts the operators that serve the namespace. A case may add another.
        harmed_at: is the time of the fault by the wall clock.
    """

    namespace: Namespace
    api: Api
    proxy: FaultProxy
    operator: Operator
    reference: Undisturbed | None = None
    name: str = "compile"
    counted_from: int = 0
    operators: int = 1
    harmed_at: float | None = None
    told: Told = field(default_factory=Told)

    # Actions of a case

    def begin(self, **spec: Any) -> None:
        """Creates the Compilation. The provider's requests count from now on; its faults stay."""
        self.counted_from += self.requests()
        manifest = small(self.name, **spec)
        manifest["metadata"]["namespace"] = self.namespace.name
        self.api.send("POST", self.path(""), manifest)

    def harms(self) -> None:
        """Marks the moment of the fault. The run must not pay again for calls that the operator read before this
        moment."""
        self.harmed_at = time.time()

    def ready(self) -> None:
        """Resets the provider, and deletes what other cases have left."""
        # When a disconnected node is connected again, its pods become reachable only after some time.
        self.when(lambda: self.api.send("POST", f"{self._provider}/reset", {}) is not None)
        for found in self.api.get(self.path(""))["items"]:
            self.api.send("DELETE", self.path(found["metadata"]["name"]), {})

    def slow(self, seconds: float = 0.7) -> None:
        """Makes the provider answer slowly, so that a case can catch pods at work."""
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

    # Facts about the cluster and the provider

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
        if found is not None:
            self.told.hear(found)
        return found

    def requests(self) -> int:
        """Returns the number of requests to the provider that have ended since the last `begin`."""
        return int(self.api.get(f"{self._provider}/stats")["requests"]) - self.counted_from

    def bill(self) -> Bill:
        """Returns the provider's bill since the last `begin`."""
        return Bill.of(self.api.get(f"{self._provider}/requests?after={self.counted_from}")["requests"])

    def attempts(self, role: str) -> int:
        """Returns the highest number of an attempt among the Jobs of a role."""
        jobs = [json.loads(call.body) for call in self.proxy.writes if (call.verb, call.resource) == ("create", "jobs")]
        labels = [job["metadata"]["labels"] for job in jobs]
        found = [int(each["dspy-swarm.dev/attempt"]) for each in labels if each["dspy-swarm.dev/role"] == role]
        return max(found, default=0)

    def ours(self, kind: str) -> list[Manifest]:
        """Returns all objects of a kind, given by its plural, that the operator made for any run."""
        query = "labelSelector=app.kubernetes.io/managed-by%3Ddspy-swarm,dspy-swarm.dev/compilation-uid"
        found: list[Manifest] = self.api.get(f"{self.core(kind)}?{query}")["items"]
        return found

    # Moments that a case waits for

    def when(self, happens: Callable[[], Any], seconds: float = 150) -> Any:
        """Calls the function until its result is true, and returns the result."""
        deadline = time.monotonic() + seconds
        while True:
            # The fault may make the API server unreachable.
            with contextlib.suppress(OSError, HTTPException, Refused):
                if found := happens():
                    return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._status()}\n{self.operator.log[-3000:]}")
            time.sleep(0.25)

    def pod(self, role: str, phase: str = "Running") -> Manifest:
        """Waits for a pod of a role ("plan", "work") in this phase, and returns it. "Pending" stands for any phase."""

        def there() -> Manifest | None:
            found = [pod for pod in self.ours("pods") if pod["metadata"]["labels"]["dspy-swarm.dev/role"] == role]
            return next((pod for pod in found if phase in ("Pending", pod["status"].get("phase"))), None)

        return self.when(there)  # type: ignore[no-any-return]

    def config_map(self, kind: str) -> Manifest:
        """Waits for a ConfigMap of a kind ("run", "tasks", "results", "assignment"), and returns it."""

        def there() -> Manifest | None:
            found = self.ours("configmaps")
            return next((item for item in found if item["metadata"]["labels"].get("dspy-swarm.dev/kind") == kind), None)

        return self.when(there)  # type: ignore[no-any-return]

    def paid(self, requests: int) -> None:
        """Waits until the provider has answered so many requests."""
        self.when(lambda: self.requests() >= requests)

    def over(self, seconds: float = 360) -> Manifest:
        """Waits until the run has ended, and returns the Compilation."""
        return self.when(lambda: (found := self.find()) and is_over(found) and found, seconds)  # type: ignore[no-any-return]

    def _status(self) -> str:
        found = self.find()
        return json.dumps(found and found.get("status"), indent=1)

    # Assertions

    def holds(
        self, *, lost: int = 0, saved: int = 0, restarts: bool = False, forgets: bool = False, unseen: bool = False
    ) -> Manifest:
        """Asserts that the run ends as a run without faults does, and leaves nothing behind.

        Args:
            lost: the run may pay for so many calls more than a run without faults. They were in flight at the fault, or
                are repeated.
            saved: the provider's log may show so many calls fewer than stock DSPy makes, because the log lost them.
            restarts: if true, the operator's process may end by itself, so that its kubelet restarts it.
            forgets: if true, the fault has damaged the journal, so known results may disappear.
            unseen: if true, pods that do not belong to this Compilation have also called the provider.
        """
        assert self.reference is not None
        compilation = self.over()
        assert conditions(compilation) == PUBLISHED, compilation["status"]
        artifact = self.api.get(f"{self.core('configmaps')}/{self.name}-artifact")
        program = json.loads(artifact["data"]["program.json"])
        program.pop("metadata")
        assert program == self.reference.stock.program
        report = json.loads(artifact["data"]["report.json"])
        assert [candidate["score"] for candidate in report["candidates"]] == self.reference.stock.ranking
        self.settles(restarts=restarts)
        self.costs(lost, saved, told=not (forgets or unseen))
        self.tells(forgets)
        self.vanishes()
        return compilation

    def costs(self, lost: int, saved: int, *, told: bool = True) -> None:
        """Asserts that the run paid only for necessary calls, and that its status reports them. No pod may be left.

        Args:
            told: if true, the status knows all paid calls.
        """
        assert self.reference is not None
        bill, usual = self.bill(), self.reference.bill.again
        # Concurrent pods may repeat a call, and which calls these are depends on time.
        again = max(0, bill.again.total() - usual.total())
        print(f"{len(bill)} calls, {again} more of them again, {lost} at most")
        assert self.reference.stock.requests - saved <= len(bill) <= self.reference.requests + lost
        assert again <= lost, bill.again
        if self.harmed_at is not None:
            forgotten = bill.forgotten(self.harmed_at - READ_WITHIN, self.harmed_at) - {*usual}
            assert not forgotten, f"{len(forgotten)} calls were answered long before the harm, and asked for again"
        found = self.find()
        assert found is not None
        usage = found["status"]["usage"]
        repeated = usage.get("repeatedCalls", 0)
        if told and len(self.told.runs) == 1 and not saved:
            assert repeated >= again, usage
            assert usage["calls"] + repeated >= len(bill) - usual.total(), usage

    def tells(self, forgets: bool) -> None:
        """Asserts that the operator's statuses and Events never went back, did not repeat, and hold no secret."""
        found = self.find()
        assert found is not None
        assert forgets or not self.told.falls, self.told.falls
        about = f"fieldSelector=involvedObject.uid%3D{found['metadata']['uid']}"
        events = self.api.get(f"{self.core('events')}?{about}")["items"]
        if len(self.told.runs) == 1:
            said = Counter((event["reason"], event["message"]) for event in events)
            assert not said - Counter({*said}), said
        status = [call for call in self.proxy.writes if call.resource.endswith("/status") and call.name == self.name]
        injected = sum(call in rule.hit for rule in self.proxy.rules for call in status)
        most = (status[-1].at - status[0].at + 2 * self.operator.starts) * self.operators + injected + 2
        assert len(status) <= most, [str(call) for call in status]
        maps = self.ours("configmaps")
        kept = [
            json.dumps([found, events]).encode(),
            *(text.encode() for item in maps for text in item.get("data", {}).values()),
            *(base64.b64decode(data) for item in maps for data in item.get("binaryData", {}).values()),
        ]
        assert not any(API_KEY.encode() in each for each in kept)

    def ends(self, reason: str, says: str = "", *, more: int = ENDING) -> Manifest:
        """Asserts that the run fails with this reason, then makes at most `more` calls, and leaves nothing behind."""
        compilation = self.over()
        asked = self.requests()
        assert conditions(compilation) == failed(reason), compilation["status"]
        assert says in condition(compilation, "Stalled")["message"]  # type: ignore[index]
        self.settles()
        assert self.requests() - asked <= more
        self.vanishes()
        return compilation

    def stalls(self, reason: str, says: str = "") -> None:
        """Asserts that the run waits for something outside of it, and meanwhile spends nothing."""
        compilation = self.when(lambda: (found := self.find()) and is_stuck(found) and found, 360)
        assert conditions(compilation) == stuck(reason), compilation["status"]
        assert says in condition(compilation, "Stalled")["message"]  # type: ignore[index]
        asked = self.requests()
        time.sleep(QUIET)
        assert self.requests() == asked

    def goes_on(self) -> None:
        """Waits until a Compilation is no longer Stalled."""
        self.when(lambda: (found := self.find()) and not condition(found, "Stalled"))

    def settles(self, *, restarts: bool = False) -> None:
        """Asserts that nothing of a run goes on: no pod or Job is left, the operator is idle, and nobody calls the
        provider. The status is that of the newest spec."""
        self.when(lambda: not self.ours("jobs") and not self.ours("pods"))
        asked = self.requests()
        compilation = self.find()
        assert compilation is not None
        assert compilation["status"]["observedGeneration"] == compilation["metadata"]["generation"]
        assert not compilation["metadata"].get("finalizers")
        self.rests(restarts=restarts)
        assert self.requests() == asked

    def rests(self, *, restarts: bool = False) -> None:
        """Asserts that the operator is idle: it lists the cluster, writes nothing, sends few requests, and runs on."""
        began = time.monotonic()
        self.when(lambda: self.resyncs(began) > RESYNCS * self.operators, seconds=60)
        # An operator that was killed at its last write sends many requests when it starts again.
        self.when(lambda: len(self.late) <= IDLE_READS, seconds=10)
        exits = sum(len(rule.hit) for rule in self.proxy.rules) + 1 if restarts else 0
        assert len(self.operator.exits) <= exits, self.operator.log[-3000:]
        assert OUR_FAULT not in self.operator.log, self.operator.log[-3000:]
        assert API_KEY not in self.operator.log

    @property
    def late(self) -> list[Call]:
        """Returns the operator's requests of the last seconds."""
        return [call for call in self.proxy.seen if call.at > time.monotonic() - QUIET]

    def resyncs(self, began: float) -> int:
        """Returns how often the operator has listed Compilations since `began` and since its last write."""
        quiet = max([began, *(call.at for call in self.proxy.writes)])
        looks = [call for call in self.proxy.seen if (call.verb, call.resource) == ("list", "dspycompilations")]
        return sum(call.at > quiet for call in looks)

    def vanishes(self) -> None:
        """Deletes the Compilation, and asserts that all its objects disappear."""
        self.delete()
        self.gone()

    def gone(self) -> None:
        """Waits until neither the Compilation nor any of its objects is left."""
        self.when(lambda: self.find() is None)
        for kind in ("jobs", "pods", "configmaps"):
            self.when(lambda kind=kind: not self.ours(kind))  # type: ignore[misc]


def conditions(compilation: Manifest) -> dict[str, tuple[str, str]]:
    return {found["type"]: (found["status"], found["reason"]) for found in compilation["status"]["conditions"]}


def small(name: str, **spec: Any) -> Manifest:
    """Returns the Compilation of CASE. `spec` replaces whole fields of its spec."""

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
