"""A cluster in memory for the operator: an API server, a Job controller, a garbage collector and a kubelet.

It knows what the operator relies on (names, uids, preconditions, finalizers, owners, immutable ConfigMaps) and nothing
else. Its pods are stand-ins that read what they mount and print real records: a compile of ROUNDS rounds with CELLS
cells each, and two LM calls in each cell: the first is told of by itself, so that it is not paid for again when the pod
dies before the second. Each plan makes a call of its own. The same claims are checked on a real API server in
`tests/cluster`.
"""

import asyncio
import base64
import copy
import fnmatch
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from swarm_operator import errors
from swarm_operator.api import API_VERSION, FINALIZER, KIND, MANAGER
from swarm_operator.kube import COMPILATIONS, CONFIG_MAPS, EVENTS, JOBS, PODS, Resource
from swarm_wire import names
from swarm_wire.messages import (
    ArtifactHeader,
    Assignment,
    CallMade,
    Candidate,
    Cell,
    EffectKind,
    Outcome,
    PlanEnd,
    PlanOutcome,
    Report,
    Result,
    RunRequest,
    Scores,
    Task,
    Usage,
)
from swarm_wire.names import ExitCode
from swarm_wire.records import Record, RecordKind, Writer, commit_text
from swarm_wire.shards import unpack

Object = dict[str, Any]

NAMESPACE = "team"
ROUNDS, CELLS, CALLS = 2, 6, 2
PROGRAM = '{"predict": {"demos": [1, 2]}}'


class Killed(BaseException):
    """The operator's process ends here."""


def digest(*parts: object) -> str:
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()


@dataclass
class Faults:
    """What goes wrong with pods. Each is asked with the pod's Job name and index."""

    exit_code: Callable[[str, int], int] = lambda job, index: 0
    """Not 0: the pod prints three quarters of its records and ends so."""
    silent: Callable[[str, int], bool] = lambda job, index: False
    """It ends well, and its log cannot be read."""
    stuck: Callable[[str, int], Object | None] = lambda job, index: None
    """Its container's waiting state, where it never starts."""
    commit_reason: str | None = None
    commit_message: str | None = None


@dataclass
class FakeCluster:
    """Kube in memory. `step` lets controllers and pods go on a little."""

    now: datetime = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    faults: Faults = field(default_factory=Faults)
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    kill_at: tuple[int, bool] | None = None
    """The operator dies at its write of this number: before it (False), or after it (True)."""
    kills_always: bool = False
    """It dies after every write, also after one that is refused."""
    paid: list[str] = field(default_factory=list)
    """Keys of cells that pods computed, in order: each should be here once."""
    called: list[str] = field(default_factory=list)
    """Keys of LM calls that pods made inside cells and told of."""
    proposed: list[str] = field(default_factory=list)
    """Keys of LM calls that plans made themselves."""
    running: dict[str, "StandIn"] = field(default_factory=dict)
    terminating: bool = False
    """The namespace is being deleted: nothing can be created, and the rest goes when the last pod has gone."""
    rejected: str | None = None
    """The Job controller creates no pods, and says this."""
    _versions: Any = field(default_factory=lambda: itertools.count(1))

    # The API that the operator sees.

    async def get(self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False) -> Object | None:
        await asyncio.sleep(0)
        found = self.objects.get((resource.plural, name))
        return copy.deepcopy(found) if found else None

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
        found = [
            copy.deepcopy(item)
            for (plural, _), item in sorted(self.objects.items())
            if plural == resource.plural and wanted.items() <= (item["metadata"].get("labels") or {}).items()
        ]
        if resource == EVENTS:
            uid = dict(part.split("=", 1) for part in fields.split(","))["involvedObject.uid"]
            found = [item for item in found if item["involvedObject"]["uid"] == uid]
        return found

    async def create(self, resource: Resource, namespace: str, body: Object) -> None:
        with self._write("create", resource, body["metadata"]["name"]):
            if self.terminating:
                raise errors.from_response(403, "Forbidden", f"namespace {namespace} is being terminated")
            if (resource.plural, body["metadata"]["name"]) in self.objects:
                raise errors.Exists("already exists")
            self.put(resource, body)

    async def apply(
        self, resource: Resource, namespace: str, name: str, body: Object, *, subresource: str = ""
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
            if subresource:
                # A real API server makes null of an object that loses its fields, and then refuses it.
                assert {} not in body["status"].values()
                found["status"] = copy.deepcopy(body["status"])
            else:
                kept = {key: found["metadata"][key] for key in ("uid", "creationTimestamp", "managedFields")}
                found.update(copy.deepcopy(body), metadata={**copy.deepcopy(wanted), **kept})
            found["metadata"]["resourceVersion"] = str(next(self._versions))

    async def patch(self, resource: Resource, namespace: str, name: str, operations: Sequence[Object]) -> None:
        with self._write("patch", resource, name):
            found = self._found(resource, name)
            assert [operation["op"] for operation in operations] == ["test", "test", "remove"]
            assert found["metadata"]["uid"] == operations[0]["value"]
            position = int(operations[2]["path"].rpartition("/")[2])
            assert found["metadata"]["finalizers"][position] == operations[1]["value"] == FINALIZER
            del found["metadata"]["finalizers"][position]

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        with self._write("delete", resource, name):
            found = self._found(resource, name)
            if found["metadata"]["uid"] != uid:
                raise errors.Conflict("uid differs")
            self.remove(resource, name)

    async def log(self, namespace: str, pod: str, container: str, *, limit: int, timeout: float) -> bytes:
        """A kubelet says with 200 that it has none."""
        await asyncio.sleep(0)
        gone = f"unable to retrieve container logs for containerd://{digest(pod)}"
        return self.logs.get(pod, gone).encode()[:limit]

    # What tests and controllers do.

    def put(self, resource: Resource, body: Object) -> Object:
        made = copy.deepcopy(body)
        metadata = made["metadata"]
        metadata.setdefault("namespace", NAMESPACE)
        version = str(next(self._versions))
        metadata |= {"uid": metadata.get("uid") or f"uid-{version}", "resourceVersion": version}
        metadata["creationTimestamp"] = _text(self.now)
        metadata["managedFields"] = [{"manager": MANAGER, "fieldsV1": {"f:data": {}}}]
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
        """Deletes in the background, or only marks what has finalizers or still runs."""
        found = self.objects.get((resource.plural, name))
        if found is None:
            return
        running = resource == PODS and found["status"].get("phase") in ("Pending", "Running")
        if found["metadata"].get("finalizers") or running:
            found["metadata"].setdefault("deletionTimestamp", _text(self.now + timedelta(seconds=30)))
            return
        del self.objects[resource.plural, name]

    def step(self, seconds: float = 1) -> None:
        """Time goes on; garbage is collected, Jobs get their pods, pods get on with their work."""
        self.now += timedelta(seconds=seconds)
        self._collect_garbage()
        for job in self.of(JOBS):
            self._control(job)
        for pod in self.of(PODS):
            self._run(pod)

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
                known for known in (COMPILATIONS, CONFIG_MAPS, JOBS, PODS, EVENTS) if known.plural == plural
            )
            owners = item["metadata"].get("ownerReferences") or []
            marked = "deletionTimestamp" in item["metadata"]
            if marked or (owners and not any(owner["uid"] in uids for owner in owners)):
                self.remove(resource, name)

    def _control(self, job: Object) -> None:
        spec, name, uid = job["spec"], job["metadata"]["name"], job["metadata"]["uid"]
        if self.rejected:
            event = {"metadata": {"name": f"{name}.rejected"}, "involvedObject": {"uid": uid}, "message": self.rejected}
            self.put(EVENTS, event)
            return
        pods = [pod for pod in self.of(PODS) if pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == uid]
        # An index has one pod (backoffLimitPerIndex 0), also when that is deleted.
        seen = job.setdefault("indexes", [])
        active = sum(pod["status"]["phase"] in ("Pending", "Running") for pod in pods)
        if len(seen) == spec["completions"] and not active:
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        for index in map(str, range(spec["completions"])):
            if index not in seen and active < spec["parallelism"]:
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
        """Pending -> Running with most of its output -> ended with all of it."""
        status, name = pod["status"], pod["metadata"]["name"]
        job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        index = int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"])
        deleted = "deletionTimestamp" in pod["metadata"]
        if status["phase"] == "Pending":
            if deleted:
                status["phase"] = "Failed"
            elif (waiting := self.faults.stuck(job, index)) is not None:
                status["containerStatuses"] = [{"name": "worker", "state": {"waiting": waiting}}]
            else:
                status |= {
                    "phase": "Running",
                    "containerStatuses": [{"name": "worker", "state": {"running": {"x": 1}}}],
                }
                self.running[name] = StandIn(self, pod, index)
                self.logs[name] = self.running[name].most()
        elif status["phase"] == "Running":
            stand_in = self.running.pop(name)
            code = int(ExitCode.INTERRUPTED) if deleted else self.faults.exit_code(job, index)
            log, message = stand_in.whole(code, self.faults)
            self.logs[name] = log
            if deleted or self.faults.silent(job, index):
                del self.logs[name]
            ended = {"exitCode": code, "finishedAt": _text(self.now), "message": message, "reason": "Error"}
            status |= {
                "phase": "Failed" if code else "Succeeded",
                "containerStatuses": [{"name": "worker", "state": {"terminated": ended}}],
            }


class _Write:
    """Counts a write, and kills the operator around it."""

    def __init__(self, cluster: FakeCluster, text: str) -> None:
        self._cluster, self._text = cluster, text

    def __enter__(self) -> None:
        if self._cluster.kill_at == (len(self._cluster.writes), False):
            self._cluster.kill_at = None
            raise Killed(self._text)
        self._cluster.writes.append(self._text)

    def __exit__(self, *raised: object) -> None:
        if self._cluster.kill_at == (len(self._cluster.writes) - 1, True):
            self._cluster.kill_at = None
            raise Killed(self._text)
        if self._cluster.kills_always:
            raise Killed(self._text)


class StandIn:
    """A plan or worker: reads what its pod mounts, prints records."""

    def __init__(self, cluster: FakeCluster, pod: Object, index: int) -> None:
        self._cluster, self._spec = cluster, pod["spec"]
        (container,) = self._spec["containers"]
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        self._lines: list[bytes] = []
        self._writer = Writer(self._lines.append, environment[names.ENV_NONCE])
        paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        self._volumes = {paths[volume["name"]]: volume for volume in self._spec["volumes"]}
        request = RunRequest.model_validate_json(self._files(names.RUN_DIR)[names.REQUEST_FILE])
        assert request.schema_version == names.SCHEMA_VERSION
        for name in request.spec.config_maps():
            assert self._files(names.SOURCES_DIR / name)
        self._is_plan = container["args"] == ["plan"]
        self._records = self._plan() if self._is_plan else self._work(index)

    def most(self) -> str:
        self._print(len(self._records) * 3 // 4)
        return b"".join(self._lines).decode()

    def whole(self, code: int, faults: Faults) -> tuple[str, str]:
        """Log and termination message; after a failure nothing more is printed."""
        if code == ExitCode.DONE:
            self._print(len(self._records))
        terminal = code in names.TERMINAL_EXITS
        commit = self._writer.commit(
            code, faults.commit_reason if terminal else None, faults.commit_message if terminal else None
        )
        return b"".join(self._lines).decode(), commit_text(commit)

    def _print(self, count: int) -> None:
        for _ in range(count):
            if self._records:
                record = self._records.pop(0)
                if record.kind is RecordKind.RESULT:
                    (self._cluster.proposed if self._is_plan else self._cluster.paid).append(record.header["key"])
                if record.kind is RecordKind.CALL:
                    self._cluster.called.append(record.header["key"])
                self._writer.put(record)

    def _files(self, path: object) -> dict[str, Any]:
        volume = self._volumes.get(str(path), {})
        if "configMap" in volume:
            sources = [volume["configMap"]]
        else:
            sources = [source["configMap"] for source in volume.get("projected", {}).get("sources", [])]
        found: dict[str, Any] = {}
        for source in sources:
            content = self._cluster.objects.get(("configmaps", source["name"]))
            if content is None and source.get("optional"):
                continue
            assert content is not None, "a kubelet would wait for it"
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
        own = [digest("proposal", round_) for round_ in range(len(plans) + 1)]
        usage = Usage(calls=1, prompt_tokens=10, completion_tokens=2)
        calls = [
            Record(RecordKind.RESULT, Result(key=key, outcome=Outcome.OK, usage=usage).to_header(), b"pickle")
            for key in own
            if key not in done
        ]
        for round_ in range(ROUNDS):
            keys = [digest("cell", round_, item) for item in range(CELLS)]
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
        header = ArtifactHeader(sha256=hashlib.sha256(PROGRAM.encode()).hexdigest(), report=report)
        body = {names.PROGRAM_FILE: PROGRAM, names.REPORT_FILE: report.to_json()}
        end = PlanEnd(outcome=PlanOutcome.DONE, round=len(plans), binding="b", scores=report.scores)
        return [
            *calls,
            Record(RecordKind.ARTIFACT, json.loads(header.to_json()), json.dumps(body).encode()),
            Record(RecordKind.PLAN, json.loads(end.to_json()), b"[]"),
        ]

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
        usage = Usage(calls=1, prompt_tokens=10, completion_tokens=2)
        made = []
        for key in keys:
            if (call := digest("call", key)) not in known:
                made.append(Record(RecordKind.CALL, CallMade(key=call, usage=usage).to_header(), b"pickle"))
            result = Result(key=key, outcome=Outcome.OK, usage=usage, calls=[digest("call", key, 2)])
            made.append(Record(RecordKind.RESULT, result.to_header(), b"pickle"))
        return made


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
