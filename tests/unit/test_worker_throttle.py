"""Each request of a process waits for the limiter, and a rate limit error fails no cell."""

import asyncio
import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import LMAuthError, LMBillingError, LMRateLimitError, LMServerError

from simulated_provider.testing import running_provider
from support.compiles import ROOT
from support.flows import around
from swarm_wire.rates import LimitedModel, RateLimit, RateLimits
from swarm_wire.spending import Usage
from swarm_worker.client.call import Make, Request, Send
from swarm_worker.client.flow import Flow
from swarm_worker.client.installed import client
from swarm_worker.client.versions import has_own_client
from swarm_worker.errors import BadInput
from swarm_worker.local.limiter import LocalLimiter
from swarm_worker.provider.throttle import Stopwatch, Throttle
from swarm_worker.provider.turns import OwnTurns

KEY = "sk-of-the-student"


@pytest.fixture(scope="module")
def provider() -> Iterator[Any]:
    knowledge = ROOT / "examples" / "triage" / "knowledge.jsonl"
    with running_provider(seed=1, knowledge=knowledge, api_key=[KEY]) as running:
        importlib.import_module("swarm_worker.client.warm")
        # A client may send its first requests seconds late, so this fixture sends some before the tests. DSPy's cache
        # is off in each test, but not in this fixture.
        for way in WAYS.values():
            way(the_model(running).copy(cache=False), 16)
        yield running


def the_model(provider: Any) -> Any:
    return dspy.LM("openai/small", api_base=provider.url, api_key=KEY, num_retries=0, max_tokens=50)


@pytest.fixture
def lm(provider: Any) -> Iterator[Any]:
    provider.reset()
    model = the_model(provider)
    with dspy.context(lm=model, disable_history=True):
        yield model


@contextmanager
def throttled(limits: RateLimits | None = None, patience: float = 600.0) -> Iterator[Throttle]:
    """Makes requests of this process wait for a limiter within the block."""
    with LocalLimiter(limits or RateLimits()) as limiter:
        throttle = Throttle(limits or RateLimits(), limiter.address, patience)
        undo = client().intercept_requests(throttle.around)
        try:
            yield throttle
        finally:
            undo()
            for gate in throttle._gates.values():
                for line in getattr(gate.turns, "_idle", ()):
                    line.close()


def limits(provider: Any, **figures: Any) -> RateLimits:
    limit = RateLimit(group="g", **figures)
    return RateLimits(models=(LimitedModel(model="openai/small", endpoint=provider.url, limit=limit),))


def in_threads(lm: Any, count: int) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: lm(f"Say {number}."), range(count)))


def in_coroutines(lm: Any, count: int) -> None:
    async def ask() -> None:
        await asyncio.gather(*(lm.acall(f"Say {number}.") for number in range(count)))

    asyncio.run(ask())


WAYS: dict[str, Callable[[Any, int], None]] = {"threads": in_threads, "coroutines": in_coroutines}


def served(provider: Any) -> dict[str, int]:
    found: dict[str, int] = provider.stats()["by_status"]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_gets_a_rate_limit_error_is_sent_again(lm: Any, provider: Any, way: str) -> None:
    provider.set_faults(rpm=600, burst=2)
    with throttled():
        WAYS[way](lm, 8)
    assert served(provider)["200"] == 8
    assert served(provider)["429"] > 0


@pytest.mark.parametrize("way", WAYS)
def test_requests_within_the_limit_get_no_rate_limit_error(lm: Any, provider: Any, way: str) -> None:
    provider.set_faults(rpm=600, burst=24)
    with throttled(limits(provider, requests_per_minute=600)):
        began = time.monotonic()
        WAYS[way](lm, 40)
        assert time.monotonic() - began >= 2.5
    assert served(provider) == {"200": 40}


def test_a_limit_of_tokens_counts_the_longest_possible_answer_of_a_request_in_flight(lm: Any, provider: Any) -> None:
    with throttled(limits(provider, tokens_per_minute=100_000)):
        lm("Say hello.")
        endless = lm.copy(max_tokens=None)
        with pytest.raises((BadInput, dspy.LMError), match=r"called without max_tokens.*dspy\.LM"):
            endless("Say more.")


@pytest.mark.parametrize("most", [None, 50])
def test_requests_of_other_models_in_a_group_count_for_its_limit_of_tokens(
    lm: Any, provider: Any, most: int | None
) -> None:
    """A request whose answer has no maximum of tokens counts only with its prompt."""
    asked: list[int] = []

    class Turns(OwnTurns):
        def wait(self, tokens: int) -> Any:
            asked.append(tokens)
            return super().wait(tokens)

    with throttled(limits(provider, requests_per_minute=6000)) as throttle:
        for gate in throttle._gates.values():
            gate.turns = Turns()
        lm.copy(max_tokens=most)("Say hello.")
    assert asked[0] > len("Say hello.") + (most or 0)


def test_an_endpoint_with_a_trailing_slash_is_the_same_endpoint(lm: Any, provider: Any) -> None:
    with throttled(limits(provider, requests_per_minute=6000)) as throttle:
        lm.copy(api_base=f"{provider.url}/")("Say hello.")
        assert len(throttle._gates) == 1


class Wrapped(dspy.LM):
    """An LM class of the user, derived from DSPy's."""

    def forward(self, prompt: Any = None, messages: Any = None, **given: Any) -> Any:
        return super().forward(prompt, messages, **given)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_lm_that_calls_itself_counts_as_a_single_request(provider: Any) -> None:
    provider.reset()
    provider.set_faults(error_rate=1.0, error_status=429, first_attempts=1)
    lm = Wrapped("openai/small", api_base=provider.url, api_key=KEY, num_retries=0, max_tokens=50, cache=False)
    with throttled(limits(provider, concurrency=1)), dspy.context(disable_history=True):
        asking = threading.Thread(target=in_threads, args=(lm, 2), daemon=True)
        asking.start()
        asking.join(30)
    assert served(provider) == {"200": 2, "429": 2}


def test_a_thread_that_outlives_its_request_waits_for_the_limiter_itself(
    lm: Any, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread or task keeps its context, which names the request in which it started, even after the request ends."""
    begun, turns, wait = list[Context](), list[int](), OwnTurns.wait

    def counted(own: OwnTurns, tokens: int) -> Any:
        turns.append(tokens)
        return wait(own, tokens)

    def send() -> Usage:
        begun.append(copy_context())
        return Usage(calls=1)

    monkeypatch.setattr(OwnTurns, "wait", counted)
    throttle, request = Throttle(RateLimits(), ""), Request(lm, provider.url, 1, pytest.fail)
    around(throttle.around, request, block=send)
    begun[0].run(lambda: around(throttle.around, request, block=send))
    assert len(turns) == 2


def test_a_model_without_limits_does_not_wait(lm: Any, provider: Any) -> None:
    with throttled(limits(provider, requests_per_minute=1)):  # a new limiter lets the small model wait
        large = dspy.LM("openai/large", api_base=provider.url, api_key=KEY, num_retries=0)
        began = time.monotonic()
        large("Say hello.")
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("fault", "error", "requests"),
    [
        ({"error_rate": 1.0, "error_status": 500}, LMServerError, 2),
        ({"error_rate": 1.0, "error_status": 402}, LMBillingError, 1),
        ({"error_rate": 1.0, "error_status": 401}, LMAuthError, 1),
    ],
)
def test_dspys_client_handles_errors_other_than_rate_limits(
    lm: Any, provider: Any, fault: Any, error: Any, requests: int
) -> None:
    provider.set_faults(**fault)
    with throttled(), pytest.raises(error):
        lm.copy(num_retries=1)("Say hello.")
    assert provider.stats()["requests"] == requests


@pytest.mark.skipif(not has_own_client(), reason="LiteLLM need not pass the provider's code on")
def test_an_exhausted_quota_is_no_rate_limit_error() -> None:
    """OpenAI also uses status 429 for an exhausted quota."""
    asked: list[str] = []

    class Exhausted(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            error = {"message": "You exceeded your quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
            body = json.dumps({"error": error}).encode()
            self.send_response(429)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Exhausted) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lm = dspy.LM("openai/m", api_base=f"http://127.0.0.1:{server.server_port}/v1", api_key=KEY, max_tokens=50)
        with throttled(), pytest.raises(LMBillingError):
            lm("Say hello.")
        server.shutdown()
    assert len(asked) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_gets_only_rate_limit_errors_finally_fails(lm: Any, provider: Any, way: str) -> None:
    provider.set_faults(error_rate=1.0, error_status=429)
    with throttled(patience=2), pytest.raises(LMRateLimitError):
        WAYS[way](lm, 1)
    assert 2 <= provider.stats()["requests"] <= 4


def test_a_rate_limit_error_uses_up_no_retry(lm: Any, provider: Any) -> None:
    """The first attempts get rate limit errors, and `num_retries` of the client is 0."""
    provider.set_faults(error_rate=1.0, error_status=429, first_attempts=2)
    with throttled():
        lm("Say hello.")
    assert served(provider) == {"200": 1, "429": 2}


@pytest.mark.parametrize("way", WAYS)
def test_every_request_passes_the_limiter_and_reports_its_tokens(lm: Any, provider: Any, way: str) -> None:
    heard: list[tuple[Request, Usage]] = []

    def hear(request: Request, send: Send) -> Flow[None]:
        heard.append((request, (yield send)))

    undo = client().intercept_requests(hear)
    try:
        WAYS[way](lm, 3)
    finally:
        undo()
    assert len(heard) == provider.stats()["requests"] == 3
    assert {request.endpoint for request, _ in heard} == {provider.url}
    assert all(KEY not in str(request.call().content) for request, _ in heard)
    stats = provider.stats()
    assert sum(used.prompt_tokens for _, used in heard) == stats["prompt_tokens"]
    assert sum(used.completion_tokens for _, used in heard) == stats["completion_tokens"]
    WAYS[way](lm, 1)
    assert len(heard) == 3


def test_the_limiter_does_not_change_the_reported_usage(lm: Any, provider: Any) -> None:
    answers: list[Any] = []

    def keep(lm: Any, call: Any, make: Make) -> Flow[Any]:
        answers.append((yield make))
        return answers[-1]

    undo = client().intercept(keep)
    try:
        with throttled(), dspy.track_usage() as tracker:
            lm("Say hello.", n=2)
    finally:
        undo()
    usage = client().usage(answers[0])
    stats = provider.stats()
    assert usage == Usage(
        calls=stats["requests"], prompt_tokens=stats["prompt_tokens"], completion_tokens=stats["completion_tokens"]
    )
    assert tracker.get_total_tokens()["openai/small"]["prompt_tokens"] == stats["prompt_tokens"]


def test_a_cells_time_stands_still_while_its_requests_wait_for_the_limiter(lm: Any, provider: Any) -> None:
    with throttled(limits(provider, requests_per_minute=60)) as throttle:
        began, real = throttle.clock(), time.monotonic()
        in_threads(lm, 4)
        waited = time.monotonic() - real
    assert waited >= 1.5
    assert throttle.clock() - began <= waited - 1


def test_the_stopwatch_of_waiting_times_counts_concurrent_waits_once() -> None:
    watch, began = Stopwatch(), time.monotonic()
    with watch.running():
        with watch.running():
            time.sleep(0.2)
        time.sleep(0.1)
    stopped = watch.seconds
    assert 0.3 <= stopped <= time.monotonic() - began, "counted twice, the inner wait would make it longer"
    time.sleep(0.1)
    assert watch.seconds == stopped
