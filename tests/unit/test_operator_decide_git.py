"""One pod fetches the program from git before the first plan, and one pod publishes the artifact at the end."""

from dataclasses import replace
from typing import Any

import pytest

from support.decisions import SETTINGS, Row, drop, keep, said
from support.operator_specs import spec
from support.worlds import (
    ARTIFACT,
    CLAIMED,
    IMAGE,
    KEY,
    NOW,
    RUN_ID,
    ago,
    compilation,
    compiled,
    job,
    plan_order,
    planned,
    pod,
    published,
    results,
    shard,
    world,
)
from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.apply.jobs import job as manifest
from swarm_operator.compilation.decide.conditions import State, timestamp
from swarm_operator.compilation.decide.orders import TRANSFER_SECONDS
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.decide.transfers import ATTEMPTS
from swarm_operator.compilation.model.actions import ClaimName, DropJob, Publish, StartJob
from swarm_operator.compilation.model.pods import Job, Pod
from swarm_operator.compilation.model.roles import Folder
from swarm_operator.compilation.model.world import Compilation, Harvest, Run, World
from swarm_operator.compilation.status import ArtifactConfigMap, ArtifactStatus, Status
from swarm_wire.messages import Ending, PlanEnd, PlanOutcome, Pushed, PushOutcome, RunRequest, Snapshot
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.records import Record, RecordKind
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.limits import Limits

URL = "https://git.example.com/acme/app.git"
SECRET = {"secret": {"name": "git"}}
SOURCE: dict[str, Any] = {"program": {"entrypoint": "triage:Triage", "source": {"git": {"url": URL, **SECRET}}}}
TARGET: dict[str, Any] = {"artifact": {"git": {"url": URL, "branch": "main", "path": "prompts", **SECRET}}}
SIGNED = {"artifact": {"git": {**TARGET["artifact"]["git"], "signingKey": {"secret": {"name": "s", "key": "k"}}}}}
COMMIT = "c" * 40

PART = Snapshot(url=URL, revision=COMMIT, part=0, parts=1, sha256="a" * 64, files=3)
SNAPSHOT = shard(ObjectKind.SNAPSHOT, 0, snapshots=(PART,))
HALF = shard(ObjectKind.SNAPSHOT, 0, snapshots=(PART.model_copy(update={"parts": 2}),))
PUSHED = Pushed(sha256=ARTIFACT.sha256, outcome=PushOutcome.PUSHED, url=URL, branch="main", commit=COMMIT)
IN_GIT = shard(ObjectKind.RESULTS, 1, 0, 9, pushed=PUSHED)
OLDER = shard(ObjectKind.RESULTS, 1, 0, 9, pushed=PUSHED.model_copy(update={"sha256": "b" * 64}))

FETCH, PUBLISH = job(ObjectKind.FETCH, 0), job(ObjectKind.PUBLISH, 1)
CLAIM = ClaimName("triage-artifact")


def given(changes: dict[str, Any]) -> tuple[Compilation, Run]:
    """Returns a Compilation with these fields of the spec, and its run."""
    made = spec(image=IMAGE, **changes)
    request = RunRequest(run_id=RUN_ID, name=KEY.name, spec=CompilationSpec.model_validate(made))
    return compilation(made), Run(KEY, RUN_ID, request, IMAGE)


def of(changes: dict[str, Any], *shards: Any, **fields: Any) -> World:
    compilation_, run_ = given(changes)
    return world(*shards, **{"compilation": compilation_, "run": run_, **fields})


def git_order(role: ObjectKind, changes: dict[str, Any], round_: int, attempt: int = 1, artifact: str = "") -> StartJob:
    return StartJob(
        role,
        given(changes)[1],
        round_,
        attempt,
        TRANSFER_SECONDS,
        {},
        image=SETTINGS.git_image,
        artifact=artifact,
        environment={"SWARM_ARTIFACT_SHA256": ARTIFACT.sha256} if artifact else {},
    )


def failed(of_job: Job, reason: str, code: ExitCode, seconds: float = 60) -> Pod:
    commit = said(reason, "the server does not answer").model_copy(update={"exit_code": int(code)})
    return pod(of_job, exit_code=int(code), commit=commit, finished_at=ago(seconds))


LATE = {**SOURCE, "limits": {"wallClock": 60}}
BEGUN = Status(run_id=RUN_ID, start_time=timestamp(ago(100)))
DONE = of(TARGET, planned(0), results(0, 0, 1, 2, 3), compiled(1), artifact=published())
OUT = DONE.artifact
NINTH = job(ObjectKind.FETCH, 0, ATTEMPTS + 1)
TRIES = [job(ObjectKind.FETCH, 0, number) for number in range(1, ATTEMPTS + 1)]

ROWS = [
    Row(
        "a fetch comes before the first plan",
        of(SOURCE, artifact=None, inputs={**world().inputs}),
        [CLAIM, git_order(ObjectKind.FETCH, SOURCE, 0)],
        reason=Reason.FETCHING,
        says=[URL],
    ),
    Row(
        "a running fetch is left alone",
        of(SOURCE, jobs=(FETCH,), pods=(pod(FETCH),)),
        [],
        reason=Reason.FETCHING,
    ),
    Row(
        "files of which a part is missing are fetched again",
        of(SOURCE, HALF),
        [git_order(ObjectKind.FETCH, SOURCE, 0)],
        reason=Reason.FETCHING,
    ),
    Row(
        "the files of a fetch are journaled before anything else happens",
        of(
            SOURCE,
            jobs=(FETCH,),
            harvest=Harvest(snapshots={"": (Record(RecordKind.SNAPSHOT, PART.to_header(), b"archive"),)}),
        ),
        [keep(0, Record(RecordKind.SNAPSHOT, PART.to_header(), b"archive"), kind=ObjectKind.SNAPSHOT)],
        None,
    ),
    Row(
        "a run whose files somebody has deleted ends, since another fetch might bring another commit",
        of(SOURCE, planned(0)),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
        ["the program's files, which the run has fetched, were deleted or altered"],
    ),
    Row(
        "a plan mounts the fetched files",
        of(SOURCE, SNAPSHOT),
        [plan_order(given(SOURCE)[1], mounts={Folder.SNAPSHOT: (SNAPSHOT,)})],
        reason=Reason.PLANNING,
    ),
    Row(
        "a fetch whose server does not answer is tried again after a delay",
        of(SOURCE, jobs=(FETCH,), pods=(failed(FETCH, "GitUnreachable", ExitCode.FAILED, seconds=1),)),
        [],
        reason=Reason.RETRYING,
        says=["the server does not answer"],
        wake_up=9,
    ),
    Row(
        "a fetch begins again when its delay is over",
        of(SOURCE, jobs=(FETCH,), pods=(failed(FETCH, "GitUnreachable", ExitCode.FAILED),)),
        [git_order(ObjectKind.FETCH, SOURCE, 0, 2)],
        reason=Reason.FETCHING,
    ),
    Row(
        "if a server does not answer for long, the Compilation is Stalled with the reason of the last pod",
        of(
            SOURCE,
            jobs=tuple(TRIES),
            pods=tuple(failed(each, "GitUnreachable", ExitCode.FAILED) for each in TRIES),
        ),
        [],
        State.STUCK,
        WorkerReason.GIT_UNREACHABLE,
        ["the server does not answer", "It is tried again every 5 minutes."],
        wake_up=240,
    ),
    Row(
        "such a server is tried again, and only the newest attempts are kept",
        of(
            SOURCE,
            jobs=(*TRIES, NINTH),
            pods=tuple(failed(each, "GitUnreachable", ExitCode.FAILED, seconds=300) for each in (*TRIES, NINTH)),
        ),
        [git_order(ObjectKind.FETCH, SOURCE, 0, ATTEMPTS + 2), drop(TRIES[0])],
        State.STUCK,
        WorkerReason.GIT_UNREACHABLE,
    ),
    Row(
        "meanwhile the Compilation stays Stalled",
        of(
            SOURCE,
            jobs=(*TRIES, NINTH),
            pods=(*(failed(each, "GitUnreachable", ExitCode.FAILED, seconds=300) for each in TRIES), pod(NINTH)),
        ),
        [],
        State.STUCK,
        WorkerReason.GIT_UNREACHABLE,
    ),
    Row(
        "one pod that does not say why it fails ends nothing",
        of(
            SOURCE,
            jobs=(*TRIES, NINTH),
            pods=(
                *(failed(each, "GitUnreachable", ExitCode.FAILED) for each in TRIES),
                pod(NINTH, exit_code=137, finished_at=ago(60)),
            ),
        ),
        [],
        State.STUCK,
        WorkerReason.GIT_UNREACHABLE,
        wake_up=240,
    ),
    Row(
        "pods that do not say why they fail end the run",
        of(
            SOURCE,
            jobs=tuple(TRIES),
            pods=tuple(pod(each, exit_code=137, finished_at=ago(60)) for each in TRIES),
        ),
        [],
        State.FAILED,
        WorkerReason.WORKER_FAILED,
        ["That did not change in 8 attempts."],
    ),
    Row(
        "rejected credentials end the run at once",
        of(SOURCE, jobs=(FETCH,), pods=(failed(FETCH, "GitCredentialsRejected", ExitCode.BAD_INPUT),)),
        [],
        State.FAILED,
        WorkerReason.GIT_CREDENTIALS_REJECTED,
        ["rerun-at"],
    ),
    Row(
        "the artifact goes to git when it is in its ConfigMap",
        DONE,
        [git_order(ObjectKind.PUBLISH, TARGET, 2, artifact="triage-artifact")],
        reason=Reason.PUBLISHING,
        says=["ConfigMap 'triage-artifact'", URL],
    ),
    Row(
        "a run is published when its artifact is in git",
        replace(DONE, journal=of(TARGET, planned(0), results(0, 0, 1, 2, 3), compiled(1), IN_GIT).journal),
        [],
        State.PUBLISHED,
        Reason.PUBLISHED,
        [f"and in commit {COMMIT[:12]} of main in {URL}: 50 -> 75"],
    ),
    Row(
        "a commit of another artifact does not count",
        replace(DONE, journal=of(TARGET, planned(0), results(0, 0, 1, 2, 3), compiled(1), OLDER).journal),
        [git_order(ObjectKind.PUBLISH, TARGET, 2, artifact="triage-artifact")],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "a fetch that a queue holds back waits",
        of(SOURCE, jobs=(replace(FETCH, suspended=True),)),
        [],
        reason=Reason.QUEUED,
    ),
    Row(
        "a publish that a queue holds back waits, although its Job mounts no results",
        replace(DONE, jobs=(replace(PUBLISH, round=2, suspended=True),)),
        [],
        reason=Reason.QUEUED,
    ),
    Row(
        "the limit of time ends a run whose fetch a queue holds back",
        of(LATE, jobs=(replace(FETCH, suspended=True),), compilation=replace(given(LATE)[0], status=BEGUN)),
        [DropJob(FETCH.name, FETCH.uid)],
        reason=Reason.PLANNING,
    ),
    Row(
        "the limit of time ends a run that has fetched nothing",
        of(LATE, compilation=replace(given(LATE)[0], status=BEGUN)),
        [],
        State.FAILED,
        Reason.LIMIT_REACHED,
        ["limits.wallClock: 60, before program and data were fetched"],
    ),
    Row(
        "files that somebody deletes while the first plan runs are not fetched again, since they may differ",
        of(SOURCE, jobs=(job(ObjectKind.PLAN, 0),), pods=(pod(job(ObjectKind.PLAN, 0)),)),
        [DropJob(job(ObjectKind.PLAN, 0).name, job(ObjectKind.PLAN, 0).uid)],
        reason=Reason.JOURNAL_DAMAGED,
    ),
    Row(
        "a suspended run pushes nothing",
        replace(
            DONE,
            compilation=given({**TARGET, "suspend": True})[0],
            jobs=(replace(PUBLISH, round=2),),
            pods=(pod(replace(PUBLISH, round=2)),),
        ),
        [DropJob(PUBLISH.name, PUBLISH.uid)],
        State.SUSPENDED,
        Reason.SUSPENDED,
    ),
    Row(
        "a suspended run still writes its winner to the ConfigMap",
        of({**TARGET, "suspend": True}, planned(0), results(0, 0, 1, 2, 3), compiled(1)),
        [Publish(given({**TARGET, "suspend": True})[1], ARTIFACT, CLAIMED)],
        reason=Reason.PUBLISHING,
    ),
    Row(
        "a publish does not wait for data, which its pod does not mount",
        replace(DONE, inputs={}),
        [git_order(ObjectKind.PUBLISH, TARGET, 2, artifact="triage-artifact")],
        reason=Reason.PUBLISHING,
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "_"))
def test_the_operator_decides(row: Row) -> None:
    row.holds()


def test_the_status_names_the_commit_of_source_and_artifact() -> None:
    both = {**SOURCE, **TARGET}
    done = of(both, SNAPSHOT, planned(0), results(0, 0, 1, 2, 3), compiled(1), IN_GIT, artifact=published())
    status = decide(done, NOW, SETTINGS).status
    assert status is not None
    written = status.as_written()
    assert written["source"] == {"url": URL, "commit": COMMIT}
    assert written["artifact"]["git"] == {"url": URL, "branch": "main", "commit": COMMIT, "outcome": "Pushed"}


def test_an_artifact_that_git_refuses_is_in_its_config_map_and_in_the_status() -> None:
    pushing = decide(DONE, NOW, SETTINGS).status
    assert pushing is not None
    refused = replace(
        DONE,
        compilation=replace(DONE.compilation, status=pushing),
        jobs=(PUBLISH,),
        pods=(failed(PUBLISH, "GitRefused", ExitCode.BAD_INPUT),),
    )
    status = decide(refused, NOW, SETTINGS).status
    assert status is not None
    assert {condition.reason for condition in status.conditions} == {"GitRefused"}
    assert status.artifact == ArtifactStatus(
        run_id=RUN_ID, sha256=ARTIFACT.sha256, score=75, config_map=ArtifactConfigMap(name="triage-artifact")
    )


def test_the_best_program_of_a_run_that_a_limit_has_ended_goes_to_git_when_all_other_pods_have_ended() -> None:
    limits = {"lmCalls": 5, "publishPartial": True}
    changes = {**TARGET, "limits": limits}
    ending = Ending(why="limits.lmCalls is reached", limits=Limits.model_validate(limits))
    end = PlanEnd(outcome=PlanOutcome.PARTIAL, round=1, binding="b", ending=ending)
    partial = replace(ARTIFACT, report=ARTIFACT.report.model_copy(update={"partial": ending.why}))
    last = shard(ObjectKind.RESULTS, 1, 1, plans=(end,), artifact=partial)
    worker = job(ObjectKind.WORK, 0)
    before = of(changes, planned(0), last, artifact=published(partial=ending.why), jobs=(worker,), pods=(pod(worker),))
    assert decide(before, NOW, SETTINGS).actions == (DropJob(worker.name, worker.uid),)
    after = replace(before, jobs=(), pods=())
    order = git_order(ObjectKind.PUBLISH, changes, 2, artifact="triage-artifact")
    assert decide(after, NOW, SETTINGS).actions == (order,)
    under_way = replace(after, jobs=(replace(PUBLISH, round=2),), pods=(pod(replace(PUBLISH, round=2)),))
    assert decide(under_way, NOW, SETTINGS).actions == ()
    there = of(changes, planned(0), last, IN_GIT, artifact=published(partial=ending.why))
    status = decide(there, NOW, SETTINGS).status
    assert status is not None
    assert {condition.reason for condition in status.conditions} == {"PublishedPartial"}


@pytest.mark.parametrize(
    ("order", "volumes"),
    [
        (
            git_order(ObjectKind.FETCH, SOURCE, 0),
            {
                "/swarm/run": {"configMap": {"name": f"triage-{RUN_ID}-run"}},
                "/swarm/credentials": {"secret": {"secretName": "git", "optional": True, "defaultMode": 0o440}},
            },
        ),
        (
            git_order(
                ObjectKind.PUBLISH,
                SIGNED,
                2,
                artifact="triage-artifact",
            ),
            {
                "/swarm/run": {"configMap": {"name": f"triage-{RUN_ID}-run"}},
                "/swarm/credentials": {"secret": {"secretName": "git", "optional": True, "defaultMode": 0o440}},
                "/swarm/artifact": {"configMap": {"name": "triage-artifact"}},
                "/swarm/signing": {
                    "secret": {
                        "secretName": "s",
                        "optional": True,
                        "defaultMode": 0o440,
                        "items": [{"key": "k", "path": "key"}],
                    }
                },
            },
        ),
    ],
    ids=["fetch", "publish"],
)
def test_a_pod_with_git_credentials_has_no_api_key_and_no_variable_of_the_user(
    order: StartJob, volumes: dict[str, Any]
) -> None:
    pod_spec = manifest(order)["spec"]["template"]["spec"]
    (container,) = pod_spec["containers"]
    assert container["image"] == SETTINGS.git_image
    names = [entry["name"] for entry in container["env"]]
    expected = ["SWARM_ARTIFACT_SHA256"] if order.role is ObjectKind.PUBLISH else []
    assert names == ["SWARM_NONCE", "SWARM_LINGER_SECONDS", "HOME", *expected]
    assert "envFrom" not in container
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] != "tmp"}
    found = {paths[volume.pop("name")]: volume for volume in pod_spec["volumes"] if volume["name"] != "tmp"}
    assert found == volumes


@pytest.mark.parametrize("role", [ObjectKind.PLAN, ObjectKind.WORK])
def test_a_plan_or_worker_mounts_no_git_credentials(role: ObjectKind) -> None:
    both = {**SOURCE, **TARGET}
    mounts = {Folder.ASSIGNMENT: ()} if role is ObjectKind.WORK else {}
    order = StartJob(role, given(both)[1], 0, 1, 60, mounts)
    assert "credentials" not in str(manifest(order))
    assert "'git'" not in str(manifest(order))
