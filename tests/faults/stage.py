"""A small compile on the cluster, its operator behind a fault proxy, and the promises that must hold after any fault.

The compile has every part of a run: two rounds, plans that make calls themselves, two worker pods, a
bootstrap, guesses.
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
from support.cluster import Manifest, Namespace, condition, is_over
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
"""Calls lost with a pod: those of a cell for each thread. A bootstrap is a cell, too, but reports each call."""
A_PLAN = VALIDATION * CALLS_PER_CELL
"""Calls of a wave that a plan runs itself."""
UNREAD = THREADS
"""Further calls lost with a pod whose output vanishes: those printed since the operator read it last."""
ENDING = PODS * THREADS * CALLS_PER_CELL + TRAIN * BOOTSTRAPS * CALLS_PER_CELL
"""Calls that start at most after the end of a run: pods finish their current cells, or a bootstrap."""

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
"""Seconds: longer than the time between two reads of a pod's output."""
RESYNCS = 1
"""Consecutive complete looks without a write that show an idle operator."""
QUIET = 2.0
"""Seconds in which the requests of an idle operator are counted."""
IDLE_READS = 40
"""More requests than this in QUIET seconds are a loop: an idle operator lists everything every 3 seconds."""
PUBLISHED = {"Ready": ("True", "Published"), "Succeeded": ("True", "Published")}


def failed(reason: str) -> dict[str, tuple[str, str]]:
    """The conditions of a run that ended without an artifact."""
    return {"Ready": ("False", reason), "Stalled": ("True", reason), "Succeeded": ("False", reason)}


@dataclass(frozen=True)
class Undisturbed:
    """Facts about an undisturbed run."""

    stock: StockRun
    bill: Bill
    writes: list[Call]

    @property
    def requests(self) -> int:
        return len(self.bill)


@dataclass
class Told:
    """A Compilation's statuses, look by look.

    Attributes:
        runs: their ids.
        falls: figures that decreased although they may only grow.
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
        operators: how many serve it; a case may add another. harmed_at: the moment of the fault, by the wall clock.
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

    # What happens.

    def begin(self, **spec: Any) -> None:
        """kubectl apply. The provider counts from here; settings of its answers stay."""
        self.counted_from += self.requests()
        manifest = small(self.name, **spec)
        manifest["metadata"]["namespace"] = self.namespace.name
        self.api.send("POST", self.path(""), manifest)

    def harms(self) -> None:
        """Marks the moment of the fault: calls read before it must not be paid for again."""
        self.harmed_at = time.time()

    def ready(self) -> None:
        """The provider is in its initial state, and nothing of another case is left."""
        # After an absence of the node, its pods become reachable only after some time.
        self.when(lambda: self.api.send("POST", f"{self._provider}/reset", {}) is not None)
        for found in self.api.get(self.path(""))["items"]:
            self.api.send("DELETE", self.path(found["metadata"]["name"]), {})

    def slow(self, seconds: float = 0.7) -> None:
        """The provider answers slowly enough to catch pods at work."""
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
        if found is not None:
            self.told.hear(found)
        return found

    def requests(self) -> int:
        """The number of requests to the provider that ended since the last `begin`."""
        return int(self.api.get(f"{self._provider}/stats")["requests"]) - self.counted_from

    def bill(self) -> Bill:
        """The bill since the last `begin`."""
        return Bill.of(self.api.get(f"{self._provider}/requests?after={self.counted_from}")["requests"])

    def attempts(self, role: str) -> int:
        """The highest number of an attempt by the operator."""
        jobs = [json.loads(call.body) for call in self.proxy.writes if (call.verb, call.resource) == ("create", "jobs")]
        labels = [job["metadata"]["labels"] for job in jobs]
        found = [int(each["dspy-swarm.dev/attempt"]) for each in labels if each["dspy-swarm.dev/role"] == role]
        return max(found, default=0)

    def ours(self, kind: str) -> list[Manifest]:
        """Objects of a plural that the operator made, of all runs."""
        query = "labelSelector=app.kubernetes.io/managed-by%3Ddspy-swarm,dspy-swarm.dev/compilation-uid"
        found: list[Manifest] = self.api.get(f"{self.core(kind)}?{query}")["items"]
        return found

    # Moments.

    def when(self, happens: Callable[[], Any], seconds: float = 150) -> Any:
        """Returns the result of the function, as soon as that is true."""
        deadline = time.monotonic() + seconds
        while True:
            # The API server itself may be unreachable.
            with contextlib.suppress(OSError, HTTPException, Refused):
                if found := happens():
                    return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._status()}\n{self.operator.log[-3000:]}")
            time.sleep(0.25)

    def pod(self, role: str, phase: str = "Running") -> Manifest:
        """A pod of a role ("plan", "work") in a phase, as soon as it exists. Pending: in that phase or a later one."""

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
        """Waits until the provider has had this number of requests."""
        self.when(lambda: self.requests() >= requests)

    def over(self, seconds: float = 360) -> Manifest:
        """The Compilation, when its run has ended."""
        return self.when(lambda: (found := self.find()) and is_over(found) and found, seconds)  # type: ignore[no-any-return]

    def _status(self) -> str:
        found = self.find()
        return json.dumps(found and found.get("status"), indent=1)

    # What must hold.

    def holds(
        self, *, lost: int = 0, saved: int = 0, restarts: bool = False, forgets: bool = False, unseen: bool = False
    ) -> Manifest:
        """The run ends as if undisturbed, and leaves nothing behind.

        Args:
            lost: the most calls paid for beyond those of an undisturbed run: in flight at the fault, or repeated.
            saved: the most calls fewer than stock makes, because the provider's log lost them.
            restarts: whether the operator's process may end by itself, for its kubelet to restart it.
            forgets: whether the journal itself was harmed, so that known results may disappear.
            unseen: whether pods unknown to this Compilation called the provider, too.
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
        """Only necessary calls were paid for, and the status reports them. Requires that no pod is left.

        Args:
            told: whether the status can know all of them.
        """
        assert self.reference is not None
        bill, usual = self.bill(), self.reference.bill.again
        again = bill.again - usual
        print(f"{len(bill)} calls, {again.total()} of them again, {lost} at most")
        # Stock's cache makes each call once; concurrent pods may repeat a call.
        assert self.reference.stock.requests - saved <= len(bill) <= self.reference.requests + lost
        assert again.total() <= lost, again
        if self.harmed_at is not None:
            forgotten = bill.forgotten(self.harmed_at - READ_WITHIN, self.harmed_at) - {*usual}
            assert not forgotten, f"{len(forgotten)} calls were answered long before the harm, and asked for again"
        found = self.find()
        assert found is not None
        usage = found["status"]["usage"]
        repeated = usage.get("repeatedCalls", 0)
        if told and len(self.told.runs) == 1 and not saved:
            assert repeated >= again.total(), usage
            assert usage["calls"] + repeated >= len(bill) - usual.total(), usage

    def tells(self, forgets: bool) -> None:
        """The operator's statuses and Events never went back, were not repeated over and over, and hold no secret."""
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
        """The run fails with this reason, makes at most `more` calls that were in flight, and leaves nothing."""
        compilation = self.over()
        asked = self.requests()
        assert conditions(compilation) == failed(reason), compilation["status"]
        assert says in condition(compilation, "Stalled")["message"]  # type: ignore[index]
        self.settles()
        assert self.requests() - asked <= more
        self.vanishes()
        return compilation

    def settles(self, *, restarts: bool = False) -> None:
        """A run is over: no pod or Job is left, its status is of the newest spec, the operator is idle, and nobody
        calls the provider."""
        self.when(lambda: not self.ours("jobs") and not self.ours("pods"))
        asked = self.requests()
        compilation = self.find()
        assert compilation is not None
        assert compilation["status"]["observedGeneration"] == compilation["metadata"]["generation"]
        assert not compilation["metadata"].get("finalizers")
        self.rests(restarts=restarts)
        assert self.requests() == asked

    def rests(self, *, restarts: bool = False) -> None:
        """The operator is idle: it looks at everything, writes nothing, sends few requests, and did not crash."""
        began = time.monotonic()
        self.when(lambda: self.resyncs(began) > RESYNCS * self.operators, seconds=60)
        # An operator killed at its last write sends many requests at its start.
        self.when(lambda: len(self.late) <= IDLE_READS, seconds=10)
        exits = sum(len(rule.hit) for rule in self.proxy.rules) + 1 if restarts else 0
        assert len(self.operator.exits) <= exits, self.operator.log[-3000:]
        assert OUR_FAULT not in self.operator.log, self.operator.log[-3000:]
        assert API_KEY not in self.operator.log

    @property
    def late(self) -> list[Call]:
        """The operator's latest requests."""
        return [call for call in self.proxy.seen if call.at > time.monotonic() - QUIET]

    def resyncs(self, began: float) -> int:
        """The number of complete looks since `began` and the last write."""
        quiet = max([began, *(call.at for call in self.proxy.writes)])
        looks = [call for call in self.proxy.seen if (call.verb, call.resource) == ("list", "dspycompilations")]
        return sum(call.at > quiet for call in looks)

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
    """The Compilation of CASE. `spec` replaces whole fields of its spec."""

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
