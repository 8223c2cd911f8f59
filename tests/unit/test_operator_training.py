"""A task for a trainer runs in a Job of its own, whose pods have the trainer as an init container."""

from dataclasses import replace
from typing import Any

import pytest

from support.decisions import CLAIM, SETTINGS
from support.operator_specs import spec
from support.worlds import KEY, NOW, RUN_ID, ago, assignment, cell, compilation, job, planned, pod, shard, task, world
from swarm_engine.attempts import Attempt, Ended
from swarm_engine.steps import Round, Work, next_work
from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.apply.jobs import job as manifest
from swarm_operator.compilation.decide.orders import START_SECONDS
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import KeepAssignment, StartJob
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import AssignmentMap, Compilation, Run
from swarm_operator.compilation.observe import objects
from swarm_wire.messages import EffectKind, RunRequest
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import Allowance

TRAIN = ObjectKind.TRAIN
HOUR = 3600


def trainer(**more: Any) -> dict[str, Any]:
    return {
        "image": "trl:1",
        "base": {"name": "Qwen/Qwen3-0.6B", "revision": "a" * 40},
        "output": {"persistentVolumeClaim": {"claimName": "adapters"}},
        "serving": {"endpoint": "http://vllm:8000/v1"},
        "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}],
        "gpus": 1,
        **more,
    }


def given(**more: Any) -> dict[str, Any]:
    models = {**spec()["models"], "teacher": {"model": "openai/large"}}
    tuned = {"finetune": {"deadlineSeconds": HOUR, "trainer": trainer(**more)}}
    return spec(image="worker:1", models=models, optimizer={"bootstrapFinetune": {}}, **tuned)


def of(written: dict[str, Any]) -> tuple[Compilation, Run]:
    parsed = CompilationSpec.model_validate(written)
    return compilation(written), Run(KEY, RUN_ID, RunRequest(run_id=RUN_ID, name=KEY.name, spec=parsed), "worker:1")


COMPILATION, RUN = of(given())
ASKED = task(0, cells=2).model_copy(update={"kind": EffectKind.TRAIN})


def dealt(attempt: int, *slices: list[int], **fields: Any) -> AssignmentMap:
    found = assignment(0, attempt, *slices, **fields)
    return replace(found, assignment=found.assignment.model_copy(update={"trains": True}))


def decided(**fields: Any) -> Any:
    return decide(world(planned(0, ASKED), compilation=COMPILATION, run=RUN, **fields), NOW, SETTINGS)


def test_each_training_has_a_pod_of_its_own_which_may_live_until_the_deadline() -> None:
    kept, order = [action for action in decided().actions if action != CLAIM]
    assert isinstance(kept, KeepAssignment)
    assert isinstance(order, StartJob)
    assert kept.assignment == dealt(1, [0], [1]).assignment
    assert (order.role, order.pods, order.parallel) == (TRAIN, 2, 2)
    assert order.seconds == START_SECONDS + HOUR


def test_trainings_never_share_a_pod_even_if_the_swarm_has_one() -> None:
    alone, run = of({**given(), "swarm": {"pods": 1}})
    kept, order = [
        action
        for action in decide(world(planned(0, ASKED), compilation=alone, run=run), NOW, SETTINGS).actions
        if action != CLAIM
    ]
    assert [len(slice_) for slice_ in kept.assignment.slices] == [1, 1]  # type: ignore[union-attr]
    assert (order.pods, order.parallel) == (2, 2)  # type: ignore[union-attr]


def test_other_cells_of_a_round_run_after_its_trainings() -> None:
    other = task(0, cells=3).model_copy(update={"digest": "f" * 32})
    [end] = planned(0, ASKED)[1].plans
    end = end.model_copy(update={"tasks": [ASKED.digest, other.digest]})
    both = [shard(ObjectKind.TASKS, 0, 1, tasks=(ASKED, other)), shard(ObjectKind.RESULTS, 0, 1, plans=(end,))]
    seen = world(both, compilation=COMPILATION, run=RUN)
    [kept] = [action for action in decide(seen, NOW, SETTINGS).actions if isinstance(action, KeepAssignment)]
    assert kept.assignment.trains
    assert {ref.task for slice_ in kept.assignment.slices for ref in slice_} == {ASKED.digest}


def test_a_pod_that_trains_for_hours_is_not_reported_as_one_that_does_not_start() -> None:
    train = job(TRAIN, 0, completions=2, created_at=ago(HOUR))
    pods = [pod(train, index, started=False, prepares=True, created_at=ago(HOUR)) for index in (0, 1)]
    found = decided(assignments=[dealt(1, [0], [1])], jobs=(train,), pods=tuple(pods))
    ready = found.status.conditions[0]
    assert ready.reason == Reason.SCATTERING
    assert f"kubectl logs {pods[0].name} -c trainer" in ready.message


def test_a_pod_between_its_trainer_and_its_delivery_is_not_reported_either() -> None:
    train = job(TRAIN, 0, created_at=ago(HOUR))
    between = observed(("stage", over(0)), ("trainer", over(0)))
    pods = (replace(pod(train, started=False, created_at=ago(HOUR)), prepares=between.prepares, ended=between.ended),)
    found = decided(assignments=[dealt(1, [0], [1])], jobs=(train,), pods=pods)
    assert found.status.conditions[0].reason == Reason.SCATTERING


def test_an_image_of_the_trainer_that_cannot_be_pulled_is_reported_after_the_stage() -> None:
    train = job(TRAIN, 0, created_at=ago(HOUR))
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": "trl:1"}}
    seen = observed(("stage", over(0)), ("trainer", pulling), phase="Pending")
    waits = pod(train, started=False, prepares=seen.prepares, trouble=seen.trouble, created_at=ago(HOUR))
    found = decided(assignments=[dealt(1, [0], [1])], jobs=(train,), pods=(waits,))
    assert found.status.conditions[0].reason == Reason.IMAGE_PULL_FAILED


def test_a_training_that_takes_longer_than_its_deadline_ends_the_run() -> None:
    train = job(TRAIN, 0, finished=True)
    ended: dict[str, Any] = {"started": False, "prepares": True, "ended": True, "held": False, "finished_at": ago(60)}
    pods = (pod(train, failure="DeadlineExceeded: Pod was active on the node longer", **ended),)
    found = decided(assignments=[dealt(1, [0], [1])], jobs=(train,), pods=pods)
    ready = found.status.conditions[0]
    assert ready.reason == "FineTuneTimedOut"
    assert "spec.finetune.deadlineSeconds" in ready.message
    assert not [action for action in found.actions if isinstance(action, StartJob)]


def test_a_trainer_that_fails_is_run_again_and_its_last_line_is_told() -> None:
    train = job(TRAIN, 0, completions=2, finished=True)
    failed = "the trainer ended: exit code 1; its last line: CUDA out of memory"
    ended = {"started": False, "prepares": True, "ended": True, "held": False, "finished_at": ago(600)}
    pods = tuple(pod(train, index, failure=failed, **ended) for index in (0, 1))
    found = decided(assignments=[dealt(1, [0], [1])], jobs=(train,), pods=pods)
    [order] = [action for action in found.actions if isinstance(action, StartJob)]
    assert (order.role, order.attempt) == (TRAIN, 2)
    strikes = {cell(0, 0): 2, cell(0, 1): 2}
    last = job(TRAIN, 0, attempt=3, completions=2, finished=True)
    pods = tuple(pod(last, index, failure=failed, **ended) for index in (0, 1))
    earlier = [dealt(1, [0], [1]), dealt(2, [0], [1]), dealt(3, [0], [1], strikes=strikes)]
    found = decided(assignments=earlier, jobs=(last,), pods=pods)
    ready = found.status.conditions[0]
    assert ready.reason == Reason.ATTEMPTS_EXHAUSTED
    assert "CUDA out of memory" in ready.message


def test_after_trainings_that_were_refused_one_alone_gets_all_that_is_left() -> None:
    """Only a refusal of the whole rest ends a run with LimitReached."""
    refused = Ended(on_its_own=False, refused=True)
    journal, left = Journal(planned(0, ASKED)), Allowance(tokens=1000)
    attempt = Attempt(dealt(1, [0], [1]).assignment, {}, {0: refused, 1: refused})
    found = next_work(Round(RUN_ID, 0, [ASKED], journal, RUN.spec.swarm, left, NOW, [attempt]))
    assert isinstance(found, Work)
    assert ([len(slice_) for slice_ in found.assignment.slices], found.allowance) == ([1], left)


def containers(**more: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Returns the spec of a training's pod, and its containers by name."""
    _, run = of(given(**more))
    order = StartJob(TRAIN, run, 0, 1, seconds=HOUR, mounts={}, pods=1)
    found = manifest(order)["spec"]["template"]["spec"]
    every = [*found["initContainers"], *found["containers"]]
    return found, {container["name"]: container for container in every}


def variables(container: dict[str, Any]) -> set[str]:
    return {variable["name"] for variable in container["env"]}


def test_only_the_trainer_gets_its_variables_and_it_gets_no_api_key() -> None:
    made, found = containers()
    assert list(found) == ["stage", "trainer", "worker"]
    assert found["trainer"]["image"] == "trl:1"
    assert variables(found["trainer"]) == {"HOME", "SWARM_FINETUNE_DIR", "SWARM_OUT_DIR", "HF_TOKEN"}
    assert [name for name in found if "HF_TOKEN" in variables(found[name])] == ["trainer"]
    assert "API_KEY" not in str(made)
    assert (found["stage"]["args"], found["worker"]["args"]) == (["stage"], ["deliver"])
    assert found["trainer"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in str([found["stage"]["resources"], found["worker"]["resources"]])
    assert made["activeDeadlineSeconds"] == HOUR


def test_the_trainer_writes_only_to_its_own_folders() -> None:
    claim = {"claimName": "models", "path": "qwen"}
    made, found = containers(base={"name": "Qwen/Qwen3-0.6B", "volume": claim})
    writable = {mount["mountPath"]: not mount.get("readOnly") for mount in found["trainer"]["volumeMounts"]}
    assert writable == {
        "/swarm/finetune": False,
        "/swarm/out": True,
        "/swarm/volumes/models": False,
        "/tmp": True,
        "/dev/shm": True,
    }
    mounted = {volume["name"]: volume for volume in made["volumes"]}
    [kept] = [mount for mount in found["worker"]["volumeMounts"] if mount["mountPath"] == "/swarm/weights"]
    assert mounted[kept["name"]]["persistentVolumeClaim"] == {"claimName": "adapters"}
    assert not kept["readOnly"]


def test_one_claim_for_base_and_output_is_one_volume() -> None:
    """A pod with two volumes of one claim never starts."""
    claim = {"claimName": "adapters", "path": "qwen"}
    made, _ = containers(base={"name": "Qwen/Qwen3-0.6B", "volume": claim})
    claims = [volume for volume in made["volumes"] if "persistentVolumeClaim" in volume]
    assert [volume["persistentVolumeClaim"] for volume in claims] == [{"claimName": "adapters"}]


def test_a_bucket_for_weights_is_an_address_with_options_from_a_secret() -> None:
    secret = {"name": "bucket", "key": "options"}
    _, found = containers(output={"url": "s3://models/adapters", "options": {"secret": secret}})
    for name in ("stage", "worker"):
        assert {"name": "SWARM_WEIGHTS", "value": "s3://models/adapters"} in found[name]["env"]
        [options] = [each for each in found[name]["env"] if each["name"] == "SWARM_WEIGHTS_OPTIONS"]
        assert options["valueFrom"]["secretKeyRef"] == secret
    assert not {"SWARM_WEIGHTS", "SWARM_WEIGHTS_OPTIONS"} & variables(found["trainer"])


def observed(*before: tuple[str, dict[str, Any]], own: dict[str, Any] | None = None, phase: str = "Running") -> Any:
    """Returns the facts about a pod with these states of its init containers and its own container."""
    labels = manifest(StartJob(TRAIN, RUN, 0, 1, seconds=HOUR, mounts={}))["metadata"]["labels"]
    controller = {"batch.kubernetes.io/job-name": "j", "batch.kubernetes.io/controller-uid": "u"}
    return objects.pod(
        {
            "metadata": {
                "name": "p",
                "uid": "u",
                "creationTimestamp": "2026-11-21T12:00:00Z",
                "labels": {**labels, **controller},
            },
            "spec": {"nodeName": "n"},
            "status": {
                "phase": phase,
                "initContainerStatuses": [{"name": name, "state": state} for name, state in before],
                "containerStatuses": [{"name": "worker", "state": own or {"waiting": {"reason": "PodInitializing"}}}],
            },
        }
    )


def over(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    at = "2026-11-21T12:01:00Z"
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at, "message": message}}


RUNNING = {"running": {"startedAt": "2026-11-21T12:00:30Z"}}
STATES: list[tuple[str, Any, dict[str, Any]]] = [
    ("staging", observed(("stage", RUNNING)), {"started": False, "has_begun": True, "ended": False}),
    (
        "training",
        observed(("stage", over(0)), ("trainer", RUNNING)),
        {"started": False, "has_begun": True, "ended": False, "trouble": None},
    ),
    (
        "between the trainer and the delivery",
        observed(("stage", over(0)), ("trainer", over(0))),
        {"started": False, "has_begun": True, "ended": False, "trouble": None},
    ),
    (
        "delivering",
        observed(("stage", over(0)), ("trainer", over(0)), own=RUNNING),
        {"started": True, "has_begun": True, "ended": False},
    ),
    (
        "a trainer that fails ends its pod, and its exit code means nothing",
        observed(("stage", over(0)), ("trainer", over(64, "step 1\nCUDA out of memory\n")), phase="Failed"),
        {
            "started": False,
            "ended": True,
            "exit_code": None,
            "failed_on_its_own": True,
            "ended_by_cell": False,
            "failure": "the trainer ended: exit code 64; its last line: CUDA out of memory",
        },
    ),
    (
        "a trainer without memory names the field that raises it",
        observed(("stage", over(0)), ("trainer", over(137, reason="OOMKilled")), phase="Failed"),
        {
            "failure": "the trainer ended: OOMKilled (exit code 137): set spec.finetune.trainer.resources.requests."
            "memory"
        },
    ),
    ("a stage that fails has an exit code of ours", observed(("stage", over(66)), phase="Failed"), {"exit_code": 66}),
]


@pytest.mark.parametrize(("found", "facts"), [row[1:] for row in STATES], ids=[row[0] for row in STATES])
def test_the_operator_reads_how_far_a_training_is(found: Any, facts: dict[str, Any]) -> None:
    assert {name: getattr(found, name) for name in facts} == facts


def test_a_missing_image_of_the_trainer_is_reported() -> None:
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "trl:1"'}}
    found = observed(("stage", over(0)), ("trainer", pulling), phase="Pending")
    assert found.trouble.reason is Reason.IMAGE_PULL_FAILED
    assert "trl:1" in found.trouble.message
