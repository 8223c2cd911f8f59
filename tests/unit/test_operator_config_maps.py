"""The operator reads back what it has written to ConfigMaps."""

import base64
import hashlib
import json
import zlib
from typing import Any

import pytest

from support.worlds import ARTIFACT, KEY, LABELS, OWNER, RUN_ID, assignment, planned, run, work_order
from swarm_engine.journal import Took
from swarm_operator.compilation.api import ObjectKind
from swarm_operator.compilation.apply import config_maps
from swarm_operator.compilation.apply.jobs import job
from swarm_operator.compilation.model import object_names
from swarm_operator.compilation.model.actions import KeepAssignment, KeepRecords
from swarm_operator.compilation.model.shards import Journal, Shard
from swarm_operator.compilation.model.world import AssignmentMap
from swarm_operator.compilation.observe.config_maps import parse
from swarm_wire.messages import Assignment, CallMade, RunRequest
from swarm_wire.records import Record, RecordKind
from swarm_wire.shards import unpack
from swarm_wire.spending import Usage

_, END = planned(0)


def test_the_config_map_with_the_request_of_a_run_is_immutable_and_complete() -> None:
    made = config_maps.run_map(KEY, run().request)
    assert made["immutable"] is True
    assert made["metadata"]["labels"] == {**LABELS, "dspy-swarm.dev/kind": "run"}
    assert made["metadata"]["ownerReferences"] == [OWNER]
    assert RunRequest.model_validate_json(made["data"]["request.json"]) == run().request


def test_the_published_program_lies_beside_the_request_and_both_must_fit() -> None:
    made = config_maps.run_map(KEY, run().request, '{"a": 1}')
    assert made["data"] == {**config_maps.run_map(KEY, run().request)["data"], "published.json": '{"a": 1}'}
    assert parse(as_stored(made)) == run().request
    with pytest.raises(config_maps.TooLarge, match=r"the published program and the run's request have 1,001,\d+ bytes"):
        config_maps.run_map(KEY, run().request, "x" * 1_000_000)


def test_the_artifact_can_be_replaced_by_a_later_run() -> None:
    made = config_maps.artifact_map(run(), ARTIFACT)
    assert "immutable" not in made
    assert made["metadata"]["name"] == "triage-artifact"
    assert made["metadata"]["annotations"] == {
        "dspy-swarm.dev/compilation": "triage",
        "dspy-swarm.dev/sha256": ARTIFACT.sha256,
        "dspy-swarm.dev/score": "75",
    }
    assert made["data"] == {"program.json": "{}", "report.json": "{}"}


# The journal


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


def kept(round_: int, attempt: int, records: list[Record]) -> list[dict[str, Any]]:
    return config_maps.shard_maps(KEY, KeepRecords(RUN_ID, ObjectKind.RESULTS, round_, attempt, tuple(records)))


def given_out(given: Assignment, strikes: dict[str, int] | None = None) -> dict[str, Any]:
    return config_maps.assignment_map(KEY, KeepAssignment(given, tuple((strikes or {}).items())))


def as_stored(made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "metadata": {**made["metadata"], "uid": "u", "resourceVersion": "1"}}


def test_shards_of_results_can_be_read_back() -> None:
    made = kept(3, 0, records(300_000, 5))
    assert len(made) > 1
    read = [parse(as_stored(part)) for part in made]
    assert [key for shard in read if isinstance(shard, Shard) for key in shard.results] == [
        f"{number:032x}" for number in range(5)
    ]
    assert all(isinstance(shard, Shard) and (shard.round, shard.attempt) == (3, 0) for shard in read)


def test_shards_of_calls_and_results_can_be_read_back() -> None:
    call = CallMade(key="0" * 32, usage=Usage(calls=1, micro_usd=7))
    told = [Record(RecordKind.CALL, call.to_header(), b"pickle"), *records(10, 2)]
    (made,) = kept(3, 0, told)
    shard = parse(as_stored(made))
    assert isinstance(shard, Shard)
    assert shard.calls == {call.key: Took(calls=1, micro_usd=7)}
    journal = Journal([shard])
    assert list(journal.keys) == ["0" * 32, "0" * 31 + "1"], "a call is no cell"
    assert journal.usage == Usage(calls=5)


def test_equal_records_make_equal_config_maps() -> None:
    first, second = (kept(0, 0, records(10, 3)) for _ in range(2))
    assert first == second


def seen(made: dict[str, Any]) -> Shard:
    found = parse(as_stored(made))
    assert isinstance(found, Shard)
    return found


def test_merged_shards_keep_all_records_and_their_frames() -> None:
    end = Record(RecordKind.PLAN, json.loads(END.plans[0].to_json()), b"[]")
    given = [(3, 0, records(10, 2)), (4, 0, records(20, 4)), (4, 1, [end])]
    made = [kept(*part)[0] for part in given]
    shards = [seen(part) for part in made]
    data = [config_maps.shard_data(as_stored(part), shard) for part, shard in zip(made, shards, strict=True)]
    whole = b"".join(part or b"" for part in data)
    assert list(unpack(whole)) == [record for _, _, part in given for record in part]
    merged = config_maps.merged_map(KEY, shards, whole)
    assert merged == config_maps.merged_map(KEY, shards, whole)
    assert config_maps.shard_data(as_stored(merged), seen(merged)) == whole
    assert (seen(merged).round, seen(merged).attempt, seen(merged).size) == (4, 0, len(whole))
    assert Journal([seen(merged)]).usage == Journal(shards).usage
    assert Journal([seen(merged)]).plans[0].end == END.plans[0]
    assert seen(merged).name not in {shard.name for shard in shards}


def test_a_shard_changed_since_it_was_read_is_not_merged() -> None:
    first, second = (kept(0, 0, records(10, n))[0] for n in (1, 2))
    shard = seen(first)
    altered = {shard.key: next(iter(second["binaryData"].values()))}
    for content in (altered, {shard.key: "!"}, {}, None):
        assert config_maps.shard_data({"binaryData": content}, shard) is None


def test_an_altered_shard_yields_no_records() -> None:
    (made,) = kept(0, 0, records(10, 3))
    key = next(iter(made["binaryData"]))
    data = bytearray(base64.b64decode(made["binaryData"][key]))
    data[-1] ^= 1
    made["binaryData"][key] = base64.b64encode(bytes(data)).decode()
    assert parse(as_stored(made)) is None


@pytest.mark.parametrize(
    "content", [{}, {"binaryData": {}}, {"binaryData": {"a": "!", "b": "!"}}, {"binaryData": None}]
)
def test_a_shard_without_content_yields_no_records(content: dict[str, Any]) -> None:
    (made,) = kept(0, 0, records(10, 3))
    del made["binaryData"]
    assert parse(as_stored({**made, **content})) is None


def test_a_record_too_large_for_a_config_map_raises_an_error() -> None:
    with pytest.raises(config_maps.TooLarge, match="round 2"):
        kept(2, 0, records(1_100_000, 1))


@pytest.mark.parametrize("forged", [b"[" * 100_000, b'{"a": Infinity}', b"[1]", b'{"a": "x"}', b"\xff"], ids=repr)
def test_an_assignment_with_forged_strikes_is_ignored(forged: bytes) -> None:
    made = given_out(assignment(0, 2, [1]).assignment)
    made["binaryData"] = {object_names.STRIKES_FILE: base64.b64encode(zlib.compress(forged)).decode()}
    assert parse(as_stored(made)) is None


def test_strikes_of_all_cells_of_a_large_round_fit_beside_their_assignment() -> None:
    strikes = {hashlib.md5(str(item).encode()).hexdigest(): 2 for item in range(25_000)}
    made = given_out(assignment(0, 2, list(range(25_000))).assignment, strikes)
    read = parse(as_stored(made))
    assert isinstance(read, AssignmentMap)
    assert read.strikes == strikes
    data = [len(text.encode()) for text in made["data"].values()]
    assert sum(data) + sum(len(base64.b64decode(text)) for text in made["binaryData"].values()) < 700_000


def test_an_assignment_can_be_read_back_with_its_strikes() -> None:
    given = assignment(1, 2, [0], [1, 2])
    made = given_out(given.assignment, {"a" * 32: 2})
    read = parse(as_stored(made))
    assert isinstance(read, AssignmentMap)
    assert read.assignment == given.assignment
    assert read.strikes == {"a" * 32: 2}
    assert read.name == job(work_order(None, given.assignment))["metadata"]["name"]
