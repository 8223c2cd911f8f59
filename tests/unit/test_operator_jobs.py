"""The operator creates Jobs with exactly these fields."""

from dataclasses import replace
from typing import Any

from support.operator_specs import spec
from support.worlds import IMAGE, KEY, LABELS, OWNER, RUN_ID, assignment, plan_order, planned, work_order
from swarm_operator.compilation.api import FINALIZER
from swarm_operator.compilation.apply.jobs import job
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.roles import Folder
from swarm_operator.compilation.model.shards import Shard
from swarm_operator.compilation.model.world import Run
from swarm_wire.messages import RunRequest
from swarm_wire.rates import RateLimits, rate_limits
from swarm_wire.spec.compilation import CompilationSpec

TASKS, END = planned(0)
ONE = assignment(0, 1, [0]).assignment


def with_swarm(**swarm: Any) -> Run:
    given = CompilationSpec.model_validate(spec(image=IMAGE, swarm=swarm))
    return Run(KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=given), IMAGE)


def test_a_work_job_has_exactly_the_expected_fields() -> None:
    given = assignment(0, 1, [0, 1], [2, 3]).assignment
    name = f"triage-{RUN_ID}-w0-1"
    labels = {**LABELS, "dspy-swarm.dev/role": "work", "dspy-swarm.dev/round": "0", "dspy-swarm.dev/attempt": "1"}
    assert job(work_order(None, given, TASKS, END, seconds=4200)) == {
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
                    "activeDeadlineSeconds": 4200,
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
                                {"name": "SWARM_LINGER_SECONDS", "value": "20"},
                                {"name": "HOME", "value": "/tmp"},
                                {"name": "SWARM_IMAGE", "value": "worker:1"},
                                {"name": "SWARM_GRACE_SECONDS", "value": "12"},
                                {"name": "SWARM_OUTPUT_BYTES", "value": "6291456"},
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


def test_variables_of_the_user_have_a_prefix_in_the_environment_of_pods() -> None:
    """Kubernetes replaces $(NAME) in a value, so the operator writes $$(NAME)."""
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
        job(plan_order(ours)),
        job(work_order(ours, ONE, TASKS, END)),
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


def test_pods_get_their_rate_limits_and_the_address_of_the_limiter() -> None:
    given = spec()
    given["models"]["student"]["limits"] = {"requestsPerMinute": 60}
    rates = rate_limits(CompilationSpec.model_validate(given), "team", "triage")
    for made in (
        job(plan_order(limiter="limiter:7070", rates=rates)),
        job(work_order(None, ONE, TASKS, END, limiter="limiter:7070", rates=rates)),
    ):
        environment = {each["name"]: each.get("value") for each in container(made)["env"]}
        assert environment["SWARM_LIMITER"] == "limiter:7070"
        assert RateLimits.model_validate_json(environment["SWARM_RATE_LIMITS"]) == rates
    free = job(plan_order(limiter="limiter:7070"))
    assert not {"SWARM_LIMITER", "SWARM_RATE_LIMITS"} & {each["name"] for each in container(free)["env"]}


def container(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = made["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_plan_job_mounts_the_journal() -> None:
    made = job(plan_order(None, 1, 2, END))
    pod = made["spec"]["template"]["spec"]
    assert made["metadata"]["name"] == f"triage-{RUN_ID}-p1-2"
    assert (made["spec"]["completions"], made["spec"]["parallelism"]) == (1, 1)
    assert pod["containers"][0]["args"] == ["plan"]
    assert {"name": "volume-1", "mountPath": "/swarm/journal", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert pod["volumes"][1]["projected"]["sources"][0]["configMap"]["name"] == END.name


def test_the_first_plan_mounts_an_empty_folder_as_its_journal() -> None:
    assert job(plan_order())["spec"]["template"]["spec"]["volumes"][1] == {
        "name": "volume-1",
        "emptyDir": {"sizeLimit": "1Mi"},
    }


def test_a_plan_and_its_workers_differ_only_in_their_mounts() -> None:
    """A plan also makes LM calls and runs small waves, so it needs the same keys, resources and threads as a worker."""
    made = [
        job(plan_order(None, 1, 1, END)),
        job(work_order(None, ONE, TASKS, END)),
    ]
    pods = [job["spec"]["template"]["spec"] for job in made]
    for pod in pods:
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


def test_pods_mount_journals_of_earlier_runs_as_optional_volumes_newest_last() -> None:
    earlier = of_another_run("first", END), of_another_run("second", END)
    made = job(plan_order(mounts={Folder.EARLIER: earlier}))
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
    assert "/swarm/earlier" not in str(job(plan_order()))


def test_pods_may_write_to_no_volume_but_the_journals_volume_claim() -> None:
    made = container(job(plan_order(with_journal(persistentVolumeClaim={"claimName": "journals"}))))
    writable = [mount["mountPath"] for mount in made["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/swarm/depot", "/tmp"]
    assert environment(made)["SWARM_DEPOT"] == {"value": "file:///swarm/depot/team/triage/uid-1"}
    assert "SWARM_DEPOT_OPTIONS" not in environment(made)


def volume_of(claim: str, path: str) -> dict[str, Any]:
    return {"volume": {"claimName": claim, "path": path}}


def with_volumes(**changes: Any) -> Run:
    """Returns a run whose data is on two volumes."""
    data = {
        "inputs": ["ticket"],
        "train": volume_of("tickets", "train.jsonl"),
        "validation": volume_of("tickets", "new/val.parquet"),
        "test": volume_of("held.out", "test.jsonl"),
    }
    given = CompilationSpec.model_validate(spec(image=IMAGE, data=data, **changes))
    return Run(KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=given), IMAGE)


def test_plans_and_workers_mount_each_claim_with_data_once_and_read_only() -> None:
    plain = spec(image=IMAGE, data={"inputs": ["ticket"], "train": {"path": "train.jsonl"}})
    without = Run(
        KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=CompilationSpec.model_validate(plain)), IMAGE
    )
    for order, count in ((lambda run: plan_order(run), 3), (lambda run: work_order(run, ONE, TASKS, END), 5)):
        pod, expected = (job(order(run))["spec"]["template"]["spec"] for run in (with_volumes(), without))
        tmp, mount = expected["volumes"].pop(), expected["containers"][0]["volumeMounts"].pop()
        for number, claim in enumerate(("held.out", "tickets"), count):
            volume = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            expected["volumes"].append({"name": f"volume-{number}", **volume})
            expected["containers"][0]["volumeMounts"].append(
                {"name": f"volume-{number}", "mountPath": f"/swarm/volumes/{claim}", "readOnly": True}
            )
        expected["volumes"].append(tmp)
        expected["containers"][0]["volumeMounts"].append(mount)
        assert pod == expected


def test_data_and_the_journal_may_share_a_claim_which_only_the_journals_mount_writes_to() -> None:
    """A pod with two volumes of one claim never starts (kubernetes/kubernetes#82526)."""
    made = job(plan_order(with_volumes(journal={"persistentVolumeClaim": {"claimName": "tickets"}})))
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]
        for volume in made["spec"]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {
        "volume-3": {"claimName": "held.out", "readOnly": True},
        "volume-4": {"claimName": "tickets"},
    }
    assert container(made)["volumeMounts"][3:-1] == [
        {"name": "volume-3", "mountPath": "/swarm/volumes/held.out", "readOnly": True},
        {"name": "volume-4", "mountPath": "/swarm/volumes/tickets", "readOnly": True},
        {"name": "volume-4", "mountPath": "/swarm/depot", "readOnly": False},
    ]


def test_pods_get_the_options_of_a_depots_url_from_a_secret() -> None:
    secret = {"name": "bucket", "key": "options.json"}
    given = with_journal(url="s3://bucket/journals/", options={"secret": secret})
    made = container(job(plan_order(given)))
    assert environment(made)["SWARM_DEPOT"] == {"value": "s3://bucket/journals/team/triage/uid-1"}
    assert environment(made)["SWARM_DEPOT_OPTIONS"] == {"valueFrom": {"secretKeyRef": secret}}
    assert "/swarm/depot" not in str(made["volumeMounts"])


def with_journal(**journal: Any) -> Run:
    given = CompilationSpec.model_validate(spec(image=IMAGE, journal=journal))
    return Run(KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=given), IMAGE)


def environment(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the value or the source of each environment variable by its name."""
    return {entry["name"]: {key: entry[key] for key in entry if key != "name"} for entry in container["env"]}


def test_the_pod_settings_of_the_spec_reach_the_pods() -> None:
    swarm = {
        "nodeSelector": {"pool": "cheap"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}],
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "nobody",
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi", "cpu": "2"}},
    }
    plain = job(plan_order())["spec"]["template"]["spec"]
    made = job(plan_order(with_swarm(**swarm)))["spec"]["template"]["spec"]
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


def test_a_memory_limit_below_the_default_memory_request_lowers_the_request() -> None:
    limited = with_swarm(resources={"limits": {"memory": "128Mi"}})
    container = job(plan_order(limited))["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"memory": "128Mi"},
    }
