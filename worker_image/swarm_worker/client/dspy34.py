"""DSPy 3.4: every LM call, whatever its LM's class, is made by `dspy.clients.execution.execute` or `aexecute`, and each
of its requests by `_attempt` or `_aattempt`.
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
    AsyncAround,
    AsyncRequestAround,
    Completion,
    LMCall,
    Request,
    RequestAround,
    endpoint,
    objections,
)
from swarm_worker.client.call import is_refusal as refuses


def intercept(around: Around, async_around: AsyncAround) -> Callable[[], None]:
    before, async_before = execution.execute, execution.aexecute

    def execute(lm: Any, call: Any) -> Any:
        return around(lm, _call(lm, call), lambda: before(lm, call))

    async def aexecute(lm: Any, call: Any) -> Any:
        return await async_around(lm, _call(lm, call), lambda: async_before(lm, call))

    def undo() -> None:
        execution.execute, execution.aexecute = before, async_before

    execution.execute, execution.aexecute = execute, aexecute
    return undo


def intercept_requests(around: RequestAround, async_around: AsyncRequestAround) -> Callable[[], None]:
    before, async_before = execution._attempt, execution._aattempt

    def attempt(lm: Any, call: Any, backend: Any, request: Any, provider: Any, state: Any, results: Any) -> None:
        def send() -> Usage:
            with objections(LMRateLimitError, RateLimitError):
                before(lm, call, backend, request, provider, state, results)
            return _used(results[-1])

        around(_request(lm, call, request), send)

    async def aattempt(lm: Any, call: Any, backend: Any, request: Any, provider: Any, state: Any, results: Any) -> None:
        async def send() -> Usage:
            with objections(LMRateLimitError, RateLimitError):
                await async_before(lm, call, backend, request, provider, state, results)
            return _used(results[-1])

        await async_around(_request(lm, call, request), send)

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
    except Exception:  # its calls will raise the same
        return False


def _request(lm: Any, call: Any, canonical: Any) -> Request:
    """Only a request in the client's own types asks for one completion, whatever the call asks for."""
    count = call.n if canonical is None else 1
    return Request(lm, endpoint({**lm.kwargs, **call.kwargs}), count, lambda: _call(lm, call))


def _used(result: Any) -> Usage:
    return Usage(
        calls=1,
        prompt_tokens=int(result.usage.get("prompt_tokens") or 0),
        completion_tokens=int(result.usage.get("completion_tokens") or 0),
    )


def maker() -> Callable[[Any, LMCall], Any]:
    execute = execution.execute
    return lambda lm, call: execute(lm, call.native)


def _call(lm: Any, call: Any) -> LMCall:
    # A class of the user's own may have a model type for which DSPy has no cache key.
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
    """Each completion is a request of its own."""
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
