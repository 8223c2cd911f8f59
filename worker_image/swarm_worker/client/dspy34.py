"""The LM client of DSPy 3.4.

In `dspy.clients.execution`, `execute` or `aexecute` makes the calls of every LM. `_attempt` or `_aattempt` makes each
request of a call.
"""

from collections.abc import Callable, Sequence
from typing import Any

import dspy
from dspy.clients import execution
from dspy.clients.backend_selection import select_backend
from dspy.clients.call_result import CallResult, combine
from dspy.clients.errors import wrap_error
from dspy.clients.typesafe import TypeSafe
from dspy.lm15 import Message, RateLimitError, Response, TextPart, ToolCallPart
from dspy.lm15 import Usage as Tokens
from dspy.utils.exceptions import LMRateLimitError

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
from swarm_worker.client.flow import Flow, Step, arun, run


def intercept(around: Around) -> Callable[[], None]:
    before, async_before = execution.execute, execution.aexecute
    make = maker()

    def calling(lm: Any, native: Any) -> Flow[Any]:
        call = _call(lm, native)
        return around(lm, call, make(lm, call))

    def execute(lm: Any, call: Any) -> Any:
        return run(calling(lm, call))

    async def aexecute(lm: Any, call: Any) -> Any:
        return await arun(calling(lm, call))

    def undo() -> None:
        execution.execute, execution.aexecute = before, async_before

    execution.execute, execution.aexecute = execute, aexecute
    return undo


def intercept_requests(around: RequestAround) -> Callable[[], None]:
    before, async_before = execution._attempt, execution._aattempt

    def attempting(lm: Any, call: Any, *given: Any) -> Flow[None]:
        _, request, _, _, results = given

        def send() -> Flow[Usage]:
            with objections(LMRateLimitError, RateLimitError):
                yield Step(lambda: before(lm, call, *given), lambda: async_before(lm, call, *given))
            return _used(results[-1])

        return around(_request(lm, call, request), Step.of(send))

    def attempt(*given: Any) -> None:
        run(attempting(*given))

    async def aattempt(*given: Any) -> None:
        await arun(attempting(*given))

    def undo() -> None:
        execution._attempt, execution._aattempt = before, async_before

    execution._attempt, execution._aattempt = attempt, aattempt
    return undo


def is_refusal(error: Exception) -> bool:
    return refuses(wrap_error(error, model=""), error)


def needs_litellm(lm: Any) -> bool:
    if type(lm).forward is not dspy.LM.forward or not isinstance(lm._engine_spec, str):
        return False
    try:
        return not select_backend(lm).native
    except Exception:  # the LM's calls will raise the same exception
        return False


def _request(lm: Any, call: Any, canonical: Any) -> Request:
    """Returns the request of a call. A request in the client's own types (`canonical`) asks for one completion."""
    count = call.n if canonical is None else 1
    return Request(lm, endpoint({**lm.kwargs, **call.kwargs}), count, lambda: _call(lm, call))


def _used(result: Any) -> Usage:
    return Usage(
        calls=1,
        prompt_tokens=int(result.usage.get("prompt_tokens") or 0),
        completion_tokens=int(result.usage.get("completion_tokens") or 0),
    )


def maker() -> Callable[[Any, LMCall], Make]:
    execute, aexecute = execution.execute, execution.aexecute
    return lambda lm, call: Step(lambda: execute(lm, call.native), lambda: aexecute(lm, call.native))


def _call(lm: Any, call: Any) -> LMCall:
    # A user's class may have a model type for which DSPy has no cache key.
    key = call.key(lm, False) if call.managed or call.request is not None else call.legacy
    content = {name: value for name, value in key.items() if name not in ADDRESS}
    return LMCall(content, endpoint({**lm.kwargs, **call.kwargs}), call.n, call.cache, call)


def others() -> Sequence[Any]:
    return (TypeSafe,)


def note(messages: list[dict[str, Any]], name: str, value: Any) -> None:
    messages[0][name] = value


def usage(answer: Any) -> Usage:
    if answer.cache_hit:
        return Usage()
    return _used(answer).model_copy(update={"calls": max(1, len(answer.responses))})


def answer(lm: Any, completions: Sequence[Completion], prompt_tokens: int) -> Any:
    """Makes an answer with these completions, as if each came from its own request."""
    results = [
        CallResult.native(
            Response(
                id=None,
                model=lm.model,
                message=Message.assistant([*_texts(completion), *_tool_calls(completion)]),
                finish_reason="tool_call" if completion.tool_calls else "stop",
                usage=Tokens(input_tokens=prompt_tokens, output_tokens=completion.tokens),
            ),
            model_type=lm.model_type,
        )
        for completion in completions
    ]
    return results[0] if len(results) == 1 else combine(results, model_type=lm.model_type)


def _texts(completion: Completion) -> list[TextPart]:
    return [TextPart(completion.text)] if completion.text or not completion.tool_calls else []


def _tool_calls(completion: Completion) -> list[ToolCallPart]:
    return [
        ToolCallPart(f"call_{number}", call.name, dict(call.arguments))
        for number, call in enumerate(completion.tool_calls)
    ]
