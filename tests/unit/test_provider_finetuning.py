"""The simulated provider's fine-tuning API: OpenAI's forms, its faults, and models that learn what their rows say."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import dspy
import httpx
import openai
import pytest
from dspy.adapters.chat_adapter import ChatAdapter

from simulated_provider.testing import RunningProvider, running_provider

TRIAGE = Path(__file__).parents[2] / "examples" / "triage"
LABELS = sorted({json.loads(line)["label"] for line in (TRIAGE / "knowledge.jsonl").read_text().splitlines()})


class Classify(dspy.Signature):
    """Name the category."""

    ticket: str = dspy.InputField()
    category: Literal[tuple(LABELS)] = dspy.OutputField()  # type: ignore[valid-type]


@pytest.fixture(scope="module")
def provider() -> Iterator[RunningProvider]:
    with running_provider(knowledge=TRIAGE / "knowledge.jsonl", model={"small": 0.05}) as running:
        yield running


@pytest.fixture
def client(provider: RunningProvider) -> Iterator[openai.OpenAI]:
    provider.set_tuning()
    with openai.OpenAI(base_url=provider.url, api_key="key", max_retries=0, timeout=2) as made:
        yield made


def examples(name: str, most: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TRIAGE / "data" / f"{name}.jsonl").read_text().splitlines()][:most]


def rows(found: list[dict[str, Any]], label: str = "category") -> bytes:
    """Returns training rows in the form of DSPy's ChatAdapter."""
    made = [
        ChatAdapter().format_finetune_data(Classify, [], {"ticket": each["ticket"]}, {"category": each[label]})
        for each in found
    ]
    return "\n".join(map(json.dumps, made)).encode()


def tuned(client: openai.OpenAI, data: bytes) -> str:
    file = client.files.create(file=("rows.jsonl", data), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="small", training_file=file.id, suffix="test")
    model = client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
    assert model is not None
    return model


def score(url: str, model: str) -> float:
    lm = dspy.LM(f"openai/{model}", api_base=url, api_key="key", cache=False)
    program, found = dspy.Predict(Classify), examples("test", 40)
    with dspy.context(lm=lm, adapter=ChatAdapter()):
        right = [program(ticket=each["ticket"]).category == each["category"] for each in found]
    return right.count(True) / len(found)


def test_a_tuned_model_is_better_if_its_rows_are_right_and_worse_if_they_are_wrong(
    client: openai.OpenAI, provider: RunningProvider
) -> None:
    found = examples("train", 200)
    wrong = [{**each, "category": LABELS[(LABELS.index(each["category"]) + 1) % len(LABELS)]} for each in found]
    base, good = score(provider.url, "small"), score(provider.url, tuned(client, rows(found)))
    bad = score(provider.url, tuned(client, rows(wrong)))
    few = score(provider.url, tuned(client, rows(found[:12])))
    print(base, few, good, bad)
    assert good >= base + 0.2
    assert bad < good - 0.3
    assert few <= good


def test_a_job_goes_from_one_status_to_the_next(client: openai.OpenAI, provider: RunningProvider) -> None:
    provider.set_tuning(queue=43200, training=600)
    file = client.files.create(file=("rows.jsonl", rows(examples("train", 20))), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="small", training_file=file.id, metadata={"key": "a"}, seed=1)
    seen = []
    for seconds in (0, 30000, 13300, 600):
        provider.advance(seconds)
        job = client.fine_tuning.jobs.retrieve(job.id)
        seen.append(job.status)
    assert seen == ["validating_files", "queued", "running", "succeeded"]
    assert job.fine_tuned_model in {model.id for model in client.models.list()}
    assert job.trained_tokens
    assert next(iter(client.fine_tuning.jobs.list_events(job.id))).message == "The job is succeeded"
    checkpoint = next(iter(client.fine_tuning.jobs.checkpoints.list(job.id)))
    assert checkpoint.fine_tuned_model_checkpoint == f"{job.fine_tuned_model}:ckpt-step-20"
    assert [each.id for each in client.fine_tuning.jobs.list(metadata={"key": "a"})] == [job.id]
    assert [*client.fine_tuning.jobs.list(metadata={"key": "b"})] == []
    assert client.files.content(file.id).content == rows(examples("train", 20))


@pytest.mark.parametrize(
    ("data", "code"),
    [(b'{"messages": []}\n', "invalid_training_file"), (rows(examples("train", 9)), "invalid_n_examples")],
)
def test_a_file_that_cannot_be_used_fails_the_job(client: openai.OpenAI, data: bytes, code: str) -> None:
    file = client.files.create(file=("rows.jsonl", data), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="small", training_file=file.id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == code


@pytest.mark.parametrize(
    ("fate", "error", "made"),
    [
        ("ok", None, 1),
        ("limit", openai.RateLimitError, 0),
        ("error", openai.InternalServerError, 0),
        ("error after", openai.InternalServerError, 1),
        ("drop", openai.APIConnectionError, 0),
        ("drop after", openai.APIConnectionError, 1),
        ("hang after", openai.APITimeoutError, 1),
    ],
)
def test_a_write_fails_as_the_rules_say(
    client: openai.OpenAI, provider: RunningProvider, fate: str, error: type[Exception] | None, made: int
) -> None:
    before = len(provider.set_tuning(writes=[fate])["files"])
    with pytest.raises(error) if error else nullcontext():
        client.files.create(file=("rows.jsonl", b"{}"), purpose="fine-tune")
    assert len(provider.tuning()["files"]) == before + made


def test_lists_have_pages(client: openai.OpenAI) -> None:
    for _ in range(5):
        client.files.create(file=("page.jsonl", b"{}"), purpose="fine-tune")
    page = client.files.list(limit=2, purpose="fine-tune")
    assert len(page.data) == 2
    assert page.has_more
    assert sum(file.filename == "page.jsonl" for file in page) == 5


def test_a_rule_that_does_not_exist_is_refused(provider: RunningProvider) -> None:
    response = httpx.put(f"{provider.url.removesuffix('/v1')}/admin/fine_tuning", json={"wait": 5})
    assert response.status_code == 400
    assert "known are queue" in response.text
