"""Every LM call passes through our interceptors in DSPy's LM client, in each supported version."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import dspy
import pytest

from simulated_provider.testing import running_provider
from support.compiles import ROOT
from support.flows import answering
from swarm_wire.spending import Allowance, Usage
from swarm_worker.client import prices
from swarm_worker.client.call import Around, Completion, LMCall, Make
from swarm_worker.client.flow import Flow
from swarm_worker.client.installed import client
from swarm_worker.content.codec import Codec
from swarm_worker.provider.budget import Budget

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing OpenAI-style message dictionaries:DeprecationWarning"),
]
KEY = "sk-of-the-student"


class Own(dspy.BaseLM):
    """An LM class of the user, which answers in the form of OpenAI."""

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        choice = SimpleNamespace(message=SimpleNamespace(content="own"), finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage={}, model="own")


@pytest.fixture(scope="module")
def provider() -> Iterator[Any]:
    with running_provider(seed=1, knowledge=ROOT / "examples" / "triage" / "knowledge.jsonl") as running:
        yield running


@pytest.fixture
def lm(provider: Any) -> Iterator[Any]:
    provider.reset()
    model = dspy.LM("openai/small", api_base=provider.url, api_key=KEY, temperature=0.5, num_retries=0)
    with dspy.context(lm=model, disable_history=True):
        yield model


@contextmanager
def heard(answer: Around = lambda lm, call, make: make.once()) -> Iterator[list[LMCall]]:
    """Yields a list of the calls made within the block. `answer` makes their answers."""
    calls: list[LMCall] = []

    def around(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        calls.append(call)
        return answer(lm, call, make)

    undo = client().intercept(around)
    try:
        yield calls
    finally:
        undo()


WAYS: dict[str, Callable[[Any], Any]] = {
    "a prompt": lambda lm: lm("Say hello."),
    "a prompt by name": lambda lm: lm(prompt="Say hello."),
    "messages": lambda lm: lm(messages=[{"role": "user", "content": "Say hello."}]),
    "a coroutine": lambda lm: asyncio.run(lm.acall("Say hello.")),
    "a predictor": lambda lm: dspy.Predict("question -> answer")(question="Say hello."),
    "a predictor's coroutine": lambda lm: asyncio.run(dspy.Predict("question -> answer").acall(question="Say hello.")),
    "a copy of the LM": lambda lm: lm.copy(rollout_id=3, temperature=1.0)("Say hello."),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_lm_call_is_intercepted(lm: Any, provider: Any, way: str) -> None:
    with heard() as calls:
        WAYS[way](lm)
    assert len(calls) == provider.stats()["requests"] == 1
    assert calls[0].content["model"] == "openai/small"
    assert calls[0].content["messages"][-1]["role"] == "user"
    assert "Say hello." in calls[0].content["messages"][-1]["content"]


def test_a_call_of_an_lm_class_of_the_user_is_intercepted_and_not_cached() -> None:
    with heard() as calls:
        assert Own("own")("Say hello.") == ["own"]
    assert [call.cached for call in calls] == [False]


def test_the_identity_of_a_request_excludes_endpoint_and_api_key(lm: Any, provider: Any) -> None:
    with heard() as calls:
        lm("Say hello.", top_p=0.9)
    assert KEY not in str(calls[0].content)
    assert provider.url not in str(calls[0].content)
    assert calls[0].content["temperature"] == 0.5
    assert calls[0].content["top_p"] == 0.9


def test_parameters_of_a_call_are_part_of_the_request(lm: Any) -> None:
    with heard() as calls:
        for parameters in ({}, {"rollout_id": 1}, {"rollout_id": 2}, {"temperature": 0.7}, {"n": 2}):
            lm("Say hello.", **parameters)
        lm("Say hello.")
    texts = [str(call.content) for call in calls]
    assert len(set(texts)) == 5
    assert texts[0] == texts[-1]


@pytest.mark.parametrize(
    ("of_lm", "of_call", "cached"),
    [
        ({}, {}, True),
        ({"cache": False}, {}, False),
        ({}, {"cache": False}, False),
        ({"cache": False}, {"cache": True}, True),
    ],
)
def test_an_uncached_call_is_recognized(lm: Any, of_lm: Any, of_call: Any, cached: bool) -> None:
    with heard() as calls:
        lm.copy(**of_lm)("Say hello.", **of_call)
    assert [call.cached for call in calls] == [cached]


def test_a_call_costs_the_requests_and_tokens_that_the_provider_counts(lm: Any, provider: Any) -> None:
    answers: list[Any] = []

    def keep(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        answers.append((yield make))
        return answers[-1]

    with heard(keep) as calls, dspy.track_usage() as tracker:
        assert len(lm("Say hello.", n=3)) == 3
    assert calls[0].count == 3
    usage = client().usage(answers[0])
    assert usage.calls == provider.stats()["requests"]
    [told] = tracker.get_total_tokens().values()
    assert (told["prompt_tokens"], told["completion_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert usage.completion_tokens > 0


HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
REFUSAL = "that it is overloaded"
SAYS = {
    "nothing": b"",
    "a part of an answer": HEAD % (b"200 OK", 1000) + b'{"id": ',
    "an answer that nobody can read": HEAD % (b"200 OK", 4) + b"oops",
    "an answer of something else": HEAD % (b"200 OK", 2) + b"{}",
    REFUSAL: HEAD % (b"503 Service Unavailable", 2) + b"{}",
}


@contextmanager
def server(says: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Runs a server that answers each request with these bytes and hangs up. Yields the server's address and its
    requests."""
    asked: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            with line:
                asked.append(line.recv(2**20))
                line.sendall(says)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", asked
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("model", ["openai/small", "together_ai/small", "mistral/small"])
@pytest.mark.parametrize("says", SAYS)
def test_only_a_request_that_the_provider_refused_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, says: str, model: str
) -> None:
    """LiteLLM reports a broken connection or an unreadable answer as status 500. DSPy then repeats the request."""
    prices.keep_offline()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    budget = Budget(Allowance(calls=2), None, lambda booked: None)
    undo = client().intercept_requests(budget.around)
    try:
        with server(SAYS[says]) as (url, asked), suppress(Exception):
            dspy.LM(model, api_base=url, api_key=KEY, num_retries=2)("Say hello.")
    finally:
        undo()
    assert (len(asked), budget.spent.calls) in ([(3, 0)] if says == REFUSAL else [(1, 1), (2, 2)])


def test_an_answer_from_dspys_cache_costs_nothing(lm: Any, provider: Any) -> None:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    answers: list[Any] = []

    def keep(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        answers.append((yield make))
        return answers[-1]

    with heard(keep):
        assert lm("Say hello.") == lm("Say hello.")
    assert provider.stats()["requests"] == 1
    assert [client().usage(answer).calls for answer in answers] == [1, 0]


def test_an_answer_can_be_serialized(lm: Any, provider: Any) -> None:
    codec, kept = Codec({"student model's API key": KEY}), []

    def record(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        kept.append(codec.dumps((yield make)))
        return codec.loads(kept[-1])

    with heard(record):
        said = lm("Say hello.")
    with heard(answering(codec.loads(kept[0]))), dspy.track_usage() as tracker:
        assert lm("Say hello.") == said
    assert provider.stats()["requests"] == 1
    assert tracker.get_total_tokens()["openai/small"]["prompt_tokens"] > 0


def test_a_call_can_be_serialized_and_made_without_interception(lm: Any, provider: Any) -> None:
    codec, make = Codec({"student model's API key": KEY}), client().maker()
    with heard() as calls:
        said = lm("Say hello.")
        again = make(*codec.loads(codec.dumps((lm, calls[0])))).block()
    assert len(calls) == 1
    assert provider.stats()["requests"] == 2
    with heard(answering(again)):
        assert lm("Something else.") == said


@pytest.mark.parametrize("texts", [["one"], ["one", "two"]])
def test_an_answer_can_be_invented_for_each_version_of_dspy(lm: Any, provider: Any, texts: list[str]) -> None:
    made_up = client().answer(lm, [Completion(text, 2) for text in texts], 7)
    with heard(answering(made_up)):
        assert lm("Say hello.", n=len(texts)) == texts
    assert provider.stats()["requests"] == 0
    usage = client().usage(made_up)
    assert usage.completion_tokens == 2 * len(texts)
    assert usage in (Usage(calls=n, prompt_tokens=7 * n, completion_tokens=2 * len(texts)) for n in (1, len(texts)))


def test_a_note_that_is_attached_to_messages_is_part_of_their_call(lm: Any) -> None:
    class Noting(dspy.utils.callback.BaseCallback):
        def on_adapter_format_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            client().note(outputs, "note", len(outputs))

    made_up = client().answer(lm, [Completion("[[ ## answer ## ]]\nhello", 1)], 1)
    with heard(answering(made_up)) as calls, dspy.context(callbacks=[Noting()]):
        assert dspy.Predict("question -> answer")(question="Say hello.").answer == "hello"
        lm("A plain prompt.")
    assert [call.content["messages"][0].get("note") for call in calls] == [2, None]


def test_the_last_interceptor_is_called_first_and_can_be_removed_completely(lm: Any) -> None:
    seen: list[str] = []

    def named(name: str) -> Around:
        def around(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
            seen.append(name)
            return (yield make)

        return around

    before = dspy.BaseLM.__call__
    with heard(named("inner")), heard(named("outer")):
        lm("Say hello.")
    assert seen == ["outer", "inner"]
    lm("Say hello.")
    assert len(seen) == 2
    assert dspy.BaseLM.__call__ is before


def test_each_callback_of_dspy_is_called_once_for_an_lm_call(lm: Any) -> None:
    told: list[Any] = []

    class Listener(dspy.utils.callback.BaseCallback):
        def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            told.append(inputs.get("prompt") or inputs.get("items"))

    with dspy.context(callbacks=[Listener()]), heard(), heard():
        lm("Say hello.")
    assert told in (["Say hello."], [("Say hello.",)])
