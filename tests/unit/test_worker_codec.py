"""A payload refers to objects that both plan and worker have, and never contains keys or histories."""

import enum
import html
import json
import re
import threading
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

import dspy
import pydantic
import pytest

from support.worker import Program, example
from swarm_wire.report import ExampleScores, Prompt, Report, Scores
from swarm_wire.spending import Usage
from swarm_worker.content.codec import Codec, SecretInPayload
from swarm_worker.content.digest import Walk
from swarm_worker.content.places import NotPortable
from swarm_worker.errors import BadInput, Drift
from swarm_worker.pod import artifact

KEY = "sk-a-very-secret-key"
CODEC = Codec({"student model's API key": KEY, "teacher model's API key": "none"})


def walked(thing: Any) -> Walk:
    walk = Walk()
    walk.digest(thing)
    return walk


def test_two_references_to_an_object_become_the_same_object() -> None:
    program, item = Program(), example(question="q")
    result = {"demo": item, "from": program.predict, "signature": program.predict.signature, "again": item}
    data = CODEC.dumps(result, [("F", walked(program)), ("I", walked(item))])
    found = CODEC.loads(data, [("I", walked(item)), ("F", walked(program))])
    assert found["demo"] is item
    assert found["again"] is item
    assert found["from"] is program.predict
    assert found["signature"] is program.predict.signature


def test_a_reference_in_a_payload_becomes_the_readers_own_object() -> None:
    ours, theirs = Program(), Program()
    data = CODEC.dumps(ours.predict, [("F", walked(ours))])
    assert CODEC.loads(data, [("F", walked(theirs))]) is theirs.predict


def test_predictions_are_sent_by_value() -> None:
    prediction = dspy.Prediction(answer="a")
    found = CODEC.loads(CODEC.dumps([prediction], [("F", walked([prediction]))]), [("F", Walk())])
    assert found[0] is not prediction
    assert found[0].answer == "a"


def test_an_api_key_is_removed_from_a_payload_and_restored_after_it() -> None:
    lm = dspy.LM("openai/m", api_base="http://m/v1", api_key=KEY)
    data = CODEC.dumps({"lm": lm, "key": KEY})
    assert KEY.encode() not in data
    rotated = Codec(
        {"student model's API key": "sk-a-new-key-after-rotation", "teacher model's API key": "none"}
    ).loads(data)
    assert rotated["key"] == "sk-a-new-key-after-rotation"
    assert rotated["lm"].kwargs["api_key"] == "sk-a-new-key-after-rotation"


@pytest.mark.parametrize(
    "thing",
    [
        f"Bearer {KEY}",
        [f"https://m/v1?key={KEY}"],
        {f"x{KEY}": 1},
        KEY.encode(),
        {"Basic": b64encode(b"me:" + KEY.encode())},
    ],
    ids=["text", "url", "dict key", "bytes", "in base64"],
)
def test_a_payload_with_an_api_key_inside_another_value_is_refused(thing: Any) -> None:
    with pytest.raises(SecretInPayload, match="the student model's API key is part of another text"):
        CODEC.dumps(thing)


REPORT = Report(scores=Scores(), candidates=[], usage=Usage(), effects=1, rounds=1)


def test_a_program_with_an_api_key_is_not_published() -> None:
    with pytest.raises(BadInput, match="the winner cannot be published: the student model's API key") as raised:
        artifact.written(json.dumps({"instructions": f"use {KEY}"}), REPORT, CODEC)
    assert KEY not in str(raised.value)


def test_a_report_with_an_api_key_is_published_without_it() -> None:
    """The winner is already paid for, so the plan removes the key instead of refusing the report."""
    files = json.loads(artifact.written("{}", REPORT.model_copy(update={"notes": [f"use {KEY}"]}), CODEC))
    assert files["program.json"] == "{}"
    assert json.loads(files["report.json"])["notes"] == ["use (student model's API key)"]


def test_api_keys_that_are_too_short_are_not_searched_for() -> None:
    assert CODEC.loads(CODEC.dumps(["none of these", "none"])) == ["none of these", "none"]


def test_api_keys_are_removed_from_messages() -> None:
    assert CODEC.redact(f"refused: {KEY}, none") == "refused: (student model's API key), none"


TOKEN = 'k3y+with/slash==and "more" é'
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n-----END PRIVATE KEY-----\n"
ACCOUNT = json.dumps({"type": "service_account", "private_key": PEM})
FILE = "sk-of-a-file-0123456789\n"
DSN = "postgres://me:pass%2Bword-1@db/a"
WRITTEN = [
    ("as it is", TOKEN, str),
    ("by repr", TOKEN, repr),
    ("in JSON", TOKEN, json.dumps),
    ("in JSON as UTF-8", TOKEN, lambda secret: json.dumps(secret, ensure_ascii=False)),
    ("in JSON within JSON", TOKEN, lambda secret: json.dumps(json.dumps(secret))),
    ("in a URL's path", TOKEN, quote),
    ("in a URL", TOKEN, lambda secret: quote(secret, safe="")),
    ("in a URL, the other case", TOKEN, lambda secret: re.sub("%..", lambda found: found[0].lower(), quote(secret))),
    ("in a query", TOKEN, quote_plus),
    ("in HTML", TOKEN, html.escape),
    ("in base64", TOKEN, lambda secret: b64encode(secret.encode()).decode()),
    ("in base64 for URLs", "??>>" * 5, lambda secret: urlsafe_b64encode(secret.encode()).decode()),
    ("with a user, in base64", TOKEN, lambda secret: b64encode(f"me:{secret}".encode()).decode()),
    ("without its newline", FILE, str.strip),
    ("a file in JSON", PEM, lambda secret: json.dumps({"private_key": secret})),
    ("a line of a file", PEM, lambda secret: secret.splitlines()[1]),
    ("a field of JSON", ACCOUNT, lambda secret: json.loads(secret)["private_key"]),
    ("a line of a field of JSON", ACCOUNT, lambda secret: json.loads(secret)["private_key"].splitlines()[1]),
    ("one of a list", '["sk-first-0123", "sk-second-0123"]', lambda secret: json.loads(secret)[1]),
    ("the password of a URL", DSN, lambda secret: unquote(str(urlsplit(secret).password))),
]


@pytest.mark.parametrize(("secret", "write"), [case[1:] for case in WRITTEN], ids=[case[0] for case in WRITTEN])
def test_a_secret_is_found_in_every_usual_encoding(secret: str, write: Any) -> None:
    codec, text = Codec({"value of TOKEN": secret}), f"before {write(secret)} after"
    told = codec.redact(text)
    assert "(value of TOKEN)" in told
    assert "before " in told
    assert " after" in told
    assert not any(found in told for found in (secret.strip(), "MIIEvQ", "k3y", "sk-", "pass"))
    with pytest.raises(SecretInPayload, match="the value of TOKEN is part of another text"):
        codec.dumps(text)


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (PEM, "-----BEGIN PRIVATE KEY-----"),
        (ACCOUNT, "service_account"),
        ("true\nfalse\n", "it is true"),
        ("abc-12345678", "abc12345678"),
        ("postgres://postgres:postgres@db/a", "postgres"),
        ("[default]\nregion: eu\n", "[default]"),
        (json.dumps({"type": "service_account", "key": KEY}, indent=1), '"type": "service_account",'),
        (json.dumps({"token_uri": "https://auth/token", "key": KEY}), "https://auth/token"),
    ],
    ids=[
        "the frame of a key file",
        "a field that is no secret",
        "a short line",
        "another text",
        "a password that is a word",
        "a line that is a word",
        "a line of JSON that is no secret",
        "a field that tells of a secret",
    ],
)
def test_text_without_secrets_stays_unchanged(secret: str, text: str) -> None:
    codec = Codec({"value of TOKEN": secret})
    assert codec.redact(text) == text
    assert codec.loads(codec.dumps(f"as {text}")) == f"as {text}"


def test_no_part_of_a_secret_is_left_if_it_contains_another_secret() -> None:
    codec = Codec({"value of A": "sk-0123456789", "value of B": "sk-0123456789-and-more"})
    assert codec.redact("sk-0123456789-and-more, sk-0123456789") == "(value of B), (value of A)"


@pytest.mark.parametrize(
    ("secret", "make"),
    [
        (FILE, str.strip),
        (PEM, str.strip),
        (PEM, lambda secret: secret.splitlines()[1]),
        (ACCOUNT, lambda secret: json.loads(secret)["private_key"]),
        (DSN, lambda secret: unquote(str(urlsplit(secret).password))),
    ],
    ids=["without its newline", "a file without its newline", "a line", "a field of JSON", "a password"],
)
def test_a_value_derived_from_a_secret_is_removed_from_a_payload_and_restored(secret: str, make: Any) -> None:
    codec, part = Codec({"value of TOKEN": secret}), make(secret)
    data = codec.dumps({"self.key": part})
    assert part.encode() not in data
    assert codec.loads(data) == {"self.key": part}


def test_a_missing_line_of_a_rotated_secret_is_reported() -> None:
    data = Codec({"value of TOKEN": "sk-first-0123\nsk-second-0123"}).dumps("sk-second-0123")
    with pytest.raises(Drift, match="refers to the value of TOKEN, line 2, and there is none any more"):
        Codec({"value of TOKEN": "sk-first-0123"}).loads(data)


@pytest.mark.parametrize(
    "make", [threading.Lock, threading.RLock, threading.Event], ids=["lock", "reentrant lock", "event"]
)
def test_locks_and_events_of_a_payload_arrive_unlocked_and_unset(make: Any) -> None:
    thing = make()
    (thing.acquire if hasattr(thing, "acquire") else thing.set)()
    found = CODEC.loads(CODEC.dumps({"it": thing}))["it"]
    assert type(found) is type(make())
    assert not found.is_set() if hasattr(found, "is_set") else found.acquire(blocking=False)


def test_payloads_contain_no_histories_and_reports() -> None:
    program = Program()
    program.history.append({"uuid": "u", "timestamp": "t", "outputs": [], "prompt": "x" * 10_000})
    program.candidate_programs = [{"score": 1.0, "program": Program("x" * 10_000)}]
    program.predict.demos = [example(question="kept", history=["a field"])]
    data = CODEC.dumps(program)
    found = CODEC.loads(data)
    assert len(data) < 10_000
    assert found.history == []
    assert not hasattr(found, "candidate_programs")
    assert found.predict.demos[0].toDict() == {"question": "kept", "history": ["a field"]}
    assert found(question="a").answer == "A"


def test_an_object_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(NotPortable, match="generator"):
        CODEC.dumps(number for number in range(3))


@pytest.mark.parametrize("name", ["stage", "history", "callbacks", "trial_logs", "total_calls"])
def test_an_attribute_of_the_user_is_sent_even_if_dspy_uses_its_name(name: str) -> None:
    program = Program()
    setattr(program, name, dspy.History(messages=[{"question": "q"}]))
    found = CODEC.loads(CODEC.dumps(program))
    assert getattr(found, name) == getattr(program, name)


def test_a_payload_never_changes_the_classes_of_another_payload() -> None:
    """Threads of a worker read payloads while others use theirs.

    cloudpickle gave both payloads the same class and set its attributes again. So the winner depended on timing.
    """
    codec = Codec({})
    program = dspy.ChainOfThought("ticket -> category")
    one, other = codec.dumps(program), codec.dumps(program)
    first = codec.loads(one).predict.signature
    names = [id(name) for name in first.output_fields]
    second = codec.loads(other).predict.signature

    assert first is not second
    assert first.equals(second)
    assert [id(name) for name in first.output_fields] == names


class Labelled(dspy.Signature):
    """Label it."""

    text: str = dspy.InputField()
    label: str = dspy.OutputField()


def test_classes_and_functions_that_a_function_made_are_the_same_after_transfer() -> None:
    class Answer(pydantic.BaseModel):
        text: str

    class Question(dspy.Signature):
        """Answer it."""

        question: str = dspy.InputField()
        answer: Answer = dspy.OutputField()

    class Level(enum.Enum):
        LOW = 1

    @dataclass
    class Note:
        level: Level

    class Local(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict, self.note = dspy.Predict(Question), Note(Level.LOW)

    for thing in (Answer, Question, Level, Note, Local, Note(Level.LOW), Local()):
        other = CODEC.loads(CODEC.dumps(thing))
        kind = thing if isinstance(thing, type) else type(thing)
        assert (other if isinstance(other, type) else type(other)).__qualname__ == kind.__qualname__
        assert Walk().digest(other) == Walk().digest(thing)


def test_an_importable_class_is_sent_with_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    as_imported = CODEC.dumps(Labelled)
    assert CODEC.loads(as_imported) is Labelled

    monkeypatch.setattr(
        Labelled, "__doc__", "Label it well."
    )  # DSPy keeps instructions in `__doc__`, and InferRules sets them there
    changed = CODEC.dumps(Labelled)
    assert CODEC.loads(changed) is Labelled
    monkeypatch.undo()
    found = CODEC.loads(changed)
    assert found.instructions == "Label it well."
    assert list(found.fields) == list(Labelled.fields)
    assert Labelled.instructions == "Label it."
    assert Walk().digest(found) != Walk().digest(Labelled)


@pytest.mark.parametrize(
    ("examples", "prompt", "left_out"),
    [(1000, 10, []), (40_000, 10, ["byExample"]), (40_000, 600_000, ["byExample", "prompts"])],
)
def test_a_report_that_is_too_large_leaves_out_details(examples: int, prompt: int, left_out: list[str]) -> None:
    """Program and report must fit into one ConfigMap. Without details, a run with much data is still published."""
    scores = ExampleScores(name="the test set", baseline=[0.0] * examples, winner=[100.0] * examples)
    prompts = [Prompt(predictor="p", before="", after="x" * prompt)]
    report = REPORT.model_copy(update={"by_example": [scores], "prompts": prompts})
    body = artifact.written("{}", report, CODEC)
    assert len(body) < 1_000_000
    found = json.loads(json.loads(body)["report.json"])
    assert [name for name in ("byExample", "prompts") if not found[name]] == left_out
    assert len(found["notes"]) == bool(left_out)
