"""Messages between operator and pods are JSON in camelCase, and the reader gets what the writer sent."""

import json
import re

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from support.wire import digest, task
from support.wire_spec import a_spec
from swarm_wire import messages, report, spending
from swarm_wire.costs import Cost
from swarm_wire.looks import ModelWatch, Watch, Watched
from swarm_wire.message_base import Message
from swarm_wire.messages import (
    ArtifactHeader,
    Assignment,
    Bound,
    CallMade,
    Cell,
    Commit,
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
    SliceRef,
    Snapshot,
    Stored,
    Task,
)
from swarm_wire.names import ExitCode, api_key_env
from swarm_wire.report import (
    Candidate,
    Comparison,
    Copied,
    Demonstration,
    ExampleScores,
    FailureGroup,
    Failures,
    FetchedFile,
    Origin,
    Prompt,
    Report,
    Scores,
    Verdict,
    Waste,
)
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.git import GitRef, GitSource
from swarm_wire.spec.limits import Limits
from swarm_wire.spec.references import SecretKeyRef
from swarm_wire.spending import Allowance, Booked, Spending, Usage
from swarm_wire.tuned import Kept, Retention, TunedModel

SCORES = Scores(baseline=40.0, best=62.5, test_baseline=None, test_winner=61.0)
FAILURES = Failures(
    failed=1,
    examples=24,
    in_bootstraps=2,
    bootstrapped=12,
    groups=[
        FailureGroup(
            exception="AdapterParseError: no",
            place="triage.py, line 7",
            examples=2,
            first="validation example 1: {}",
            answer="Well, well.",
            traceback="Traceback",
        )
    ],
    others=1,
)
REPORT = Report(
    teacher=80.0,
    retention=Retention(
        verdict=Kept.RETAINED, retention=0.98, low=0.96, high=1.0, least=0.95, confidence=0.95, examples=200
    ),
    tuned=[TunedModel(model="openai/ft:small", base="openai/small", job="ftjob-1", rows=200, tokens=9000, usd=0.07)],
    scores=SCORES,
    candidates=[Candidate(name="seed 2", score=62.5)],
    usage=Usage(calls=3, prompt_tokens=20, completion_tokens=10),
    effects=4,
    rounds=2,
    failed_cells=1,
    scored_on="all 24 training examples",
    failures=FAILURES,
    wasted=Waste(cells=2, calls=4),
    spent=Spending(calls=3, tokens=30, micro_usd=7),
    origin=Origin(
        run_id="r1",
        spec="0" * 64,
        program=digest(7),
        data=digest(8),
        packages=digest(9),
        models={"student": "openai/small"},
        dspy="3.4.1",
        image="worker:1",
        files={"train": FetchedFile(url="s3://b/t.csv", sha256="a" * 64, revision="v1")},
    ),
    partial="limits.lmCalls: 3",
    comparison=Comparison(
        verdict=Verdict.INCONCLUSIVE,
        difference=5.0,
        low=-2.5,
        high=12.5,
        confidence=0.95,
        examples=40,
        improved=4,
        worsened=2,
        needed=120,
    ),
    compared_on="the test set",
    costs={"winner": Cost(examples=20, calls=1.5, prompt_tokens=200.0, completion_tokens=12.0, usd=0.25)},
    copied=Copied(tokens=8, text="eight words", predictor="answer", example="training example 3"),
    refused=["the winner needs 80 on the test set (gate.minScore), and has 70"],
    by_example=[ExampleScores(name="the test set", baseline=[0.0, 100.0], winner=[100.0, 50.0])],
    prompts=[
        Prompt(
            predictor="answer",
            before="Answer.",
            after="Answer briefly.",
            demonstrations=[Demonstration(bootstrapped=True, example="training example 3")],
        )
    ],
)
EXAMPLES: list[Message] = [
    RunRequest(run_id="r1", name="triage", namespace="team", spec=CompilationSpec.model_validate(a_spec())),
    task(1, 3, weight=8),
    Task(
        digest=digest(1),
        kind=EffectKind.WAVE,
        payload=digest(2),
        items=digest(3),
        cells=[Cell(key=digest(4), group="0123abcd")],
        max_errors=10,
    ),
    Result(key=digest(1), outcome=Outcome.ERROR, usage=Usage(calls=1), calls=[digest(5)], error="ValueError: no"),
    CallMade(key=digest(5), usage=Usage(calls=1)),
    Bound(binding="b", packages="p"),
    PlanEnd(
        outcome=PlanOutcome.BLOCKED,
        round=1,
        binding="b",
        tasks=[digest(1)],
        cells=3,
        guesses={digest(1): 3},
        scores=SCORES,
        ending=Ending(why="limits.lmCalls: 3", limits=Limits(lm_calls=3)),
        failures=FAILURES.without_tracebacks(),
    ),
    Stored(name="run/0-1", offset=3, length=4, digest=digest(6)),
    Booked(account="work-0-1-0", spent=Spending(calls=3), final=True),
    Allowance(calls=3, tokens=30, micro_usd=7),
    ArtifactHeader(sha256="0" * 64, report=REPORT),
    Snapshot(
        url="https://git.example.com/app.git",
        revision="c" * 40,
        part=0,
        parts=2,
        sha256="a" * 64,
        files=3,
        notes=["The submodule lib is left out."],
    ),
    Snapshot(of="train", url="s3://b/t.csv", revision="v1", part=1, parts=2, sha256="a" * 64, files=1),
    Pushed(
        sha256="a" * 64,
        outcome=PushOutcome.PUSHED,
        url="https://git.example.com/app.git",
        branch="main",
        commit="c" * 40,
        pull_request="https://git.example.com/app/pulls/1",
    ),
    Assignment(run_id="r1", round=0, attempt=2, slices=[[SliceRef(task=digest(1), cells=[0, 2])], []]),
    Commit(nonce="a" * 16, exit_code=64, records=3, bytes=100, digest="0" * 64, reason="DataInvalid", message="no"),
    Watch(
        field="spec.git",
        source=GitSource(url="https://git.example.com/app.git", ref=GitRef(branch="main")),
        paths=["app"],
        without=["app/program.json"],
    ),
    Pending(key=digest(1), number=2, retry_after=600, handle={"job": "ftjob-1"}, message="job ftjob-1 is queued"),
    ModelWatch(
        field="spec.template.spec.models.student",
        role="student",
        provider="openai",
        base="https://api.openai.com/v1",
        pattern="gpt-*",
        secret=SecretKeyRef(name="provider", key="key"),
    ),
    Commit(nonce="a" * 16, exit_code=0, listed=["openai/gpt-5-mini"]),
    Commit(nonce="a" * 16, exit_code=0, watched=Watched(commit="c" * 40, digest="a" * 64)),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_is_equal_after_its_way_through_json(message: Message) -> None:
    assert type(message).model_validate_json(message.to_json()) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_keys_of_messages_are_camel_case_and_absent_fields_are_omitted(message: Message) -> None:
    text = message.to_json()
    assert not re.findall(r'"\w+_\w*":', text)
    assert ":null" not in text


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_the_reader_ignores_fields_of_a_newer_version(message: Message) -> None:
    written = {**json.loads(message.to_json()), "addedLater": {"a": 1}}
    assert type(message).model_validate_json(json.dumps(written)) == message


def test_every_message_has_an_example_in_this_file() -> None:
    def inside(message: Message) -> set[type]:
        found: set[type] = {type(message)}
        for value in message.__dict__.values():
            for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]:
                found |= inside(item) if isinstance(item, Message) else set()
        return found

    declared = {
        thing
        for thing in {**vars(spending), **vars(report), **vars(messages)}.values()
        if isinstance(thing, type) and issubclass(thing, Message) and thing is not Message
    }
    shown = set().union(*map(inside, EXAMPLES))
    assert declared - shown == {SliceRef}, "SliceRef is shown in an Assignment, in a list of lists"


def test_requests_assignments_and_commits_contain_the_version_of_their_schema() -> None:
    versioned = [message for message in EXAMPLES if isinstance(message, RunRequest | Assignment | Commit)]
    assert {json.loads(message.to_json())["schemaVersion"] for message in versioned} == {1}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Cell, {"key": "not hex"}),
        (Cell, {"key": digest(1).upper().replace("0", "A")}),
        (Cell, {"key": digest(1) + "\n"}),
        (Cell, {"key": digest(1), "item": -1}),
        (Cell, {"key": digest(1), "group": "0123abc"}),
        (Cell, {"key": digest(1), "group": "0123ABCD"}),
        (CallMade, {"key": "e"}),
        (Waste, {"calls": -1}),
        (Task, {"digest": digest(1), "kind": "wave", "payload": digest(1), "cells": []}),
        (Task, {"digest": digest(1), "kind": "other", "payload": digest(1), "cells": [{"key": digest(1)}]}),
        (Task, {"digest": digest(1), "kind": "wave", "payload": digest(1), "cells": [{"key": digest(1)}], "weight": 0}),
        (Result, {"key": digest(1), "outcome": "maybe"}),
        (Result, {"key": digest(1), "outcome": "error", "error": "x" * 501}),
        (Usage, {"calls": -1}),
        (PlanEnd, {"outcome": "blocked", "round": -1, "binding": ""}),
        (Commit, {"nonce": "n", "exitCode": 1, "reason": "x" * 65}),
        (Commit, {"nonce": "n", "exitCode": 1, "message": "x" * 2001}),
        (RunRequest, {"runId": "r", "name": "n", "spec": {**a_spec(), "unknown": 1}}),
    ],
)
def test_malformed_messages_are_refused(kind: type[Message], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(fields)


def test_usage_of_several_calls_adds_up() -> None:
    parts = [Usage(calls=1, prompt_tokens=10, completion_tokens=5), Usage(calls=2), Usage()]
    assert sum(parts, Usage()) == Usage(calls=3, prompt_tokens=10, completion_tokens=5)


def test_messages_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SCORES.best = 1.0  # type: ignore[misc]


def test_names_and_exit_codes_in_the_contract_do_not_change() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "BAD_INPUT": 64,
        "COMPILE_FAILED": 65,
        "SCHEMA_MISMATCH": 66,
        "DRIFT": 67,
        "INTERRUPTED": 75,
    }
    assert api_key_env("teacher") == "SWARM_API_KEY_TEACHER"
    assert to_camel("max_bootstrapped_demos") == "maxBootstrappedDemos"
    kinds = TypeAdapter(list[EffectKind]).dump_python(list(EffectKind), mode="json")
    assert kinds == ["wave", "bootstrap", "finetune", "train"]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_nan_or_infinite_is_sent_as_none(score: float) -> None:
    """A metric may divide by zero. A status cannot hold NaN or infinity, so it shows no score."""
    header = json.dumps({"baseline": 50.0, "best": score})
    found = Scores.model_validate(json.loads(header))
    assert (found.baseline, found.best) == (50.0, None)
    assert "best" not in Scores(best=score).to_header()
    with pytest.raises(ValidationError, match="finite"):
        Candidate(name="seed 1", score=score)


@pytest.mark.parametrize("figure", [2**53 + 1, 10**30, -1])
def test_numbers_that_json_cannot_hold_exactly_are_refused(figure: int) -> None:
    for model, field in ((Usage, "calls"), (Spending, "tokens"), (Spending, "microUsd")):
        with pytest.raises(ValidationError):
            model.model_validate({field: figure})
