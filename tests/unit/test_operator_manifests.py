"""What the operator writes, as whole objects."""

import base64
import hashlib
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.operator_specs import spec
from support.worlds import ARTIFACT, IMAGE, KEY, RUN_ID, assignment, planned, run, task
from swarm_engine.journal import Took
from swarm_operator.compilation.api import FINALIZER, ObjectKind
from swarm_operator.compilation.apply import manifests
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.model.world import AssignmentMap, Run
from swarm_operator.compilation.observe.config_maps import parse
from swarm_wire.messages import CallMade, Ending, RunRequest
from swarm_wire.rates import RateLimits, rate_limits
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import unpack
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.limits import Limits
from swarm_wire.spending import Usage

LABELS = {
    "app.kubernetes.io/managed-by": "dspy-swarm",
    "dspy-swarm.dev/compilation-uid": "uid-1",
    "dspy-swarm.dev/run": RUN_ID,
}
OWNER = {
    "apiVersion": "dspy-swarm.dev/v1alpha1",
    "kind": "DSPyCompilation",
    "name": "triage",
    "uid": "uid-1",
    "controller": True,
    "blockOwnerDeletion": False,
}
TASKS, END = planned(0)
NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,80}[a-z0-9])?", fullmatch=True)


def with_swarm(**swarm: Any) -> Run:
    given = CompilationSpec.model_validate(spec(image=IMAGE, swarm=swarm))
    return Run(KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=given), IMAGE)


def test_a_work_job_is_this() -> None:
    given = assignment(0, 1, [0, 1], [2, 3]).assignment
    name = f"triage-{RUN_ID}-w0-1"
    labels = {**LABELS, "dspy-swarm.dev/role": "work", "dspy-swarm.dev/round": "0", "dspy-swarm.dev/attempt": "1"}
    assert manifests.work_job(run(), given, [TASKS], [END]) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "team",
            "labels": labels,
            "annotations": {"dspy-swarm.dev/compilation": "triage"},
            "ownerReferences": [OWNER],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": 2,
            "parallelism": 2,
            "backoffLimitPerIndex": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "worker", "operator": "In", "values": [64, 65, 66, 67]},
                    },
                    {"action": "FailIndex", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"dspy-swarm.dev/compilation": "triage"},
                    "finalizers": [FINALIZER],
                },
                "spec": {
                    "restartPolicy": "Never",
                    "activeDeadlineSeconds": manifests.START_SECONDS + 2 * 1800,
                    "terminationGracePeriodSeconds": 30,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "worker",
                            "image": "worker:1",
                            "args": ["work"],
                            "env": [
                                {"name": "SWARM_NONCE", "value": object_names.nonce("uid-1", name)},
                                {"name": "SWARM_IMAGE", "value": "worker:1"},
                                {"name": "SWARM_LINGER_SECONDS", "value": "20"},
                                {"name": "SWARM_GRACE_SECONDS", "value": "12"},
                                {"name": "SWARM_OUTPUT_BYTES", "value": "6291456"},
                                {"name": "HOME", "value": "/tmp"},
                                {"name": "DSPY_CACHEDIR", "value": "/tmp/dspy"},
                                {"name": "PYTHONHASHSEED", "value": "0"},
                                {
                                    "name": "SWARM_API_KEY_STUDENT",
                                    "valueFrom": {"secretKeyRef": {"name": "provider", "key": "key"}},
                                },
                            ],
                            "resources": {
                                "requests": {"cpu": "100m", "memory": "384Mi"},
                                "limits": {"memory": "2Gi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                            "volumeMounts": [
                                {"name": "volume-0", "mountPath": "/swarm/run", "readOnly": True},
                                {"name": "volume-1", "mountPath": "/swarm/tasks", "readOnly": True},
                                {"name": "volume-2", "mountPath": "/swarm/journal", "readOnly": True},
                                {"name": "volume-3", "mountPath": "/swarm/work", "readOnly": True},
                                {"name": "volume-4", "mountPath": "/swarm/sources/triage-data", "readOnly": True},
                                {"name": "volume-5", "mountPath": "/swarm/sources/triage-program", "readOnly": True},
                                {"name": "tmp", "mountPath": "/tmp"},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "volume-0", "configMap": {"name": f"triage-{RUN_ID}-run"}},
                        *(
                            {
                                "name": volume,
                                "projected": {
                                    "sources": [
                                        {
                                            "configMap": {
                                                "name": shard.name,
                                                "items": [{"key": shard.key, "path": shard.key}],
                                            }
                                        }
                                    ]
                                },
                            }
                            for volume, shard in (("volume-1", TASKS), ("volume-2", END))
                        ),
                        {
                            "name": "volume-3",
                            "configMap": {
                                "name": name,
                                "items": [{"key": "assignment.json", "path": "assignment.json"}],
                            },
                        },
                        {"name": "volume-4", "configMap": {"name": "triage-data"}},
                        {"name": "volume-5", "configMap": {"name": "triage-program"}},
                        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
                    ],
                },
            },
        },
    }


def test_pods_have_the_users_variables_under_a_prefix() -> None:
    """Kubernetes replaces $(NAME) in a value, and nothing else does; so it gets it escaped."""
    secret, config = {"name": "judge", "key": "k"}, {"name": "settings", "key": "level"}
    given = spec(
        image=IMAGE,
        env=[
            {"name": "A", "value": "$(HOME) costs $5"},
            {"name": "B", "valueFrom": {"secretKeyRef": secret}},
            {"name": "C", "valueFrom": {"configMapKeyRef": config}},
        ],
        envFrom=[{"secretRef": {"name": "tools"}, "prefix": "T_"}, {"configMapRef": {"name": "settings"}}],
    )
    request = RunRequest(run_id=RUN_ID, name=KEY.name, spec=CompilationSpec.model_validate(given))
    ours = Run(KEY, RUN_ID, request, IMAGE)
    for made in (
        manifests.plan_job(ours, 0, 1, []),
        manifests.work_job(ours, assignment(0, 1, [0]).assignment, [TASKS], [END]),
    ):
        found = [each for each in container(made)["env"] if each["name"].startswith("SWARM_ENV_")]
        assert found == [
            {"name": "SWARM_ENV_2_A", "value": "$$(HOME) costs $$5"},
            {"name": "SWARM_ENV_2_B", "valueFrom": {"secretKeyRef": secret}},
            {"name": "SWARM_ENV_2_C", "valueFrom": {"configMapKeyRef": config}},
        ]
        assert container(made)["envFrom"] == [
            {"secretRef": {"name": "tools"}, "prefix": "SWARM_ENV_0_T_"},
            {"configMapRef": {"name": "settings"}, "prefix": "SWARM_ENV_1_"},
        ]


def test_pods_are_told_how_fast_they_may_ask_and_whom_to_ask_first() -> None:
    given = spec()
    given["models"]["student"]["limits"] = {"requestsPerMinute": 60}
    rates = rate_limits(CompilationSpec.model_validate(given), "team", "triage")
    around = manifests.Surroundings(limiter="limiter:7070", rates=rates)
    for made in (
        manifests.plan_job(run(), 0, 1, [], around),
        manifests.work_job(run(), assignment(0, 1, [0]).assignment, [TASKS], [END], around),
    ):
        environment = {each["name"]: each.get("value") for each in container(made)["env"]}
        assert environment["SWARM_LIMITER"] == "limiter:7070"
        assert RateLimits.model_validate_json(environment["SWARM_RATE_LIMITS"]) == rates
    free = manifests.plan_job(run(), 0, 1, [], manifests.Surroundings(limiter="limiter:7070"))
    assert not {"SWARM_LIMITER", "SWARM_RATE_LIMITS"} & {each["name"] for each in container(free)["env"]}


@pytest.mark.parametrize(
    ("slices", "weight", "threads", "cell_seconds", "turns"),
    [
        pytest.param([[0]], 1, 4, 10, 2, id="a cell, and one more turn"),
        pytest.param([[0, 1, 2, 3, 4]], 1, 2, 10, 4, id="as many as its threads have, one after another"),
        pytest.param([[0], [1, 2, 3]], 1, 1, 10, 4, id="the largest slice counts"),
        pytest.param([[0, 1]], 7, 2, 10, 14, id="a bootstrap is many"),
    ],
)
def test_a_worker_may_take_what_its_cells_may_take(
    slices: list[list[int]], weight: int, threads: int, cell_seconds: int, turns: int
) -> None:
    """Whatever happens in it, Kubernetes ends it then. For its turn at a provider it may wait longer."""
    given = spec(limits={"cellSeconds": cell_seconds}, swarm={"threadsPerPod": threads})
    made = Run(KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=CompilationSpec.model_validate(given)), IMAGE)
    tasks, _ = planned(0, task(0, weight=weight))
    work = assignment(0, 1, *slices).assignment
    free = manifests.work_job(made, work, [tasks], [])
    assert deadline(free) == manifests.START_SECONDS + turns * cell_seconds
    given["models"]["student"]["limits"] = {"requestsPerMinute": 60}
    rates = rate_limits(CompilationSpec.model_validate(given), "team", "triage")
    paced = manifests.work_job(made, work, [tasks], [], manifests.Surroundings(limiter="limiter:7070", rates=rates))
    assert deadline(paced) == manifests.POD_SECONDS


def deadline(job: dict[str, Any]) -> int:
    found: int = job["spec"]["template"]["spec"]["activeDeadlineSeconds"]
    return found


def container(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_plan_job_mounts_the_journal() -> None:
    made = manifests.plan_job(run(), 1, 2, [END])
    pod = made["spec"]["template"]["spec"]
    assert made["metadata"]["name"] == f"triage-{RUN_ID}-p1-2"
    assert (made["spec"]["completions"], made["spec"]["parallelism"]) == (1, 1)
    assert pod["containers"][0]["args"] == ["plan"]
    assert {"name": "volume-1", "mountPath": "/swarm/journal", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert pod["volumes"][1]["projected"]["sources"][0]["configMap"]["name"] == END.name


def test_the_first_plan_has_an_empty_journal() -> None:
    assert manifests.plan_job(run(), 0, 1, [])["spec"]["template"]["spec"]["volumes"][1] == {
        "name": "volume-1",
        "emptyDir": {"sizeLimit": "1Mi"},
    }


def test_a_plan_and_its_workers_get_the_same_but_for_what_they_read() -> None:
    """A plan makes LM calls and runs small waves, too: it needs keys, resources and threads as workers do."""
    made = [
        manifests.plan_job(run(), 1, 1, [END]),
        manifests.work_job(run(), assignment(0, 1, [0]).assignment, [TASKS], [END]),
    ]
    pods = [job["spec"]["template"]["spec"] for job in made]
    for pod in pods:
        assert 0 < pod.pop("activeDeadlineSeconds") <= manifests.POD_SECONDS
        volumes = {volume["name"]: volume for volume in pod.pop("volumes")}
        container = pod["containers"][0]
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container.pop("volumeMounts")}
        assert mounts["/swarm/journal"]["projected"]["sources"][0]["configMap"]["name"] == END.name
        assert mounts["/swarm/run"]["configMap"]["name"] == f"triage-{RUN_ID}-run"
        assert container.pop("args") in (["plan"], ["work"])
        assert container["env"].pop(0)["name"] == "SWARM_NONCE"
    assert pods[0] == pods[1]


def of_another_run(run_id: str, shard: Shard) -> Shard:
    return replace(shard, run_id=run_id, name=f"{run_id}-{shard.name}")


def test_pods_mount_journals_of_earlier_runs_the_newest_last_and_do_not_wait_for_them() -> None:
    earlier = [of_another_run("first", END), of_another_run("second", END)]
    made = manifests.plan_job(run(), 1, 1, [TASKS], manifests.Surroundings(earlier=earlier))
    mounts = {mount["mountPath"]: mount["name"] for mount in container(made)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in made["spec"]["template"]["spec"]["volumes"]}
    sources = [source["configMap"] for source in volumes[mounts["/swarm/earlier"]]["projected"]["sources"]]
    assert sources == [
        {
            "name": f"{run_id}-{END.name}",
            "items": [{"key": END.key, "path": f"{folder}/{END.key}"}],
            "optional": True,
        }
        for run_id, folder in (("first", "0000-first"), ("second", "0001-second"))
    ]
    assert "/swarm/earlier" not in str(manifests.plan_job(run(), 1, 1, [TASKS]))


def test_a_claim_is_the_only_thing_that_pods_may_write_to() -> None:
    made = container(manifests.plan_job(with_journal(persistentVolumeClaim={"claimName": "journals"}), 0, 1, []))
    writable = [mount["mountPath"] for mount in made["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/swarm/depot", "/tmp"]
    assert environment(made)["SWARM_DEPOT"] == {"value": "file:///swarm/depot/team/triage/uid-1"}
    assert "SWARM_DEPOT_OPTIONS" not in environment(made)


def test_a_url_comes_with_its_options_from_a_secret() -> None:
    secret = {"name": "bucket", "key": "options.json"}
    given = with_journal(url="s3://bucket/journals/", options={"secret": secret})
    made = container(manifests.plan_job(given, 0, 1, []))
    assert environment(made)["SWARM_DEPOT"] == {"value": "s3://bucket/journals/team/triage/uid-1"}
    assert environment(made)["SWARM_DEPOT_OPTIONS"] == {"valueFrom": {"secretKeyRef": secret}}
    assert "/swarm/depot" not in str(made["volumeMounts"])


def with_journal(**journal: Any) -> Run:
    given = CompilationSpec.model_validate(spec(image=IMAGE, journal=journal))
    return Run(KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=given), IMAGE)


def environment(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> value, or where it comes from."""
    return {entry["name"]: {key: entry[key] for key in entry if key != "name"} for entry in container["env"]}


def test_no_more_pods_side_by_side_than_the_spec_says() -> None:
    given = assignment(0, 1, *([item] for item in range(4))).assignment
    assert manifests.work_job(run(), given, [], [])["spec"]["parallelism"] == 3


def test_what_a_user_may_say_of_pods_and_nothing_else() -> None:
    swarm = {
        "nodeSelector": {"pool": "cheap"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}],
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "nobody",
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi", "cpu": "2"}},
    }
    plain = manifests.plan_job(run(), 0, 1, [])["spec"]["template"]["spec"]
    made = manifests.plan_job(with_swarm(**swarm), 0, 1, [])["spec"]["template"]["spec"]
    assert made == {
        **plain,
        "nodeSelector": {"pool": "cheap"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}],
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "nobody",
        "containers": [
            {
                **plain["containers"][0],
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi", "cpu": "2"}},
            }
        ],
    }


def test_a_limit_alone_lowers_what_is_requested() -> None:
    limited = with_swarm(resources={"limits": {"memory": "128Mi"}})
    container = manifests.plan_job(limited, 0, 1, [])["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"memory": "128Mi"},
    }


def test_the_runs_request_is_immutable_and_says_everything() -> None:
    made = manifests.run_map(RUN_ID, KEY, run().request)
    assert made["immutable"] is True
    assert made["metadata"]["labels"] == {**LABELS, "dspy-swarm.dev/kind": "run"}
    assert made["metadata"]["ownerReferences"] == [OWNER]
    assert RunRequest.model_validate_json(made["data"]["request.json"]) == run().request


def test_the_artifact_can_be_replaced_by_a_later_run() -> None:
    made = manifests.artifact_map(run(), ARTIFACT)
    assert "immutable" not in made
    assert made["metadata"]["name"] == "triage-artifact"
    assert made["metadata"]["annotations"] == {
        "dspy-swarm.dev/compilation": "triage",
        "dspy-swarm.dev/sha256": ARTIFACT.sha256,
        "dspy-swarm.dev/score": "75",
    }
    assert made["data"] == {"program.json": "{}", "report.json": "{}"}


# The journal: what is written is what is read.


def records(size: int, count: int) -> list[Record]:
    import random

    return [
        Record(
            RecordKind.RESULT,
            {"key": f"{number:032x}", "outcome": "ok", "usage": {"calls": 2}},
            random.Random(number).randbytes(size),
        )
        for number in range(count)
    ]


def as_stored(made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "metadata": {**made["metadata"], "uid": "u", "resourceVersion": "1"}}


def test_shards_come_back_as_results() -> None:
    made = manifests.shard_maps(run(), ObjectKind.RESULTS, 3, 0, records(300_000, 5))
    assert len(made) > 1
    read = [parse(as_stored(part)) for part in made]
    assert [key for shard in read if isinstance(shard, Shard) for key in shard.results] == [
        f"{number:032x}" for number in range(5)
    ]
    assert all(isinstance(shard, Shard) and (shard.round, shard.attempt) == (3, 0) for shard in read)


def test_calls_come_back_beside_results() -> None:
    call = CallMade(key="0" * 32, usage=Usage(calls=1, micro_usd=7))
    told = [Record(RecordKind.CALL, call.to_header(), b"pickle"), *records(10, 2)]
    (made,) = manifests.shard_maps(run(), ObjectKind.RESULTS, 3, 0, told)
    shard = parse(as_stored(made))
    assert isinstance(shard, Shard)
    assert shard.calls == {call.key: Took(calls=1, micro_usd=7)}
    journal = Journal([shard])
    assert list(journal.keys) == ["0" * 32, "0" * 31 + "1"], "a call is no cell"
    assert journal.usage == Usage(calls=5)


def test_equal_records_make_equal_objects() -> None:
    first, second = (manifests.shard_maps(run(), ObjectKind.RESULTS, 0, 0, records(10, 3)) for _ in range(2))
    assert first == second


def seen(made: dict[str, Any]) -> Shard:
    found = parse(as_stored(made))
    assert isinstance(found, Shard)
    return found


def test_merged_shards_say_what_each_said_and_their_frames_stay_as_they_are() -> None:
    end = Record(RecordKind.PLAN, json.loads(END.plans[0].to_json()), b"[]")
    given = [(3, 0, records(10, 2)), (4, 0, records(20, 4)), (4, 1, [end])]
    made = [manifests.shard_maps(run(), ObjectKind.RESULTS, *part)[0] for part in given]
    shards = [seen(part) for part in made]
    data = [manifests.shard_data(as_stored(part), shard) for part, shard in zip(made, shards, strict=True)]
    whole = b"".join(part or b"" for part in data)
    assert list(unpack(whole)) == [record for _, _, part in given for record in part]
    merged = manifests.merged_map(KEY, shards, whole)
    assert merged == manifests.merged_map(KEY, shards, whole)
    assert manifests.shard_data(as_stored(merged), seen(merged)) == whole
    assert (seen(merged).round, seen(merged).attempt, seen(merged).size) == (4, 0, len(whole))
    assert Journal([seen(merged)]).usage == Journal(shards).usage
    assert Journal([seen(merged)]).plans[0].end == END.plans[0]
    assert seen(merged).name not in {shard.name for shard in shards}


def test_what_is_not_the_shard_that_was_seen_is_merged_nowhere() -> None:
    first, second = (manifests.shard_maps(run(), ObjectKind.RESULTS, 0, 0, records(10, n))[0] for n in (1, 2))
    shard = seen(first)
    altered = {shard.key: next(iter(second["binaryData"].values()))}
    for content in (altered, {shard.key: "!"}, {}, None):
        assert manifests.shard_data({"binaryData": content}, shard) is None


def test_a_shard_that_was_altered_says_nothing() -> None:
    (made,) = manifests.shard_maps(run(), ObjectKind.RESULTS, 0, 0, records(10, 3))
    key = next(iter(made["binaryData"]))
    data = bytearray(base64.b64decode(made["binaryData"][key]))
    data[-1] ^= 1
    made["binaryData"][key] = base64.b64encode(bytes(data)).decode()
    assert parse(as_stored(made)) is None


@pytest.mark.parametrize(
    "content", [{}, {"binaryData": {}}, {"binaryData": {"a": "!", "b": "!"}}, {"binaryData": None}]
)
def test_a_shard_without_its_content_says_nothing(content: dict[str, Any]) -> None:
    (made,) = manifests.shard_maps(run(), ObjectKind.RESULTS, 0, 0, records(10, 3))
    del made["binaryData"]
    assert parse(as_stored({**made, **content})) is None


def test_a_record_that_fits_into_no_config_map_is_told() -> None:
    with pytest.raises(manifests.TooLarge, match="round 2"):
        manifests.shard_maps(run(), ObjectKind.RESULTS, 2, 0, records(1_100_000, 1))


@pytest.mark.parametrize("forged", [b"[" * 100_000, b'{"a": Infinity}', b"[1]", b'{"a": "x"}', b"\xff"], ids=repr)
def test_an_assignment_that_somebody_has_forged_says_nothing(forged: bytes) -> None:
    made = manifests.assignment_map(run(), assignment(0, 2, [1]).assignment, {})
    made["binaryData"] = {object_names.STRIKES_FILE: base64.b64encode(zlib.compress(forged)).decode()}
    assert parse(as_stored(made)) is None


def test_strikes_of_all_cells_of_a_large_round_fit_beside_their_assignment() -> None:
    strikes = {hashlib.md5(str(item).encode()).hexdigest(): 2 for item in range(25_000)}
    made = manifests.assignment_map(run(), assignment(0, 2, list(range(25_000))).assignment, strikes)
    read = parse(as_stored(made))
    assert isinstance(read, AssignmentMap)
    assert read.strikes == strikes
    data = [len(text.encode()) for text in made["data"].values()]
    assert sum(data) + sum(len(base64.b64decode(text)) for text in made["binaryData"].values()) < 700_000


def test_a_plan_that_makes_no_call_may_take_minutes() -> None:
    ending = Ending(why="a limit", limits=Limits())
    made = manifests.plan_job(run(), 1, 1, [], ending=ending)
    assert made["spec"]["template"]["spec"]["activeDeadlineSeconds"] == manifests.PARTIAL_SECONDS


def test_an_assignment_comes_back_with_its_strikes() -> None:
    given = assignment(1, 2, [0], [1, 2])
    made = manifests.assignment_map(run(), given.assignment, {"a" * 32: 2})
    read = parse(as_stored(made))
    assert isinstance(read, AssignmentMap)
    assert read.assignment == given.assignment
    assert read.strikes == {"a" * 32: 2}
    assert read.name == manifests.work_job(run(), given.assignment, [], [])["metadata"]["name"]


# Names.


@given(NAMES, st.integers(0, 9999), st.integers(1, 20))
def test_names_fit(name: str, round_: int, attempt: int) -> None:
    for job in (
        object_names.plan_job(name, RUN_ID, round_, attempt),
        object_names.work_job(name, RUN_ID, round_, attempt),
    ):
        assert len(job) <= object_names.JOB_NAME_LIMIT
        assert job.replace("-", "a").isalnum()
        assert job[0] != "-"
    assert len(object_names.shard_map(name, RUN_ID, "results", round_, attempt, "0" * 64)) <= 253


def test_a_run_is_named_by_what_makes_it_another_one() -> None:
    ids = {
        object_names.run_id("u", 1, None),
        object_names.run_id("u", 2, None),
        object_names.run_id("v", 1, None),
        object_names.run_id("u", 1, "now"),
    }
    assert len(ids) == 4
    assert all(len(id_) == 10 for id_ in ids)


def test_namesakes_have_nonces_of_their_own() -> None:
    assert object_names.nonce("u", "job") != object_names.nonce("v", "job")
