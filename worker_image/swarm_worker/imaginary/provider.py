"""A provider that exists in this process only.

It answers in the form that a request asks for, and in no other sense. The form is known, not guessed from the prompt:
DSPy tells callbacks which signature an adapter has just put into messages, so the same adapter writes the answer down,
whichever it is. An answer is a function of the request alone, the same in every process.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import dspy
from dspy.adapters.types.tool import Tool
from dspy.utils.callback import BaseCallback

from swarm_worker.client.call import AsyncMake, LMCall, Make
from swarm_worker.client.installed import client
from swarm_worker.imaginary.values import Draw, of_type

CHARACTERS_PER_TOKEN = 4
MESSAGE_TOKENS = 4
"""What a chat's frame adds to each message."""

Hear = Callable[[Any, LMCall], None]
"""Is told of each LM call before it is answered."""


@dataclass(frozen=True)
class _Formatted:
    """What an adapter made: messages, and the signature and inputs that it made them from."""

    messages: list[dict[str, Any]]
    adapter: Any
    signature: Any
    inputs: dict[str, Any]


_formatting: ContextVar[dict[str, Any]] = ContextVar("formatting")
_formatted: ContextVar[_Formatted | None] = ContextVar("formatted", default=None)


class _Listener(BaseCallback):
    """Remembers what was formatted last in this context: an LM call with those messages asks for that."""

    def on_adapter_format_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if "signature" in inputs:  # else this is an inherited `format`, which DSPy wraps once more
            _formatting.set({"adapter": instance, "signature": inputs["signature"], "inputs": inputs["inputs"]})

    def on_adapter_format_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        _formatted.set(_Formatted(outputs, **_formatting.get()) if exception is None else None)


@contextmanager
def imagined(hear: Hear = lambda lm, call: None) -> Iterator[None]:
    """Within the block no LM call of this process leaves it, and no tool is called.

    A `dspy.Tool` is what an agent chooses to call; it would be called with invented arguments, and may do anything. So
    it is not: the agent reads an imaginary observation. What a program does by itself, it does.

    Only on the thread that configures DSPy.
    """

    def imagine(lm: Any, call: LMCall, make: Make) -> Any:
        hear(lm, call)
        return answer(lm, call)

    async def async_imagine(lm: Any, call: LMCall, make: AsyncMake) -> Any:
        hear(lm, call)
        return answer(lm, call)

    stock = Tool.__call__, Tool.acall
    callbacks = dspy.settings.callbacks
    listening = [*callbacks, _Listener()]
    Tool.__call__, Tool.acall = _observe, _aobserve
    undo = client().intercept(imagine, async_imagine)
    dspy.configure(callbacks=listening)  # for threads that a program starts by itself
    try:
        with dspy.context(callbacks=listening):
            yield
    finally:
        undo()
        Tool.__call__, Tool.acall = stock
        dspy.configure(callbacks=callbacks)


def answer(lm: Any, call: LMCall) -> Any:
    """The client's answer: a completion for each that was asked for, with its usage."""
    asked = request_text(call)
    texts = [_text(call, Draw(f"{asked}\0{number}")) for number in range(call.count)]
    return client().answer(lm, texts, _prompt_tokens(call), [_tokens(text) for text in texts])


def request_text(call: LMCall) -> str:
    """A request in one text: its messages and parameters, but not where it is sent and by whom."""
    return json.dumps(call.content, ensure_ascii=False, default=_name)


def _name(thing: object) -> str:
    """In place of what JSON cannot say: addresses differ between processes."""
    return f"{type(thing).__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _text(call: LMCall, draw: Draw) -> str:
    formatted = _formatted.get()
    if formatted is None or call.content.get("messages") != formatted.messages:
        return draw.text("instruction")  # a plain prompt: optimizers ask so for instructions
    fields = formatted.signature.output_fields.items()
    values = {name: _value(name, field.rebuild_annotation(), formatted.inputs, draw) for name, field in fields}
    text: str = formatted.adapter.format_assistant_message_content(formatted.signature, values)
    return text


def _value(name: str, annotation: Any, inputs: dict[str, Any], draw: Draw) -> Any:
    if get_origin(annotation) is Literal and "finish" in get_args(annotation):
        # An agent that chooses its next tool: one tool, then the end.
        done = "observation_" in str(inputs.get("trajectory"))
        others = [choice for choice in get_args(annotation) if choice != "finish"]
        return "finish" if done or not others else draw.one(others, name)
    return of_type(annotation, name, draw)


def _prompt_tokens(call: LMCall) -> int:
    messages = call.content.get("messages")
    if not isinstance(messages, list):
        return _tokens(request_text(call))
    return sum(MESSAGE_TOKENS + _tokens(_content(message)) for message in messages)


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _observe(tool: Tool, **arguments: Any) -> str:
    return f"What {tool.name} found."


async def _aobserve(tool: Tool, **arguments: Any) -> str:
    return _observe(tool)
