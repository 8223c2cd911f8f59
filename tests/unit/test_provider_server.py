"""The simulated provider has OpenAI's API over HTTP, and can fail, wait and check keys as told."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest

from simulated_provider import faults
from simulated_provider.faults import FaultError, Faults, Latency, RateLimit
from simulated_provider.knowledge import KnowledgeError, read
from simulated_provider.testing import RunningProvider, running_provider
from support.provider import Sort, messages

BODY = {"model": "small", "messages": messages("chat", Sort, {"text": "rain"}), "temperature": 0.0}


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningProvider]:
    with running_provider(model={"tiny": 0.1}) as provider:
        yield provider


@pytest.fixture
def provider(shared: RunningProvider) -> RunningProvider:
    shared.reset()
    return shared


def call(url: str, body: Any = None, key: str | None = None, timeout: float = 30) -> tuple[int, Any, Any]:
    """Sends a POST with `body`, or a GET without it. Returns status, headers and JSON of the answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.headers, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


def ask(provider: RunningProvider, **changes: Any) -> tuple[int, Any, Any]:
    return call(f"{provider.url}/chat/completions", {**BODY, **changes})


def about(text: str) -> Any:
    return messages("chat", Sort, {"text": text})


# --- the API ------------------------------------------------------------------------------------------------------


def test_a_completion_has_the_form_of_openais_api(provider: RunningProvider) -> None:
    status, _, answer = ask(provider)
    usage = answer["usage"]
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "small"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"]["content"].endswith("[[ ## completed ## ]]")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > usage["completion_tokens"] > 0


def test_equal_requests_get_equal_answers_in_another_process_and_order(provider: RunningProvider) -> None:
    texts = [f"copper rain {number}" for number in range(12)]
    with running_provider(model={"tiny": 0.1}) as other:
        first = [ask(provider, messages=about(text))[2] for text in texts]
        second = [ask(other, messages=about(text))[2] for text in reversed(texts)]
    assert first == second[::-1]


def test_the_first_of_several_completions_equals_a_single_completion(provider: RunningProvider) -> None:
    single, several = ask(provider)[2], ask(provider, n=3)[2]
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    assert several["choices"][0] == single["choices"][0]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_an_answer_is_cut_at_the_requested_number_of_tokens(provider: RunningProvider, limit: str) -> None:
    answer = ask(provider, **{limit: 5})[2]
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5


def test_the_provider_lists_its_models(provider: RunningProvider) -> None:
    listed = call(f"{provider.url}/models")[2]
    assert [model["id"] for model in listed["data"]] == ["small", "large", "tiny"]
    assert call(f"{provider.url}/models/tiny")[2]["id"] == "tiny"


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"model": "huge"}, 404, "model_not_found", "model"),
        ({"messages": []}, 400, None, "messages"),
        ({"messages": "hello"}, 400, "invalid_type", "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, None, "messages"),
        ({"n": 0}, 400, None, "n"),
        ({"temperature": 3}, 400, None, "temperature"),
        ({"max_tokens": "many"}, 400, "invalid_type", "max_tokens"),
        ({"stream": True}, 400, "unsupported_value", "stream"),
    ],
)
def test_invalid_requests_get_the_error_that_openai_would_send(
    provider: RunningProvider, changes: Any, status: int, code: str | None, param: str
) -> None:
    got, _, body = ask(provider, **changes)
    assert got == status
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)


@pytest.mark.parametrize(("path", "body"), [("/chat/completions", b"{"), ("/nothing", None)])
def test_malformed_requests_get_the_error_that_openai_would_send(
    provider: RunningProvider, path: str, body: bytes | None
) -> None:
    status, _, answer = call(provider.url + path, body)
    assert status in (400, 404)
    assert "message" in answer["error"]


def test_dspy_can_call_the_provider(provider: RunningProvider) -> None:
    lm = dspy.LM("openai/small", api_base=provider.url, api_key="x", engine="lm15", cache=False)
    with dspy.context(lm=lm):
        assert dspy.Predict(Sort)(text="rain").kind in ("fruit", "metal", "weather")


# --- keys ---------------------------------------------------------------------------------------------------------


def test_requests_need_one_of_the_api_keys() -> None:
    with running_provider(api_key=["one", "two"]) as provider:
        url = f"{provider.url}/chat/completions"
        statuses = [call(url, BODY, key)[0] for key in (None, "wrong", "one", "two")]
        refused = call(url, BODY, "wrong")[2]
        listed = call(f"{provider.url}/models")[0]
    assert statuses == [401, 401, 200, 200]
    assert refused["error"]["code"] == "invalid_api_key"
    assert listed == 401


# --- faults -------------------------------------------------------------------------------------------------------


def test_a_repeated_request_may_succeed_after_an_error(provider: RunningProvider) -> None:
    provider.set_faults(error_rate=1.0, error_status=503, first_attempts=2)
    assert [ask(provider)[0] for _ in range(3)] == [503, 503, 200]


def test_an_error_rate_is_the_share_of_attempts_that_fail(provider: RunningProvider) -> None:
    provider.set_faults(error_rate=0.3)
    statuses = [ask(provider, messages=about(f"rain {number}"))[0] for number in range(60)]
    assert 6 <= statuses.count(500) <= 32
    assert statuses.count(500) + statuses.count(200) == 60


def test_a_request_that_matches_the_error_pattern_always_fails(provider: RunningProvider) -> None:
    provider.set_faults(error_pattern="poi[s]on")
    assert [ask(provider, messages=about(text))[0] for text in ("poison", "rain", "poison")] == [500, 200, 500]


def test_a_hanging_request_is_never_answered_and_is_logged_when_its_caller_leaves(provider: RunningProvider) -> None:
    provider.set_faults(hang_pattern="stuck")
    with pytest.raises(TimeoutError):
        call(f"{provider.url}/chat/completions", {**BODY, "messages": about("stuck")}, timeout=0.3)
    assert ask(provider)[0] == 200
    while not (left := [entry for entry in provider.requests() if entry["status"] == 499]):
        pass
    assert left[0]["model"] == "small"


def test_malformed_answers_break_the_parser_in_the_same_way_each_time(provider: RunningProvider) -> None:
    provider.set_faults(malformed_rate=1.0)
    first, second = ask(provider)[2], ask(provider)[2]
    assert first == second
    assert "[[ ##" not in first["choices"][0]["message"]["content"]


PROPOSING = messages("chat", dspy.Signature("basic_instruction -> proposed_instruction"), {"basic_instruction": "Do."})


def written(answer: tuple[int, Any, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in answer[2]["choices"]]


def test_random_answers_to_the_same_request_differ(provider: RunningProvider) -> None:
    provider.set_faults(random=True)
    assert len({written(ask(provider, messages=PROPOSING))[0] for _ in range(8)}) > 1


@pytest.mark.parametrize(
    ("varied", "request_", "distinct"),
    [
        (True, {"temperature": 0.7}, 4),
        (True, {"temperature": 0.7, "seed": 1}, 1),
        (True, {"temperature": 0.0}, 1),
        (True, {"temperature": None}, 1),
        (False, {"temperature": 0.7}, 1),
    ],
)
def test_equal_requests_get_different_answers_only_where_a_real_model_would_vary(
    provider: RunningProvider, varied: bool, request_: Any, distinct: int
) -> None:
    provider.set_faults(varied=varied)
    assert len({written(ask(provider, messages=PROPOSING, **request_))[0] for _ in range(4)}) == distinct


def test_varied_answers_are_the_same_again_after_a_reset() -> None:
    asked = {"messages": PROPOSING, "temperature": 0.7}
    with running_provider(varied=True) as provider:
        first = [written(ask(provider, **asked))[0] for _ in range(4)]
        provider.reset()
        again = [written(ask(provider, **asked))[0] for _ in range(4)]
        provider.reset()
        at_once = written(ask(provider, **asked, n=4))
    assert first == again == at_once


def test_the_own_client_of_dspy_gets_varied_completions(provider: RunningProvider) -> None:
    provider.set_faults(varied=True)
    proposer = dspy.Predict("basic_instruction -> proposed_instruction", n=4, temperature=1.0)
    with dspy.context(lm=dspy.LM("openai/small", api_base=provider.url, api_key="none", cache=False)):
        proposed = proposer(basic_instruction="Do.").completions.proposed_instruction
    assert len(set(proposed)) == 4
    assert provider.stats()["requests"] == 4


def test_requests_over_the_rate_limit_get_status_429(provider: RunningProvider) -> None:
    provider.set_faults(rpm=60, burst=2)
    got = [ask(provider) for _ in range(3)]
    assert [status for status, _, _ in got] == [200, 200, 429]
    assert got[2][1]["Retry-After"] == "1"
    assert got[2][2]["error"]["code"] == "rate_limit_exceeded"


def test_several_requests_can_wait_for_their_answers_at_the_same_time(provider: RunningProvider) -> None:
    provider.set_faults(latency="constant:0.3")
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda number: ask(provider, messages=about(f"{number}"))[0], range(20)))
    assert statuses == [200] * 20
    assert provider.stats()["peak_in_flight"] > 5


def test_unused_requests_of_a_rate_limit_are_available_again_with_time() -> None:
    limit = RateLimit(rpm=120, burst=1)
    assert [limit.wait(0), limit.wait(0.1), limit.wait(0.5), limit.wait(10), limit.wait(10)] == [0, 0.4, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("0.2", 0.2, 0.2), ("constant:0.2", 0.2, 0.2), ("uniform:0.1:0.3", 0.1, 0.3), ("lognormal:0.2:0.5", 0.01, 4.0)],
)
def test_the_latency_of_an_answer_depends_only_on_the_request(text: str, low: float, high: float) -> None:
    drawn = [Latency.parse(text).draw(0, str(number)) for number in range(200)]
    assert drawn == [Latency.parse(text).draw(0, str(number)) for number in range(200)]
    assert low <= min(drawn) <= max(drawn) <= high
    assert (len(set(drawn)) > 1) == (low < high)


@pytest.mark.parametrize("text", ["", "fast", "uniform:1", "uniform:1,2", "constant:-1", "normal:1:2", "constant:nan"])
def test_invalid_latencies_are_refused(text: str) -> None:
    with pytest.raises(FaultError, match="expected SECONDS"):
        Latency.parse(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": 1}, "unknown rule 'speed'"),
        ({"error_rate": 2}, "between 0 and 1"),
        ({"error_rate": "often"}, "error_rate must be of type number"),
        ({"random": 1}, "random must be of type bool"),
        ({"hang_pattern": "("}, "hang_pattern"),
        ({"error_status": 200}, "error_status"),
        ({"rpm": -1}, "must not be negative"),
    ],
)
def test_invalid_rules_for_faults_are_refused(values: Any, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        Faults.of(values)


def test_a_spoilt_answer_has_no_brackets_that_an_adapter_could_parse() -> None:
    assert not {"[", "{", "<"} & set(faults.spoil('[[ ## kind ## ]]\n{"kind": 1}<kind>'))


# --- admin --------------------------------------------------------------------------------------------------------


def test_statistics_and_request_log_count_the_requests(provider: RunningProvider, tmp_path: Path) -> None:
    ask(provider)
    ask(provider)
    ask(provider, model="large")
    ask(provider, model="huge")
    stats, entries = provider.stats(), provider.requests()
    assert stats["requests"] == 4
    assert stats["distinct"] == 2
    assert stats["answered_again"] == 1
    assert stats["by_status"] == {"200": 3, "404": 1}
    assert stats["by_model"] == {"small": 2, "large": 1, "huge": 1}
    assert stats["in_flight"] == 0
    assert stats["completion_tokens"] > 0
    assert [entry["sequence"] for entry in entries] == [1, 2, 3, 4]
    assert set(entries[0]) == {"sequence", "time", "model", "digest", "status", "latency"}
    assert entries[0]["digest"] == entries[1]["digest"] != entries[2]["digest"]
    assert [entry["sequence"] for entry in provider.requests(after=3)] == [4]


def test_reset_forgets_requests_and_restores_the_rules_of_the_command_line() -> None:
    with running_provider(error_rate=1.0, error_status=501) as provider:
        provider.set_faults()
        assert ask(provider)[0] == 200
        provider.reset()
        assert provider.stats()["requests"] == 0
        assert provider.requests() == []
        assert ask(provider)[0] == 501


def test_rules_for_faults_can_be_read_back_and_wrong_rules_are_refused(provider: RunningProvider) -> None:
    assert provider.set_faults(rpm=60)["rpm"] == 60
    status, _, _ = call(provider.url.replace("/v1", "/admin/faults"))
    assert status == 200
    with pytest.raises(urllib.error.HTTPError) as raised:
        provider.set_faults(rpm="fast")
    raised.value.close()
    assert raised.value.code == 400


def test_the_log_file_has_a_line_for_every_request(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with running_provider(request_log=log) as provider:
        ask(provider)
        ask(provider, model="huge")
    assert [json.loads(line)["status"] for line in log.read_text(encoding="utf-8").splitlines()] == [200, 404]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"label": "a"}', '{"text": "b"}', '{"label": 1, "text": "b"}', '{"label": "a", "texts": []}'],
)
def test_an_error_in_the_knowledge_file_names_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "knowledge.jsonl"
    path.write_text('{"label": "a", "text": "b"}\n' + line, encoding="utf-8")
    with pytest.raises(KnowledgeError, match="line 2"):
        read(path)


def test_the_provider_does_not_start_with_invalid_options() -> None:
    with pytest.raises(RuntimeError, match="exit status 2"), running_provider(latency="fast"):
        pass
