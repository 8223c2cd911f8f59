"""A cluster in memory for tests of the operator: an API server, a Job controller, a garbage collector and a kubelet.

It has only the features that the operator relies on (names, uids, preconditions, finalizers, owners, immutable
ConfigMaps). `kube_contract` tests these features here and on a real API server.

Objects called stand-ins replace the pods' processes. They read the pods' mounts and print real records: a compile of
ROUNDS rounds with CELLS cells each, and two LM calls in each cell. A cell reports its first call separately, so the run
does not pay for it again if the pod dies before the second. Each plan also makes one call. Stand-ins keep to their
allowance, as real pods do.
"""

import asyncio
import base64
import copy
import fnmatch
import functools
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from swarm_operator.cluster import errors
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS, JOBS, MANAGER, PODS, Resource
from swarm_operator.compilation.api import API_VERSION, COMPILATIONS, FINALIZER, KIND, LABEL_RUN
from swarm_operator.trigger.api import TRIGGERS
from swarm_wire import names
from swarm_wire.messages import (
    ArtifactHeader,
    Assignment,
    CallMade,
    Cell,
    EffectKind,
    Ending,
    Outcome,
    Pending,
    PlanEnd,
    PlanOutcome,
    Pushed,
    PushOutcome,
    Result,
    RunRequest,
    Snapshot,
    Task,
)
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.pod_output import Writer, commit_text
from swarm_wire.records import Record, RecordKind
from swarm_wire.report import Candidate, Report, Scores
from swarm_wire.shards import unpack
from swarm_wire.spending import Allowance, Booked, Spending, Usage

Object = dict[str, Any]

NAMESPACE = "team"
ROUNDS, CELLS, CALLS = 2, 6, 2
MICRO_USD = 7
"""The cost of each LM call in millionths of a US dollar."""
PROGRAM = '{"predict": {"demos": [1, 2]}}'
SNAPSHOT = b"an archive"
"""The files that a fetch brings, in two parts."""
DATA = b'{"question": "data from a URL"}'
"""Each file that a download brings, in two parts."""
COMMIT = "c" * 40
KILLED = 137
"""The exit code of a container that ends without a termination message."""


NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LOST = errors.Unavailable("no answer in time")


class Killed(BaseException):
    """Ends the operator's process, as a kill does."""


def digest(*parts: object) -> str:
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()


@dataclass
class Faults:
    """Faults of pods. Each function gets the name of the pod's Job and the pod's index."""

    exit_code: Callable[[str, int], int] = lambda job, index: 0
    """If the code is not 0, the pod prints three quarters of its records and ends with this code."""
    silent: Callable[[str, int], bool] = lambda job, index: False
    """If true, the pod ends without an error, but nobody can read its log."""
    stuck: Callable[[str, int], Object | None] = lambda job, index: None
    """Returns the waiting state of a container that never starts."""
    lingers: int = 0
    """The number of steps for which a deleted pod continues. In each step it prints another record."""
    commit_reason: str | None = None
    commit_message: str | None = None


@dataclass
class FakeCluster:
    """Implements the operator's interface `Kube` in memory. `step` lets controllers and pods do a little work."""

    now: datetime = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    faults: Faults = field(default_factory=Faults)
    slow: Callable[[str], timedelta] = lambda key: timedelta()
    """How long a service takes for the result of a cell with this key. If it takes any time, the cell waits for it."""
    services: dict[str, datetime] = field(default_factory=dict)
    """Key of a cell -> when the service began with its result."""
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    kill_at: tuple[int, bool] | None = None
    """The number of the write at which the operator dies, and whether it dies after the write (True) or before."""
    kills_always: bool = False
    """If true, the operator dies after every write, even a refused write."""
    denied: str = ""
    """Writes fail whose text begins with this prefix."""
    denial: errors.ApiError = field(default_factory=lambda: errors.Forbidden("a webhook denies it"))
    answers: dict[int, errors.ApiError] = field(default_factory=dict)
    """The error with which the API server answers the operator's write of this number. With `LOST`, the write takes
    place nevertheless."""
    paid: list[str] = field(default_factory=list)
    """The keys of the cells that pods computed, in order. Each should occur once."""
    called: list[str] = field(default_factory=list)
    """The keys of the LM calls that pods made inside cells and reported."""
    proposed: list[str] = field(default_factory=list)
    """The keys of the LM calls that plans made."""
    commits: dict[str, str] = field(default_factory=dict)
    """The commit that the git server has of each run."""
    bill: Counter[str] = field(default_factory=Counter)
    """The number of LM calls that the pods of each run paid for."""
    running: dict[str, "StandIn"] = field(default_factory=dict)
    terminating: bool = False
    """If true, the namespace is being deleted. Then nothing can be created, and all other objects disappear after the
    last pod."""
    rejected: str | None = None
    """The reason for which the Job controller creates no pods, if there is one."""
    _versions: Any = field(default_factory=lambda: itertools.count(1))

    # The API server

    async def get(self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False) -> Object | None:
        await asyncio.sleep(0)
        found = self.objects.get((resource.plural, name))
        return _answer(found, metadata_only) if found else None

    async def select(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Sequence[Object]:
        await asyncio.sleep(0)
        wanted = dict(part.split("=", 1) for part in labels.split(",") if part)
        having = dict(part.split("=", 1) for part in fields.split(",") if part)
        return [
            _answer(item, metadata_only)
            for (plural, _), item in sorted(self.objects.items())
            if plural == resource.plural
            and wanted.items() <= (item["metadata"].get("labels") or {}).items()
            and all(_field(item, path) == value for path, value in having.items())
        ]

    async def create(self, resource: Resource, namespace: str, body: Object) -> None:
        with self._write("create", resource, body["metadata"]["name"]):
            if self.terminating:
                raise errors.from_response(403, "Forbidden", f"namespace {namespace} is being terminated")
            if not NAME.fullmatch(body["metadata"]["name"]):
                raise errors.Rejected("metadata.name is invalid")
            if (resource.plural, body["metadata"]["name"]) in self.objects:
                raise errors.Exists("already exists")
            for entry in self.put(resource, body)["metadata"]["managedFields"]:
                entry["operation"] = "Update"

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        subresource: str = "",
        force: bool = False,
    ) -> None:
        with self._write("apply", resource, name):
            found, wanted = self.objects.get((resource.plural, name)), body["metadata"]
            if found is None:
                if subresource:
                    raise errors.Vanished("not found")
                self.put(resource, body)
                return
            for precondition in ("uid", "resourceVersion"):
                if wanted.get(precondition) not in (None, found["metadata"][precondition]):
                    raise errors.Conflict(f"{precondition} differs")
            if not subresource and found.get("data") not in (None, body.get("data")):
                if any(entry.get("operation") == "Update" for entry in found["metadata"]["managedFields"]):
                    raise errors.Conflict("data was created, not applied")
                if found.get("immutable"):
                    raise errors.Rejected("data is immutable")
            if subresource:
                # A real API server turns an object without fields into null, and then refuses it.
                assert {} not in body["status"].values()
                found["status"] = copy.deepcopy(body["status"])
            else:
                kept = {key: found["metadata"][key] for key in ("uid", "creationTimestamp", "managedFields")}
                if "generation" in found["metadata"]:
                    kept["generation"] = found["metadata"]["generation"] + (found.get("spec") != body.get("spec"))
                for entry in kept["managedFields"]:
                    entry["operation"] = "Apply"
                found.update(copy.deepcopy(body), metadata={**copy.deepcopy(wanted), **kept})
            found["metadata"]["resourceVersion"] = str(next(self._versions))

    async def patch(
        self, resource: Resource, namespace: str, name: str, operations: Sequence[Object], *, subresource: str = ""
    ) -> None:
        with self._write("patch", resource, name):
            found = self._found(resource, name)
            if subresource and subresource not in found:
                raise errors.Rejected(f"there is no {subresource}")
            for operation in operations:
                *path, last = operation["path"].split("/")[1:]
                place = functools.reduce(lambda at, step: at[int(step) if isinstance(at, list) else step], path, found)
                position = int(last) if isinstance(place, list) else last
                match operation["op"]:
                    case "test" if place[position] != operation["value"]:
                        raise errors.Rejected(f"{operation['path']} differs")
                    case "replace" | "add":
                        place[position] = copy.deepcopy(operation["value"])
                    case "remove":
                        assert place[position] == FINALIZER, "what else is not ours to remove"
                        del place[position]
            found["metadata"]["resourceVersion"] = str(next(self._versions))
            if "deletionTimestamp" in found["metadata"]:
                self.remove(resource, name)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        with self._write("delete", resource, name):
            found = self._found(resource, name)
            if found["metadata"]["uid"] != uid:
                raise errors.Conflict("uid differs")
            self.remove(resource, name)

    async def log(self, namespace: str, pod: str, container: str, *, limit: int, timeout: float) -> bytes:
        """Returns a pod's log. A kubelet without the log answers with 200 and the text `gone`."""
        await asyncio.sleep(0)
        if ("pods", pod) not in self.objects:
            raise errors.Vanished("not found")
        gone = f"unable to retrieve container logs for containerd://{digest(pod)}"
        return self.logs.get(pod, gone).encode()[:limit]

    # Actions of tests and controllers

    def put(self, resource: Resource, body: Object) -> Object:
        made = copy.deepcopy(body)
        metadata = made["metadata"]
        metadata.setdefault("namespace", NAMESPACE)
        version = str(next(self._versions))
        metadata |= {"uid": metadata.get("uid") or f"uid-{version}", "resourceVersion": version}
        metadata["creationTimestamp"] = _text(self.now)
        metadata["managedFields"] = [{"manager": MANAGER, "fieldsV1": {"f:data": {}}}]
        if "spec" in made:
            metadata.setdefault("generation", 1)
        self.objects[resource.plural, metadata["name"]] = made
        return made

    def compilation(self, spec: Object, name: str = "triage") -> Object:
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "generation": 1}, "spec": spec}
        return self.put(COMPILATIONS, {**body, "status": {"observedGeneration": -1}})

    def config_map(self, name: str, **data: str) -> None:
        self.put(CONFIG_MAPS, {"metadata": {"name": name}, "data": data})

    def of(self, resource: Resource, pattern: str = "*") -> list[Object]:
        return [
            item
            for (plural, name), item in sorted(self.objects.items())
            if plural == resource.plural and fnmatch.fnmatch(name, pattern)
        ]

    def remove(self, resource: Resource, name: str) -> None:
        """Deletes an object in the background. If it has finalizers or runs, it only gets a deletionTimestamp."""
        found = self.objects.get((resource.plural, name))
        if found is None:
            return
        running = resource == PODS and found["status"].get("phase") in ("Pending", "Running")
        if found["metadata"].get("finalizers") or running:
            found["metadata"].setdefault("deletionTimestamp", _text(self.now + timedelta(seconds=30)))
            return
        del self.objects[resource.plural, name]

    def step(self, seconds: float = 1) -> None:
        """Lets time pass, collects garbage, creates the Jobs' pods, and lets pods continue their work."""
        self.now += timedelta(seconds=seconds)
        self._collect_garbage()
        for job in self.of(JOBS):
            self._control(job)
        for pod in self.of(PODS):
            self._run(pod)

    def started(self, pod: Object, index: int) -> "StandIn":
        """Returns the stand-in for the process of a pod."""
        return StandIn(self, pod, index)

    def _found(self, resource: Resource, name: str) -> Object:
        found = self.objects.get((resource.plural, name))
        if found is None:
            raise errors.Vanished("not found")
        return found

    def _write(self, verb: str, resource: Resource, name: str) -> "_Write":
        return _Write(self, f"{verb} {resource.plural}/{name}")

    def _collect_garbage(self) -> None:
        uids = {item["metadata"]["uid"] for item in self.objects.values()}
        for (plural, name), item in list(self.objects.items()):
            resource = next(
                known for known in (COMPILATIONS, TRIGGERS, CONFIG_MAPS, JOBS, PODS, EVENTS) if known.plural == plural
            )
            owners = item["metadata"].get("ownerReferences") or []
            marked = "deletionTimestamp" in item["metadata"]
            if marked or (owners and not any(owner["uid"] in uids for owner in owners)):
                self.remove(resource, name)

    def _control(self, job: Object) -> None:
        spec, name, uid = job["spec"], job["metadata"]["name"], job["metadata"]["uid"]
        if self.rejected:
            event = {
                "metadata": {"name": f"{name}.rejected"},
                "involvedObject": {"uid": uid},
                "reason": "FailedCreate",
                "message": self.rejected,
            }
            self.put(EVENTS, event)
            return
        pods = [pod for pod in self.of(PODS) if pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == uid]
        # An index has only one pod (backoffLimitPerIndex is 0), even if somebody deletes the pod.
        seen, completions = job.setdefault("indexes", []), spec.get("completions", 1)
        active = sum(pod["status"]["phase"] in ("Pending", "Running") for pod in pods)
        if len(seen) == completions and not active:
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        for index in map(str, range(completions)):
            if index not in seen and active < spec.get("parallelism", 1):
                active += 1
                seen.append(index)
                template = copy.deepcopy(spec["template"])
                template["metadata"]["labels"] |= {
                    "batch.kubernetes.io/job-name": name,
                    "batch.kubernetes.io/controller-uid": uid,
                    "batch.kubernetes.io/job-completion-index": index,
                }
                template["metadata"] |= {
                    "name": f"{name}-{index}-{uid}",
                    "ownerReferences": [{"uid": uid, "kind": "Job", "controller": True}],
                }
                self.put(PODS, {**template, "status": {"phase": "Pending"}})

    def _run(self, pod: Object) -> None:
        """Takes a pod from Pending to Running, with most of its output, and then to its end, with all of it."""
        status, name = pod["status"], pod["metadata"]["name"]
        job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        index = int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"])
        deleted = "deletionTimestamp" in pod["metadata"]
        if status["phase"] == "Pending":
            if deleted:
                status["phase"] = "Failed"
            elif (waiting := self.faults.stuck(job, index)) is not None:
                status["containerStatuses"] = [{"name": "worker", "state": {"waiting": waiting}}]
            elif not all(map(self._can_be_mounted, pod["spec"]["volumes"])):
                status["containerStatuses"] = [
                    {"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}
                ]
            else:
                status |= {
                    "phase": "Running",
                    "containerStatuses": [{"name": "worker", "state": {"running": {"x": 1}}}],
                }
                self.running[name] = self.started(pod, index)
                self.logs[name] = self.running[name].most()
        elif status["phase"] == "Running":
            stand_in = self.running[name]
            if deleted and stand_in.lingered < self.faults.lingers:
                self.logs[name] = stand_in.more()
                return
            del self.running[name]
            code = int(ExitCode.INTERRUPTED) if deleted else self.faults.exit_code(job, index)
            self.logs[name], message, code = stand_in.whole(code, self.faults)
            if deleted or self.faults.silent(job, index):
                del self.logs[name]
            if code in names.TERMINAL_EXITS:
                self._fail(pod["metadata"]["ownerReferences"][0]["uid"])
            ended = {"exitCode": code, "finishedAt": _text(self.now), "message": message, "reason": "Error"}
            status |= {
                "phase": "Failed" if code else "Succeeded",
                "containerStatuses": [{"name": "worker", "state": {"terminated": ended}}],
            }

    def _can_be_mounted(self, volume: Object) -> bool:
        return all(
            source.get("optional") or ("configmaps", source["name"]) in self.objects for source in _sources(volume)
        )

    def _fail(self, job_uid: str) -> None:
        """Fails a Job as its podFailurePolicy says: all its pods end, and no new pod starts."""
        for job in self.of(JOBS):
            if job["metadata"]["uid"] == job_uid:
                job["indexes"] = list(map(str, range(job["spec"].get("completions", 1))))
        for pod in self.of(PODS):
            if pod["metadata"]["ownerReferences"][0]["uid"] == job_uid and pod["status"]["phase"] != "Succeeded":
                self.remove(PODS, pod["metadata"]["name"])


class _Write:
    """Counts a write, and kills the operator before or after it if a test wants that."""

    def __init__(self, cluster: FakeCluster, text: str) -> None:
        self._cluster, self._text = cluster, text

    def __enter__(self) -> None:
        if self._cluster.kill_at == (len(self._cluster.writes), False):
            self._cluster.kill_at = None
            raise Killed(self._text)
        self._answer = self._cluster.answers.pop(len(self._cluster.writes), None)
        self._cluster.writes.append(self._text)
        if self._cluster.denied and self._text.startswith(self._cluster.denied):
            raise self._cluster.denial
        if self._answer is not None and self._answer is not LOST:
            raise self._answer

    def __exit__(self, *raised: object) -> None:
        if self._answer is LOST:
            raise LOST
        if self._cluster.kill_at == (len(self._cluster.writes) - 1, True):
            self._cluster.kill_at = None
            raise Killed(self._text)
        if self._cluster.kills_always:
            raise Killed(self._text)


def _sources(volume: Object) -> list[Object]:
    """Returns the ConfigMaps of a volume."""
    if "configMap" in volume:
        return [volume["configMap"]]
    return [source["configMap"] for source in volume.get("projected", {}).get("sources", [])]


class StandIn:
    """Stands for a plan or worker: it reads the mounts of its pod and prints records."""

    def __init__(self, cluster: FakeCluster, pod: Object, index: int) -> None:
        self._cluster, self._spec = cluster, pod["spec"]
        self._run, self.lingered = pod["metadata"]["labels"][LABEL_RUN], 0
        (container,) = self._spec["containers"]
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        self._lines: list[bytes] = []
        self._writer = Writer(self._lines.append, environment[names.ENV_NONCE])
        paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        self._volumes = {paths[volume["name"]]: volume for volume in self._spec["volumes"]}
        request = RunRequest.model_validate_json(self._files(names.RUN_DIR)[names.REQUEST_FILE])
        assert request.schema_version == names.SCHEMA_VERSION
        (command,) = container["args"]
        self._is_plan = command == "plan"
        secret = {entry["name"] for entry in container["env"] if "secretKeyRef" in json.dumps(entry)}
        urls = set(request.spec.data.urls)
        if command in ("fetch", "publish"):
            assert not secret
        elif command == "download":
            assert secret == {names.url_options_env(name) for name in request.spec.data.url_secrets}
            assert not {name for name in environment if name.startswith("SWARM_ENV")}
        else:
            assert not {name for name in secret if name.startswith("SWARM_URL")}
            found = Counter[str]()
            for record in self._shards(names.DATA_DIR):
                found[record.header["of"]] += len(record.body)
            assert found == ({of: len(DATA) for of in urls} if self._is_plan else {})
            for name in request.spec.config_maps():
                assert self._files(names.SOURCES_DIR / name)
            if request.spec.program.source and request.spec.program.source.git:
                assert b"".join(record.body for record in self._shards(names.SNAPSHOT_DIR)) == SNAPSHOT
        self._urls = request.spec.data.urls
        self._ending = environment.get(names.ENV_PARTIAL)
        self._allowance = Allowance.model_validate_json(environment.get(names.ENV_ALLOWANCE) or "{}")
        self._spent, self._refused = Spending(), False
        if self._allowance.is_limited:
            self._writer.put(Record(RecordKind.BOOKED, Booked(spent=self._spent).to_header()))
        made = {"plan": self._plan, "fetch": self._fetch, "download": self._download, "publish": self._publish}
        self._records = made[command]() if command in made else self._work(index)

    def most(self) -> str:
        self._print(len(self._records) * 3 // 4)
        return b"".join(self._lines).decode()

    def more(self) -> str:
        self.lingered += 1
        self._print(1)
        return b"".join(self._lines).decode()

    def whole(self, code: int, faults: Faults) -> tuple[str, str, int]:
        """Returns log, termination message and exit code. A failed stand-in prints nothing more."""
        if code == ExitCode.DONE:
            self._print(len(self._records))
        reason = message = None
        if code in names.TERMINAL_EXITS:
            reason, message = faults.commit_reason, faults.commit_message
        elif code == ExitCode.DONE and self._refused:
            code, reason = int(ExitCode.INTERRUPTED), WorkerReason.ALLOWANCE_SPENT
        # A killed pod cannot report its spending at its end. It has reported it in advance.
        commit = self._writer.commit(code, reason, message, None if code == KILLED else self._spent)
        return b"".join(self._lines).decode(), commit_text(commit), code

    def _may_call(self) -> bool:
        """Pays for a call if the allowance covers it, and returns whether it did."""
        spent = self._spent + Spending(calls=1)
        self._refused = self._refused or not self._allowance.covers(spent)
        if self._refused:
            return False
        if self._allowance.is_limited:
            self._writer.put(Record(RecordKind.BOOKED, Booked(spent=spent).to_header()))
        self._spent = spent
        self._cluster.bill[self._run] += 1
        return True

    def _print(self, count: int) -> None:
        for _ in range(count):
            if self._records:
                if self._records[0].kind in (RecordKind.RESULT, RecordKind.CALL) and not self._may_call():
                    return
                record = self._records.pop(0)
                if record.kind is RecordKind.RESULT:
                    (self._cluster.proposed if self._is_plan else self._cluster.paid).append(record.header["key"])
                if record.kind is RecordKind.PUSHED:
                    # As the real pod does, the stand-in makes no second commit for a run.
                    self._cluster.commits.setdefault(self._run, record.header["commit"])
                if record.kind is RecordKind.CALL:
                    self._cluster.called.append(record.header["key"])
                self._writer.put(record)

    def _files(self, path: object) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for source in _sources(self._volumes.get(str(path), {})):
            content = self._cluster.objects.get(("configmaps", source["name"]))
            if content is None:
                continue
            everything = {**content.get("data", {}), **content.get("binaryData", {})}
            wanted = source.get("items") or [{"key": key, "path": key} for key in everything]
            for item in wanted:
                assert item["path"] not in found, "two files of one name"
                found[item["path"]] = everything[item["key"]]
        return found

    def _shards(self, path: object) -> list[Record]:
        return [record for _, text in sorted(self._files(path).items()) for record in unpack(base64.b64decode(text))]

    def _plan(self) -> list[Record]:
        journal = self._shards(names.JOURNAL_DIR)
        finished = [*journal, *self._shards(names.EARLIER_DIR)]
        done = {record.header["key"] for record in finished if record.kind is RecordKind.RESULT}
        plans = {record.header["round"] for record in journal if record.kind is RecordKind.PLAN}
        assert plans == set(range(len(plans)))
        if self._ending:
            return self._partial(len(plans), Ending.model_validate_json(self._ending))
        rounds = [[digest("cell", round_, item) for item in range(CELLS)] for round_ in range(ROUNDS)]
        finished_rounds = next((number for number, keys in enumerate(rounds) if not done.issuperset(keys)), ROUNDS)
        own = [digest("proposal", number) for number in range(finished_rounds + 1)]
        usage = Usage(calls=1, prompt_tokens=10, completion_tokens=2, micro_usd=MICRO_USD)
        calls = [
            Record(RecordKind.RESULT, Result(key=key, outcome=Outcome.OK, usage=usage).to_header(), b"pickle")
            for key in own
            if key not in done
        ]
        for round_, keys in enumerate(rounds):
            missing = [Cell(key=key, item=item) for item, key in enumerate(keys) if key not in done]
            if missing:
                task = Task(
                    digest=digest("task", round_), kind=EffectKind.WAVE, payload=digest("blob", round_), cells=missing
                )
                end = PlanEnd(
                    outcome=PlanOutcome.BLOCKED,
                    round=len(plans),
                    binding="b",
                    tasks=[task.digest],
                    cells=len(missing),
                    scores=Scores(baseline=50.0),
                )
                return [
                    *calls,
                    Record(RecordKind.BLOB, {"key": task.payload}, b"pickle"),
                    Record(RecordKind.TASK, json.loads(task.to_json())),
                    Record(RecordKind.PLAN, json.loads(end.to_json()), b"[]"),
                ]
        report = Report(
            scores=Scores(baseline=50.0, best=87.5),
            candidates=[Candidate(name=f"seed {n}", score=87.5 - n) for n in range(8)],
            rounds=len(plans),
        )
        end = PlanEnd(outcome=PlanOutcome.DONE, round=len(plans), binding="b", scores=report.scores)
        return [*calls, _artifact(report), Record(RecordKind.PLAN, json.loads(end.to_json()), b"[]")]

    def _fetch(self) -> list[Record]:
        return _fetched("", "https://git/app", COMMIT, SNAPSHOT)

    def _download(self) -> list[Record]:
        return [record for of, url in self._urls.items() for record in _fetched(of, url, '"etag"', DATA)]

    def _publish(self) -> list[Record]:
        program = self._files(names.ARTIFACT_DIR)[names.PROGRAM_FILE]
        pushed = Pushed(
            sha256=hashlib.sha256(program.encode()).hexdigest(),
            outcome=PushOutcome.PUSHED,
            url="https://git/app",
            branch="main",
            commit=COMMIT,
        )
        return [Record(RecordKind.PUSHED, pushed.to_header())]

    def _partial(self, round_: int, ending: Ending) -> list[Record]:
        report = Report(scores=Scores(baseline=50.0, best=62.5), rounds=round_)
        end = PlanEnd(outcome=PlanOutcome.PARTIAL, round=round_, binding="b", scores=report.scores, ending=ending)
        return [_artifact(report), Record(RecordKind.PLAN, json.loads(end.to_json()), b"[]")]

    def _work(self, index: int) -> list[Record]:
        tasks = {
            record.header["digest"]: Task.model_validate(record.header)
            for record in self._shards(names.TASKS_DIR)
            if record.kind is RecordKind.TASK
        }
        assignment = Assignment.model_validate_json(self._files(names.WORK_DIR)[names.ASSIGNMENT_FILE])
        keys = [tasks[ref.task].cells[position].key for ref in assignment.slices[index] for position in ref.cells]
        journal = [*self._shards(names.JOURNAL_DIR), *self._shards(names.EARLIER_DIR)]
        known = {record.header["key"] for record in journal if record.kind is RecordKind.CALL}
        usage = Usage(calls=1, prompt_tokens=10, completion_tokens=2, micro_usd=MICRO_USD)
        made = []
        waits = [record.header for record in journal if record.kind is RecordKind.PENDING]
        looks = {header["key"]: header["number"] for header in sorted(waits, key=lambda header: int(header["number"]))}
        for key in keys:
            began = self._cluster.services.setdefault(key, self._cluster.now) if self._cluster.slow(key) else None
            if began is not None and self._cluster.now < began + self._cluster.slow(key):
                told: dict[str, Any] = {"retry_after": 600, "handle": {"job": "j"}, "message": "j is queued"}
                pending = Pending(key=key, number=looks.get(key, 0) + 1, **told)
                made.append(Record(RecordKind.PENDING, pending.to_header()))
                continue
            if (call := digest("call", key)) not in known:
                made.append(Record(RecordKind.CALL, CallMade(key=call, usage=usage).to_header(), b"pickle"))
            result = Result(key=key, outcome=Outcome.OK, usage=usage, calls=[digest("call", key, 2)])
            made.append(Record(RecordKind.RESULT, result.to_header(), b"pickle"))
        return made


def _fetched(of: str, url: str, revision: str, data: bytes) -> list[Record]:
    parts = [data[:3], data[3:]]
    head = {"of": of, "url": url, "revision": revision, "parts": len(parts), "files": 1}
    digest = hashlib.sha256(data).hexdigest()
    return [
        Record(RecordKind.SNAPSHOT, Snapshot.model_validate({**head, "part": n, "sha256": digest}).to_header(), body)
        for n, body in enumerate(parts)
    ]


def _artifact(report: Report) -> Record:
    header = ArtifactHeader(sha256=hashlib.sha256(PROGRAM.encode()).hexdigest(), report=report)
    body = {names.PROGRAM_FILE: PROGRAM, names.REPORT_FILE: report.to_json()}
    return Record(RecordKind.ARTIFACT, json.loads(header.to_json()), json.dumps(body).encode())


def _answer(found: Object, metadata_only: bool) -> Object:
    return copy.deepcopy({"metadata": found["metadata"]} if metadata_only else found)


def _field(found: Object, path: str) -> str:
    return str(functools.reduce(lambda at, step: at.get(step) or {}, path.split("."), found))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
