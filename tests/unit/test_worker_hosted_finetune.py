"""Looks at a fine-tune create one file and one job, whatever the provider answers and whenever a process dies."""

import contextlib
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from simulated_provider.testing import RunningProvider, running_provider
from support.sampling import WHOLE
from swarm_wire.messages import Pending
from swarm_worker.errors import BadInput
from swarm_worker.finetuning import hosted, retirement
from swarm_worker.finetuning.hosted import KEY, Look
from swarm_worker.finetuning.order import Order, Tuned, json_lines

FATES = ["ok", "error", "error after", "drop", "drop after", "hang after", "limit"]
DAY = 86400.0


class Dies(BaseException):
    """The process is killed."""


@pytest.fixture(scope="module")
def provider() -> Iterator[RunningProvider]:
    with running_provider() as running:
        yield running


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "TIMEOUT", 0.15)


@pytest.fixture
def client(provider: RunningProvider) -> Iterator[openai.OpenAI]:
    provider.set_tuning()
    with openai.OpenAI(base_url=provider.url, api_key="key") as made:
        yield made


NUMBERS = iter(range(10**6))


def order(**parameters: Any) -> Order:
    """Returns an order that is like no other."""
    number = next(NUMBERS)
    talk = [{"role": "user", "content": f"ticket {number}"}, {"role": "assistant", "content": "billing"}]
    rows = json_lines([{"messages": talk}] * 12)
    return Order("student", "openai/small", "http://p/v1", {"seed": 0, "n_epochs": 3, **parameters}, rows)


class Run:
    """A run's journal, and its clock. A record is in the journal as soon as it is printed."""

    def __init__(self, client: openai.OpenAI, wanted: Order, deadline: float = 2 * DAY, lifetime: int = 0) -> None:
        self.client, self.order, self.deadline, self.lifetime = client, wanted, deadline, lifetime
        self.journal: list[Pending] = []
        self.now, self.paid = 0.0, list[int]()

    def look(self, dies_after: int | None = None) -> Tuned | Pending:
        """Makes one look in a new process. The process may die after so many records."""

        def note(record: Pending) -> None:
            self.journal.append(record)
            if dies_after is not None and len(self.journal) >= dies_after:
                raise Dies

        before = max(self.journal, key=lambda record: record.number, default=None)
        given: dict[str, Any] = {"now": self.now, "deadline": self.deadline, "note": note, "pay": self.paid.append}
        given["lifetime"] = self.lifetime
        found = Look(self.client, self.order, before, **given).look()
        if isinstance(found, Pending):
            self.journal.append(found)
            self.now += found.retry_after
        return found

    def end(self, most: int = 60) -> Tuned:
        for _ in range(most):
            if isinstance(found := self.look(), Tuned):
                return found
        raise AssertionError(self.journal[-1])


def made(provider: RunningProvider, wanted: Order) -> tuple[int, int]:
    """Returns how many files and jobs there are of an order."""
    state = provider.tuning()
    files = [file for file in state["files"] if file["filename"] == f"{wanted.key}.jsonl"]
    jobs = [job for job in state["jobs"] if (job["metadata"] or {}).get(KEY) == wanted.key]
    return len(files), len(jobs)


def test_a_job_that_ends_at_once_needs_one_look(client: openai.OpenAI, provider: RunningProvider) -> None:
    run = Run(client, order(suffix="triage"))
    found = run.look()
    assert isinstance(found, Tuned)
    assert found.model.startswith("openai/ft:small:simulated:triage:")
    assert found.tokens > 0
    assert made(provider, run.order) == (1, 1)
    assert len(run.paid) == 1


def test_a_job_takes_hours_and_each_look_says_how_it_is(client: openai.OpenAI, provider: RunningProvider) -> None:
    provider.set_tuning(queue=43200, training=600)
    run = Run(client, order())
    said = []
    for _ in range(200):
        found = run.look()
        if isinstance(found, Tuned):
            break
        said.append(found.message.split(" is ")[-1])
        provider.advance(found.retry_after)
    assert list(dict.fromkeys(said)) == ["validating_files", "queued", "running"]
    assert 70 < len(said) < 90
    assert len({record.number for record in run.journal}) == len(run.journal)
    assert made(provider, run.order) == (1, 1)


def test_an_equal_order_uses_the_job_of_an_earlier_run(client: openai.OpenAI, provider: RunningProvider) -> None:
    wanted = order()
    first, second = Run(client, wanted).end(), Run(client, wanted).end()
    assert first == second
    assert made(provider, wanted) == (1, 1)


@pytest.mark.parametrize("changes", [{"n_epochs": 4}, {"seed": 1}, {"suffix": "x"}])
def test_another_parameter_is_another_order(changes: dict[str, Any]) -> None:
    wanted = order()
    other = Order(wanted.role, wanted.base, wanted.endpoint, {**wanted.parameters, **changes}, wanted.rows)
    assert other.key != wanted.key
    assert Order("teacher", wanted.base, wanted.endpoint, wanted.parameters, wanted.rows).key == wanted.key
    assert Order.from_bytes(wanted.to_bytes()) == wanted


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("write", [0, 1], ids=["file", "job"])
def test_any_answer_to_a_write_leads_to_one_file_and_one_job(
    client: openai.OpenAI, provider: RunningProvider, write: int, fate: str
) -> None:
    provider.set_tuning(writes=["ok"] * write + [fate])
    run = Run(client, order())
    run.end()
    assert made(provider, run.order) == (1, 1)


def test_faults_at_each_write_and_kills_lead_to_one_file_and_one_job(
    client: openai.OpenAI, provider: RunningProvider
) -> None:
    for seed in range(500 if WHOLE else 60):
        dice = random.Random(seed)
        fates = [dice.choice(FATES) for _ in range(dice.randrange(6))]
        provider.set_tuning(
            writes=fates,
            ignores_filter=dice.random() < 0.5,
            status=dice.choice(["", "", "warming_up"]),
            queue=dice.choice([0, 0, 300]),
        )
        run = Run(client, order())
        for _ in range(60):
            try:
                dies = len(run.journal) + 1 if dice.random() < 0.2 else None
                if isinstance(run.look(dies), Tuned):
                    break
            except Dies:
                pass
            provider.advance(60)
        assert made(provider, run.order) == (1, 1), (seed, fates)


def test_a_filter_that_the_provider_ignores_adopts_no_other_job(
    client: openai.OpenAI, provider: RunningProvider
) -> None:
    Run(client, order()).end()
    provider.set_tuning(ignores_filter=True)
    run = Run(client, order())
    run.end()
    assert made(provider, run.order) == (1, 1)


def test_a_job_that_is_not_shown_for_a_while_is_not_made_again(
    client: openai.OpenAI, provider: RunningProvider
) -> None:
    provider.set_tuning(queue=3600)
    run = Run(client, order())
    run.look()
    provider.set_tuning(queue=3600, lost=True)
    for _ in range(3):
        assert isinstance(run.look(), Pending)
    provider.set_tuning()
    provider.advance(3600)
    run.end()
    assert made(provider, run.order) == (1, 1)


def test_a_job_that_is_gone_ends_the_run(client: openai.OpenAI, provider: RunningProvider) -> None:
    provider.set_tuning(queue=3600)
    run = Run(client, order())
    run.look()
    provider.set_tuning(queue=3600, lost=True)
    with pytest.raises(BadInput, match=r"is gone") as gone:
        run.end()
    assert gone.value.reason == "FineTuneFailed"


def test_a_failed_job_ends_the_run_and_a_new_run_makes_another(
    client: openai.OpenAI, provider: RunningProvider
) -> None:
    provider.set_tuning(fails="server_error")
    wanted = order()
    with pytest.raises(BadInput, match=r"has failed: server_error: The job has failed. With another finetune"):
        Run(client, wanted).end()
    provider.set_tuning()
    Run(client, wanted).end()
    assert made(provider, wanted) == (1, 2)


def test_a_job_that_takes_too_long_ends_the_run_and_a_new_run_adopts_it(
    client: openai.OpenAI, provider: RunningProvider
) -> None:
    provider.set_tuning(queue=2 * DAY)
    wanted = order()
    run = Run(client, wanted, deadline=DAY)
    with pytest.raises(BadInput, match=r"longer than finetune.deadlineSeconds: .* is validating_files") as late:
        run.end(most=200)
    assert late.value.reason == "FineTuneTimedOut"
    assert run.now >= DAY
    provider.advance(2 * DAY)
    Run(client, wanted).end()
    assert made(provider, wanted) == (1, 1)


def test_a_model_that_the_provider_does_not_tune_is_named(client: openai.OpenAI) -> None:
    wanted = order()
    other = Order("student", "openai/unknown", "", wanted.parameters, wanted.rows)
    with pytest.raises(BadInput, match=r"does not fine-tune openai/unknown.*Name another model") as refused:
        Run(client, other).end()
    assert refused.value.reason == "NotFinetunable"


def test_nothing_is_created_that_may_not_be_paid_for(client: openai.OpenAI, provider: RunningProvider) -> None:
    run = Run(client, order())

    def refuse(tokens: int) -> None:
        raise BadInput("LimitReached", f"{tokens} tokens")

    run.paid = type("", (list,), {"append": lambda _, tokens: refuse(tokens)})()
    with pytest.raises(BadInput, match="tokens"):
        run.look()
    assert made(provider, run.order) == (0, 0)


def test_a_job_is_paid_for_once_and_only_by_the_run_that_creates_it(
    client: openai.OpenAI, provider: RunningProvider
) -> None:
    provider.set_tuning(writes=["error after", "error", "hang after"])
    wanted = order()
    run, later = Run(client, wanted), Run(client, wanted)
    run.end()
    later.end()
    assert (len(run.paid), len(later.paid)) == (1, 0)


@pytest.mark.parametrize("fate", ["limit", "error"])
def test_a_provider_that_never_creates_anything_ends_the_run_at_the_deadline(
    client: openai.OpenAI, provider: RunningProvider, fate: str
) -> None:
    provider.set_tuning(writes=[fate] * 1000)
    run = Run(client, order(), deadline=3600)
    with pytest.raises(BadInput, match=r"longer than finetune.deadlineSeconds: there is no job yet") as late:
        run.end(most=200)
    assert late.value.reason == "FineTuneTimedOut"


def test_nothing_is_created_after_the_deadline(client: openai.OpenAI, provider: RunningProvider) -> None:
    provider.set_tuning(writes=["limit"])
    run = Run(client, order(), deadline=3600)
    run.look()
    run.now += 2 * DAY
    with pytest.raises(BadInput, match="there is no job yet"):
        run.look()
    assert made(provider, run.order) == (0, 0)


@pytest.mark.parametrize("fate", ["error after", "drop after", "hang after"])
def test_a_job_that_fails_while_its_answer_is_lost_is_not_created_again(
    client: openai.OpenAI, provider: RunningProvider, fate: str
) -> None:
    wanted = order()
    for jobs in (1, 2):
        provider.set_tuning(fails="invalid_training_file", writes=["ok", fate] if jobs == 1 else [fate])
        with pytest.raises(BadInput, match="has failed: invalid_training_file"):
            Run(client, wanted).end()
        assert made(provider, wanted) == (1, jobs)


def test_a_provider_without_metadata_gets_one_job(client: openai.OpenAI, provider: RunningProvider) -> None:
    provider.set_tuning(forgets_metadata=True, ignores_filter=True, writes=["ok", "drop after"])
    run = Run(client, order())
    run.end()
    later = Run(client, run.order)
    later.end()
    assert later.paid == []
    state = provider.tuning()
    files = {file["id"] for file in state["files"] if file["filename"] == f"{run.order.key}.jsonl"}
    assert len([job for job in state["jobs"] if job["training_file"] in files]) == 1


def test_a_model_that_somebody_has_deleted_ends_the_run(client: openai.OpenAI, provider: RunningProvider) -> None:
    wanted = order()
    Run(client, wanted).end()
    provider.set_tuning(deleted=True)
    with pytest.raises(BadInput, match=r"is gone.*Write another finetune.seed") as gone:
        Run(client, wanted).end()
    assert gone.value.reason == "FineTuneFailed"


def test_a_base_that_retires_too_soon_is_not_paid_for(
    client: openai.OpenAI, provider: RunningProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted, "TIMEOUT", 10.0)
    provider.set_tuning(retires=40 * 86400)
    run = Run(client, order(), lifetime=41)
    with pytest.raises(BadInput, match=r"retires openai/small on 1970-02-10, and .* is 41") as refused:
        run.look()
    assert refused.value.reason == "BaseRetires"
    assert (made(provider, run.order), run.paid) == ((0, 0), [])
    for days in (0, 39):
        allowed = Run(client, order(), lifetime=days)
        allowed.end()
        assert made(provider, allowed.order) == (1, 1)


def test_a_job_that_is_paid_for_is_used_though_its_base_retires(
    client: openai.OpenAI, provider: RunningProvider
) -> None:
    wanted = order()
    Run(client, wanted).end()
    provider.set_tuning(retires=86400)
    later = Run(client, wanted, lifetime=90)
    later.end()
    assert later.paid == []


REQUEST = httpx.Request("GET", "http://p/v1/models/small")
NO_ENDPOINT = openai.NotFoundError("no such path", response=httpx.Response(404, request=REQUEST), body=None)


@pytest.mark.parametrize(
    ("error", "is_asked_again"), [(NO_ENDPOINT, False), (openai.APIConnectionError(request=REQUEST), True)]
)
def test_a_provider_without_such_an_endpoint_retires_none_and_one_that_is_silent_is_asked_again(
    error: Exception, is_asked_again: bool
) -> None:
    def missing(name: str) -> Any:
        raise error

    shown: Any = type("", (), {"models": type("", (), {"retrieve": staticmethod(missing)})})
    with pytest.raises(openai.APIConnectionError) if is_asked_again else contextlib.nullcontext():
        retirement.check(shown, order(), 0, 90)


@pytest.mark.parametrize(
    ("shown", "time"),
    [
        ({}, None),
        ({"shutdown_date": 1_800_000_000}, 1_800_000_000),
        ({"shutdown_date": "2027-01-15"}, 1_799_971_200),
        ({"shutdown_date": None, "deprecation": None}, None),
        ({"deprecation": {"fine_tune": 1_700_000_000, "inference": 1_800_000_000}}, 1_800_000_000),
        ({"deprecation": {"fine_tune": 1_700_000_000}}, None),
        ({"deprecation": "2027-01-15T08:00:00Z"}, 1_800_000_000),
        ({"shutdown_date": 1_900_000_000, "deprecation_date": 1_800_000_000}, 1_800_000_000),
        ({"shutdown_date": "soon"}, None),
        ({"shutdown_date": 0}, None),
        ({"shutdown_date": True}, None),
        ({"shutdown_date": 1e300}, None),
        ({"shutdown_date": ["2027-01-15"]}, None),
    ],
)
def test_the_time_at_which_a_model_is_retired_is_read_in_any_form(shown: dict[str, Any], time: float | None) -> None:
    assert retirement.retires(shown) == time


def test_rows_are_the_same_bytes_whatever_the_order_of_their_keys() -> None:
    assert json_lines([{"a": 1, "b": "ü"}]) == json_lines([{"b": "ü", "a": 1}])
    assert json.loads(json_lines([{"a": "ü"}])) == {"a": "ü"}
