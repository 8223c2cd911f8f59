"""One pod fetches data from URLs before the first plan, and only plans mount it."""

from typing import Any

import pytest

from support.decisions import SETTINGS, Row, keep
from support.wire import printed
from support.worlds import NOW, job, plan_order, planned, pod, shard
from swarm_operator.compilation.api import ObjectKind, Reason
from swarm_operator.compilation.apply.jobs import job as manifest
from swarm_operator.compilation.decide.conditions import State
from swarm_operator.compilation.decide.orders import TRANSFER_SECONDS
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.decide.transfers import ATTEMPTS
from swarm_operator.compilation.interpret.harvest import harvest
from swarm_operator.compilation.model.actions import StartJob
from swarm_operator.compilation.model.roles import Folder
from swarm_operator.compilation.model.shards import Journal
from swarm_operator.compilation.model.world import Harvest
from swarm_wire.messages import Snapshot
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.records import Record, RecordKind
from unit.test_operator_decide_git import CLAIM, SNAPSHOT, SOURCE, failed, git_order, given, of
from unit.test_operator_harvest import NONCE, output

URL = "https://example.com/train.jsonl"
OPTIONS = {"options": {"secret": {"name": "data", "key": "options"}}}
DATA: dict[str, Any] = {"data": {"inputs": ["ticket"], "train": {"url": URL + "?version=2", **OPTIONS}}}
BOTH: dict[str, Any] = {**SOURCE, **DATA}
TWO: dict[str, Any] = {"data": {**DATA["data"], "test": {"url": "s3://bucket/test.csv"}}}
JOURNAL = {"journal": {"url": "s3://bucket/journal", "options": {"secret": {"name": "depot", "key": "options"}}}}

PART = Snapshot(of="train", url=URL, revision='"2"', part=0, parts=1, sha256="a" * 64, files=1)
TRAIN = shard(ObjectKind.SNAPSHOT, 0, 0, 5, snapshots=(PART,))
HALF = shard(ObjectKind.SNAPSHOT, 0, 0, 5, snapshots=(PART.model_copy(update={"parts": 2}),))
RECORD = Record(RecordKind.SNAPSHOT, PART.to_header(), b"data")
DOWNLOAD = job(ObjectKind.DOWNLOAD, 0)
TRIES = [job(ObjectKind.DOWNLOAD, 0, number) for number in range(1, ATTEMPTS + 1)]


def order(changes: dict[str, Any], attempt: int = 1) -> StartJob:
    return StartJob(ObjectKind.DOWNLOAD, given(changes)[1], 0, attempt, TRANSFER_SECONDS, {})


ROWS = [
    Row(
        "a download comes before the first plan",
        of(DATA, artifact=None),
        [CLAIM, order(DATA)],
        reason=Reason.FETCHING,
        says=[f"a pod fetches data.train from {URL}."],
    ),
    Row(
        "the program's files come before the data",
        of(BOTH),
        [git_order(ObjectKind.FETCH, BOTH, 0)],
        reason=Reason.FETCHING,
        says=["the program's files from"],
    ),
    Row("the data come after the program's files", of(BOTH, SNAPSHOT), [order(BOTH)], reason=Reason.FETCHING),
    Row(
        "one pod fetches all data",
        of(TWO, TRAIN),
        [order(TWO)],
        reason=Reason.FETCHING,
        says=["data.test from s3://bucket/test.csv"],
    ),
    Row(
        "a running download is left alone",
        of(DATA, jobs=(DOWNLOAD,), pods=(pod(DOWNLOAD),)),
        [],
        reason=Reason.FETCHING,
    ),
    Row(
        "data of which a part is missing are fetched again",
        of(DATA, HALF),
        [order(DATA)],
        reason=Reason.FETCHING,
    ),
    Row(
        "data of a download are journaled before anything else happens",
        of(DATA, jobs=(DOWNLOAD,), harvest=Harvest(snapshots={"train": (RECORD,)})),
        [keep(0, RECORD, kind=ObjectKind.SNAPSHOT)],
        None,
    ),
    Row(
        "a plan mounts program and data",
        of(BOTH, SNAPSHOT, TRAIN),
        [plan_order(given(BOTH)[1], mounts={Folder.SNAPSHOT: (SNAPSHOT,), Folder.DATA: (TRAIN,)})],
        reason=Reason.PLANNING,
    ),
    Row(
        "a server that does not answer is tried again after a delay",
        of(DATA, jobs=(DOWNLOAD,), pods=(failed(DOWNLOAD, "DataUnreachable", ExitCode.FAILED, seconds=1),)),
        [],
        reason=Reason.RETRYING,
        says=["the server does not answer"],
        wake_up=9,
    ),
    Row(
        "if a server does not answer for long, the Compilation is Stalled with the reason of the last pod",
        of(DATA, jobs=tuple(TRIES), pods=tuple(failed(each, "DataUnreachable", ExitCode.FAILED) for each in TRIES)),
        [],
        State.STUCK,
        WorkerReason.DATA_UNREACHABLE,
        ["It is tried again every 5 minutes."],
    ),
    Row(
        "a missing file ends the run at once",
        of(DATA, jobs=(DOWNLOAD,), pods=(failed(DOWNLOAD, "DataInvalid", ExitCode.BAD_INPUT),)),
        [],
        State.FAILED,
        WorkerReason.DATA_INVALID,
        ["rerun-at"],
    ),
    Row(
        "a run whose data somebody has deleted ends, since another fetch might bring other data",
        of(BOTH, SNAPSHOT, planned(0)),
        [],
        State.FAILED,
        Reason.JOURNAL_DAMAGED,
        ["the examples of data.train, which the run has fetched, were deleted or altered"],
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "_"))
def test_the_operator_decides(row: Row) -> None:
    row.holds()


def test_a_worker_mounts_the_programs_files_and_no_data() -> None:
    world = of(BOTH, SNAPSHOT, TRAIN, planned(0))
    (work,) = (action for action in decide(world, NOW, SETTINGS).actions if isinstance(action, StartJob))
    assert work.mounts[Folder.SNAPSHOT] == (SNAPSHOT,)
    assert Folder.DATA not in work.mounts
    text = str(manifest(work))
    assert "/swarm/data" not in text
    assert "SWARM_URL_OPTIONS" not in text


def test_the_status_names_no_commit_for_data() -> None:
    status = decide(of(DATA, TRAIN), NOW, SETTINGS).status
    assert status is not None
    assert status.source is None


def test_a_download_gets_its_options_and_the_depots_and_nothing_else() -> None:
    changes = {
        **TWO,
        **JOURNAL,
        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "envFrom": [{"secretRef": {"name": "all"}}],
        "program": {"entrypoint": "triage:Triage", "source": {"configMap": {"name": "triage-source"}}},
    }
    made = order(changes)
    pod_spec = manifest(made)["spec"]["template"]["spec"]
    (container,) = pod_spec["containers"]
    assert container["image"] == made.run.image
    assert container["args"] == ["download"]
    assert "envFrom" not in container
    secret = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry}
    assert secret == {
        "SWARM_URL_OPTIONS_TRAIN": {"name": "data", "key": "options"},
        "SWARM_DEPOT_OPTIONS": {"name": "depot", "key": "options"},
    }
    assert not [entry["name"] for entry in container["env"] if entry["name"].startswith(("SWARM_ENV", "SWARM_API"))]
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert paths == ["/swarm/run", "/tmp"]


def test_a_download_writes_to_the_volume_of_the_journal() -> None:
    changes = {**DATA, "journal": {"persistentVolumeClaim": {"claimName": "results"}}}
    (container,) = manifest(order(changes))["spec"]["template"]["spec"]["containers"]
    found = {mount["mountPath"]: mount.get("readOnly") for mount in container["volumeMounts"]}
    assert found == {"/swarm/run": True, "/swarm/depot": False, "/tmp": None}


@pytest.mark.parametrize(
    ("role", "of_", "counts"),
    [
        (ObjectKind.DOWNLOAD, "train", True),
        (ObjectKind.DOWNLOAD, "", False),
        (ObjectKind.FETCH, "", True),
        (ObjectKind.FETCH, "train", False),
        (ObjectKind.PLAN, "train", False),
    ],
)
def test_a_pod_brings_only_what_its_job_role_fetches(role: ObjectKind, of_: str, counts: bool) -> None:
    record = Record(RecordKind.SNAPSHOT, PART.model_copy(update={"of": of_, "revision": "c" * 40}).to_header(), b"x")
    assert set(brought(role, record).snapshots) == ({of_} if counts else set())


def test_each_file_counts_only_if_all_its_parts_are_there() -> None:
    half = Record(RecordKind.SNAPSHOT, PART.model_copy(update={"of": "test", "parts": 2}).to_header(), b"x")
    assert set(brought(ObjectKind.DOWNLOAD, RECORD, half).snapshots) == {"train"}


def test_a_file_that_the_journal_has_is_not_journaled_again() -> None:
    assert not brought(ObjectKind.DOWNLOAD, RECORD, journal=Journal([TRAIN])).snapshots


def brought(role: ObjectKind, *records: Record, journal: Journal | None = None) -> Harvest:
    lines, commit = printed(records, NONCE)
    ended = pod(job(role, 0), exit_code=0, held=True, commit=commit)
    return harvest([output(ended, lines, journal=journal, final=True)], journal or Journal())
