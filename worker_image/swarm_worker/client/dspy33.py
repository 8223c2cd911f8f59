"""The LM client of DSPy 3.3.

Every LM call goes through `BaseLM.__call__` or `acall` to the `forward` of the LM's class. In `dspy.LM.forward`,
LiteLLM makes the requests and retries them. When requests are intercepted, this module retries instead of LiteLLM. If
an LM's class has its own `forward`, its requests cannot be observed, so each call counts as one request.

DSPy 3.3 reports a call's usage only to a usage tracker. So each call gets its own tracker, and the tracker's entries go
into the answer.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import dspy
from dspy.utils.callback import with_callbacks
from dspy.utils.exceptions import LMRateLimitError, is_retryable_lm_error
from dspy.utils.usage_tracker import UsageTracker

from swarm_wire.spending import Usage
from swarm_worker.client.call import (
    ADDRESS,
    Around,
    Completion,
    LMCall,
    Make,
    Request,
    RequestAround,
    endpoint,
    objections,
)
from swarm_worker.client.call import is_refusal as refuses
from swarm_worker.client.flow import Flow, Step, arun, pause, run

_ASKED = "prompt", "messages", "request"
LONGEST_DELAY = 60
"""Longest pause between two requests of a call, in seconds. The pauses double up to this length, as in DSPy 3.4."""


@dataclass(frozen=True)
class Answer:
    """The result of an LM call.

    Attributes:
        outputs: the call's return value.
        told: usage of each request that was made for it; empty if DSPy's cache answered.
    """

    outputs: Any
    told: Sequence[dict[str, Any]]


def intercept(around: Around) -> Callable[[], None]:
    before, async_before = dspy.BaseLM.__call__, dspy.BaseLM.acall
    make = maker()

    def calling(lm: Any, items: Any, named: dict[str, Any]) -> Flow[Any]:
        call = _call(lm, items, named)
        return _given(lm, (yield from around(lm, call, make(lm, call))))

    # Callbacks receive the argument names, so the names are the same as in stock DSPy.
    def call(
        self: Any, *items: Any, prompt: Any = None, messages: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        return run(calling(self, items, {"prompt": prompt, "messages": messages, "request": request, **kwargs}))

    async def acall(
        self: Any, *items: Any, prompt: Any = None, messages: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        return await arun(calling(self, items, {"prompt": prompt, "messages": messages, "request": request, **kwargs}))

    def undo() -> None:
        dspy.BaseLM.__call__, dspy.BaseLM.acall = before, async_before

    dspy.BaseLM.__call__, dspy.BaseLM.acall = with_callbacks(call), with_callbacks(acall)
    return undo


def intercept_requests(around: RequestAround) -> Callable[[], None]:
    before, async_before = dspy.LM.forward, dspy.LM.aforward

    def forwarding(lm: Any, given: dict[str, Any]) -> Flow[Any]:
        once = _without_repetitions(lm)
        sending = _Sending(Step(lambda: before(once, **given), lambda: async_before(once, **given)), _used)
        for attempt in count():
            try:
                yield from around(_request(lm, given), Step.of(sending.flow))
                return sending.answer
            except Exception as error:
                if attempt >= lm.num_retries or not is_retryable_lm_error(error):
                    raise
            yield pause(min(2**attempt, LONGEST_DELAY))

    @functools.wraps(before)
    def forward(self: Any, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        return run(forwarding(self, {"prompt": prompt, "messages": messages, **kwargs}))

    @functools.wraps(async_before)
    async def aforward(self: Any, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        return await arun(forwarding(self, {"prompt": prompt, "messages": messages, **kwargs}))

    def own(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        """Treats each call of an LM whose class has its own `forward` as one request."""

        def asking(method: str) -> Flow[Any]:
            if getattr(type(lm), method) is getattr(dspy.LM, method):
                return (yield make)
            sending = _Sending(make, usage)
            yield from around(Request(lm, call.endpoint, call.count, lambda: call), Step.of(sending.flow))
            return sending.answer

        return (yield Step(lambda: run(asking("forward")), lambda: arun(asking("aforward"))))

    undo_own = intercept(own)

    def undo() -> None:
        undo_own()
        dspy.LM.forward, dspy.LM.aforward = before, async_before

    dspy.LM.forward, dspy.LM.aforward = forward, aforward
    return undo


@dataclass
class _Sending:
    """Sends a request, and keeps the last answer."""

    send: Step[Any]
    used: Callable[[Any], Usage]
    answer: Any = None

    def flow(self) -> Flow[Usage]:
        with objections(LMRateLimitError):
            self.answer = yield self.send
        return self.used(self.answer)


def is_refusal(error: Exception) -> bool:
    return refuses(error, error)


def needs_litellm(lm: Any) -> bool:
    return type(lm).forward is dspy.LM.forward


def _without_repetitions(lm: Any) -> Any:
    once = copy.copy(lm)
    once.num_retries = 0
    return once


def _request(lm: Any, named: dict[str, Any]) -> Request:
    given = {**lm.kwargs, **named}
    return Request(lm, endpoint(given), given.get("n") or 1, lambda: _call(lm, (), {"request": None, **named}))


def _used(answer: Any) -> Usage:
    """Returns the usage of a request. It is zero if DSPy's cache answered."""
    if getattr(answer, "cache_hit", False):
        return Usage()
    told = getattr(answer, "usage", None)
    prompt, completion = (int(getattr(told, name, 0) or 0) for name in ("prompt_tokens", "completion_tokens"))
    return Usage(calls=1, prompt_tokens=prompt, completion_tokens=completion)


def maker() -> Callable[[Any, LMCall], Make]:
    # `__wrapped__` is the method without its callbacks. The interception already calls the callbacks.
    inner, async_inner = dspy.BaseLM.__call__.__wrapped__, dspy.BaseLM.acall.__wrapped__

    def making(lm: Any, call: LMCall) -> Flow[Answer]:
        items, given = _native(call)
        with _tracked() as tracker:
            outputs = yield Step(lambda: inner(lm, *items, **given), lambda: async_inner(lm, *items, **given))
        return _answer(call, outputs, tracker)

    return lambda lm, call: Step.of(lambda: making(lm, call))


@contextmanager
def _tracked() -> Iterator[Any]:
    tracker = UsageTracker()
    with dspy.context(usage_tracker=tracker):
        yield tracker


def _answer(call: LMCall, outputs: Any, tracker: Any) -> Answer:
    told = [entry for entries in tracker.usage_data.values() for entry in entries]
    # A user's class may report no usage. Then an uncached call counts as one request.
    return Answer(outputs, told if told or call.cached else [{}])


def _given(lm: Any, answer: Answer) -> Any:
    """Returns the call's return value. Adds the call's usage to the active usage tracker, as stock DSPy does."""
    if dspy.settings.usage_tracker:
        for entry in answer.told:
            dspy.settings.usage_tracker.add_usage(lm.model, entry)
    return answer.outputs


def _call(lm: Any, items: Any, named: dict[str, Any]) -> LMCall:
    prompt, messages, request = (named[name] for name in _ASKED)
    given = {**lm.kwargs, **{name: value for name, value in named.items() if name not in _ASKED}}
    # DSPy's cache does not cover a class with its own `forward`.
    cached = bool(given.pop("cache", lm.cache)) and type(lm).forward is dspy.LM.forward
    if given.get("rollout_id") is None:
        given.pop("rollout_id", None)
    said = [text for text in (*items, prompt) if text is not None]
    asked = {"messages": _noted(messages or [{"role": "user", "content": text} for text in said])}
    if request is not None:
        asked = {"request": request}
    told = {name: value for name, value in given.items() if name not in ADDRESS}
    content = {"model": lm.model, "type": lm.model_type, **asked, **told}
    return LMCall(content, endpoint(given), given.get("n") or 1, cached, (items, named))


_notes: dict[str, dict[str, Any]] = {}
"""The values of `note`, by the messages' contents: DSPy keeps only the contents when it rebuilds messages."""


def others() -> Sequence[Any]:
    return ()


def note(messages: list[dict[str, Any]], name: str, value: Any) -> None:
    _notes[_contents(messages)] = {name: value}


def _noted(messages: list[Any]) -> list[Any]:
    notes = _notes.get(_contents(messages)) if _notes else None
    return [{**messages[0], **notes}, *messages[1:]] if notes else messages


def _native(call: LMCall) -> Any:
    """Returns the client's arguments for the call. Restores the values of `note` for a call from another process."""
    items, given = call.native
    if given["messages"] and (first := call.content["messages"][0]) is not given["messages"][0]:
        notes = {name: value for name, value in first.items() if name not in given["messages"][0]}
        if notes:
            _notes[_contents(given["messages"])] = notes
    return items, given


def _contents(messages: list[Any]) -> str:
    return "\0".join(str(message.get("content") if isinstance(message, dict) else message) for message in messages)


def usage(answer: Answer) -> Usage:
    return Usage(
        calls=len(answer.told),
        prompt_tokens=sum(int(entry.get("prompt_tokens") or 0) for entry in answer.told),
        completion_tokens=sum(int(entry.get("completion_tokens") or 0) for entry in answer.told),
    )


def answer(lm: Any, completions: Sequence[Completion], prompt_tokens: int) -> Answer:
    """Makes an answer with these completions, as if one request had given them all."""
    told = {"prompt_tokens": prompt_tokens, "completion_tokens": sum(completion.tokens for completion in completions)}
    return Answer([_output(completion) for completion in completions], [told])


def _output(completion: Completion) -> Any:
    calls = [
        {"id": f"call_{number}", "function": {"name": call.name, "arguments": dict(call.arguments)}}
        for number, call in enumerate(completion.tool_calls)
    ]
    return {"text": completion.text, "tool_calls": calls} if calls else completion.text
