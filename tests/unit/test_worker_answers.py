"""Answers of LM clients are journaled as JSON and read back unchanged, in each supported version of DSPy."""

import json
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.flows import answering
from swarm_worker.client import prices
from swarm_worker.client.call import Completion, LMCall, Make, ToolCall
from swarm_worker.client.flow import Flow
from swarm_worker.client.installed import client
from swarm_worker.client.versions import has_own_client
from swarm_worker.content import json_form
from swarm_worker.content.codec import Codec, SecretInPayload

KEY = "sk-of-the-student"
CODEC = Codec({"student model's API key": KEY})
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"word": "ü"}'}}
TOKEN = {"token": "Yes", "logprob": -0.1, "bytes": [89, 101, 115]}
LOGPROBS = {"content": [TOKEN | {"top_logprobs": [TOKEN, TOKEN | {"token": "No", "bytes": None}]}], "refusal": None}


def completion(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Returns an answer in the form of OpenAI's chat completions."""
    listed = [
        {"index": number, "finish_reason": "stop", "logprobs": None, **each} for number, each in enumerate(choices)
    ]
    made = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "small", "choices": listed, "usage": USAGE}
    return made | fields


def said(text: str | None, **message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text, **message}}


RESPONSE = {
    "id": "r-1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "small",
    "output": [
        {"type": "reasoning", "id": "rs-1", "summary": [{"type": "summary_text", "text": "First, think."}]},
        {
            "type": "message",
            "id": "m-1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Yes.", "annotations": []}],
        },
        {"type": "function_call", "id": "f-1", "call_id": "call_1", "name": "look_up", "arguments": '{"word": "ü"}'},
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 7,
        "output_tokens": 3,
        "total_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 1},
    },
}
"""An answer in the form of OpenAI's Responses API."""

SAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": (completion(said("Yes.")), {}),
    "several choices": (completion(said("Yes."), said("No.")), {"n": 2}),
    "no text": (completion(said(None)), {}),
    "text in all scripts": (completion(said('ü € 😀 \u0000 \u2028 \\ "$"')), {}),
    "half a character": (completion(said("cut \ud83d")), {}),
    "logprobs": (completion({**said("Yes"), "logprobs": LOGPROBS}), {"logprobs": True}),
    "tool calls": (completion({**said(None, tool_calls=[CALL, CALL]), "finish_reason": "tool_calls"}), {}),
    "reasoning": (completion(said("Yes.", reasoning_content="First, think.")), {}),
    "a refusal": (completion(said(None, refusal="I will not.")), {}),
    "fields of a server's own": (completion(said("Yes.", own={"$": [1, 0.5, None]}), service_tier="flex"), {}),
    "details of tokens": (
        completion(said("Yes."), usage=USAGE | {"completion_tokens_details": {"reasoning_tokens": 2}}),
        {},
    ),
    "a response": (RESPONSE, {"model_type": "responses"}),
}
PREFIXES = ("openai", "litellm_proxy")
"""Prefixes of models' names. DSPy 3.4's own client serves models with the first, LiteLLM those with the second."""


@contextmanager
def provider(body: dict[str, Any]) -> Iterator[str]:
    """Yields the address of a provider that gives this answer, with as many choices as the request asks for."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            choices = {"choices": body["choices"][: asked.get("n") or 1]} if "choices" in body else {}
            data = json.dumps(body | choices).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def answers(lm: Any) -> tuple[list[Any], Any]:
    """Returns the answers of DSPy's LM client, and the outputs that the caller gets."""
    found: list[Any] = []

    def around(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        found.append((yield make))
        return found[-1]

    undo = client().intercept(around)
    try:
        return found, lm("Say yes.")
    finally:
        undo()


def shape(thing: Any) -> Any:
    """Returns the class and the content of an object."""
    name = f"{type(thing).__module__}:{type(thing).__qualname__}"
    if isinstance(thing, dict):
        return name, [(key, shape(value)) for key, value in thing.items()]
    if isinstance(thing, list | tuple):
        return name, [*map(shape, thing)]
    if isinstance(thing, set):
        return name, sorted(thing)
    if thing is None or isinstance(thing, str | bytes | int | float):
        return name, repr(thing)
    return name, shape(thing.__getstate__())


def test_the_two_model_prefixes_of_these_tests_select_the_own_client_of_dspy_and_litellm() -> None:
    lms = [dspy.LM(f"{prefix}/small", api_base="http://m/v1", api_key=KEY) for prefix in PREFIXES]
    assert [client().needs_litellm(lm) for lm in lms] == [not has_own_client(), True]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("kind", SAYS)
def test_an_answer_is_journaled_as_json_and_read_back_unchanged(kind: str, prefix: str) -> None:
    prices.keep_offline()
    body, parameters = SAYS[kind]
    with provider(body) as url:
        lm = dspy.LM(f"{prefix}/small", api_base=url, api_key=KEY, num_retries=0, cache=False, **parameters)
        made, outputs = answers(lm)
    [answer] = made
    data = CODEC.dumps_answer(answer)
    again = CODEC.loads_answer(data)
    json.loads(data)
    assert shape(again) == shape(answer)
    assert client().usage(again) == client().usage(answer)
    undo = client().intercept(answering(again))
    try:
        assert shape(lm("Say yes.")) == shape(outputs)
    finally:
        undo()


@pytest.mark.parametrize(
    "completions",
    [
        [Completion("one", 1)],
        [Completion("one", 1), Completion("two", 2)],
        [Completion("", 1, [ToolCall("f", {"a": 1})])],
    ],
    ids=["text", "several", "a tool call"],
)
def test_an_invented_answer_is_journaled_as_json(completions: list[Completion]) -> None:
    answer = client().answer(dspy.LM("openai/small", api_key=KEY), completions, 7)
    data = CODEC.dumps_answer(answer)
    json.loads(data)
    assert shape(CODEC.loads_answer(data)) == shape(answer)


@pytest.mark.skipif(not has_own_client(), reason="LiteLLM alone makes the calls")
def test_an_answer_may_hold_every_part_that_dspys_own_client_knows() -> None:
    from dspy import lm15
    from dspy.clients.call_result import CallResult

    state = (lm15.ContinuationState("anthropic", "signature", {"data": ["a", 1]}),)
    media = (lm15.ImagePart, lm15.AudioPart, lm15.VideoPart, lm15.DocumentPart, lm15.BinaryPart)
    parts = (
        lm15.TextPart("a", state),
        lm15.ThinkingPart("First, think."),
        lm15.RefusalPart("I will not."),
        lm15.CitationPart(url="http://m", title="A page", text="a"),
        lm15.DataPart({"a": [1, None]}),
        lm15.ToolCallPart("call_1", "look_up", {"word": "ü"}, state),
        *(kind(url="http://m/file") for kind in media),
    )
    response = lm15.Response(
        id="r-1",
        model="small",
        message=lm15.Message(role="assistant", parts=parts),
        finish_reason="stop",
        usage=lm15.Usage(input_tokens=7),
        logprobs=(lm15.TokenLogprob("a", -0.1, bytes=b"a", top=(lm15.TopLogprob("b", -2.0),)),),
        provider_data={"choices": []},
        adaptations=(lm15.Adaptation("config.seed", "dropped", "it has none", 1),),
    )
    data = CODEC.dumps_answer(CallResult.native(response, logprobs=True))
    json.loads(data)
    again = CODEC.loads_answer(data)
    assert shape(again) == shape(CallResult.native(response, logprobs=True))
    assert again.raw is again.responses[0]


class Own:
    """A class that a user wrote."""

    def __init__(self, text: str) -> None:
        self.text = text


def test_an_answer_of_an_lm_class_of_the_user_is_journaled_too() -> None:
    data = CODEC.dumps_answer({"choices": [SimpleNamespace(message=Own("hello"))]})
    assert data[:1] == pickle.PROTO
    assert CODEC.loads_answer(data)["choices"][0].message.text == "hello"


def test_a_journaled_answer_holds_no_api_key() -> None:
    data = CODEC.dumps_answer({KEY: [KEY, {"key": KEY}]})
    assert KEY.encode() not in data
    assert CODEC.loads_answer(data) == {KEY: [KEY, {"key": KEY}]}
    with pytest.raises(SecretInPayload):
        CODEC.dumps_answer([f"Bearer {KEY}"])


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.just(KEY)
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from(["$", "of", "text", "\ud83d\ude00"]),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.sampled_from(["$", "of", KEY]) | st.integers(), inner)
        | st.sets(st.text())
        | st.builds(SimpleNamespace, one=inner, other=inner)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_any_value_with_a_json_form_is_read_back_unchanged(thing: Any) -> None:
    data = CODEC.dumps_answer(thing)
    json.loads(data)
    assert shape(CODEC.loads_answer(data)) == shape(thing)


def test_an_object_that_occurs_twice_in_an_answer_is_one_object_after_it_is_read() -> None:
    one = SimpleNamespace(text="a")
    again = CODEC.loads_answer(CODEC.dumps_answer([one, {"inner": SimpleNamespace(one=one)}, one]))
    assert again[0] is again[2] is again[1]["inner"].one


@pytest.mark.parametrize(
    "name",
    [
        "subprocess:Popen",
        "builtins:eval",
        "os:system",
        "openai.types_of_mine:Evil",
        "litellm.types.utils:json.JSONDecoder",
        "litellm.types.utils:Message.__init__",
        "litellm.types.utils:Any",
        "swarm_worker.client.dspy33:dspy.LM",
    ],
)
def test_only_classes_of_lm_answers_are_read_from_the_journal(name: str) -> None:
    data = json.dumps({"$": name, "of": [{}]}).encode()
    with pytest.raises((json_form.Unknown, ImportError, AttributeError)):
        CODEC.loads_answer(data)
