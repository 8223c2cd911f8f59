"""A provider that exists in this process only.

It answers in the form that a request asks for, and in no other sense. The form is known, not guessed from the prompt:
DSPy tells callbacks which signature an adapter puts into messages. It is noted in the first of them, so it travels with
the call, and the same adapter writes the answer down, whichever it is. An answer is a function of the request alone,
the same in every process.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

Hear = Callable[[Any, LMCall, Any], None]
"""Is told of each LM call that was answered: the LM, the call, the client's answer."""


_FORM = "imaginary form"
"""Key of a message."""


@dataclass(frozen=True)
class Form:
    """What an answer has to look like.

    Attributes:
        signature: whose output fields are asked for.
        adapter: how they are written.
        is_late: an agent asks that has called a tool.
    """

    signature: Any
    adapter: Any
    is_late: bool


class _Listener(BaseCallback):
    """Notes the form that an adapter asks for in the messages that it makes."""

    def __init__(self) -> None:
        self._forms: dict[str, Form] = {}

    def on_adapter_format_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if "signature" in inputs:  # else this is an inherited `format`, which DSPy wraps once more
            is_late = "observation_" in str(inputs["inputs"].get("trajectory"))
            self._forms[call_id] = Form(inputs["signature"], instance, is_late)

    def on_adapter_format_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        form = self._forms.pop(call_id, None)
        if form is not None and outputs:
            client().note(outputs, _FORM, form)


@contextmanager
def imagined(hear: Hear = lambda lm, call, answer: None) -> Iterator[None]:
    """Within the block no LM call of this process leaves it, and no tool is called.

    A `dspy.Tool` is what an agent chooses to call; it would be called with invented arguments, and may do anything. So
    it is not: the agent reads an imaginary observation. What a program does by itself, it does.
    """
    undo = install(hear)
    try:
        yield
    finally:
        undo()


def install(hear: Hear) -> Callable[[], None]:
    """From now on no LM call of this process leaves it, and no tool is called. Returns what ends that."""

    def imagine(lm: Any, call: LMCall, make: Make) -> Any:
        found = answer(lm, call)
        hear(lm, call, found)
        return found

    async def async_imagine(lm: Any, call: LMCall, make: AsyncMake) -> Any:
        return imagine(lm, call, lambda: None)

    tool, async_tool, listener = Tool.__call__, Tool.acall, _Listener()
    undo_client = client().intercept(imagine, async_imagine)
    Tool.__call__, Tool.acall = _observe, _aobserve
    # Not among `dspy.settings.callbacks`: a program, or a cell, may have its own, in a context.
    dspy.Adapter.callbacks = property(
        lambda adapter: [*vars(adapter).get("callbacks", ()), listener],
        lambda adapter, callbacks: vars(adapter).update(callbacks=callbacks),
    )

    def undo() -> None:
        undo_client()
        Tool.__call__, Tool.acall = tool, async_tool
        del dspy.Adapter.callbacks

    return undo


def answer(lm: Any, call: LMCall) -> Any:
    """The client's answer: a completion for each that was asked for, with its usage."""
    asked = request_text(call)
    texts = [_text(call, Draw(f"{asked}\0{number}")) for number in range(call.count)]
    return client().answer(lm, texts, _prompt_tokens(call), [_tokens(text) for text in texts])


def request_text(call: LMCall) -> str:
    """A request in one text: its messages and parameters, but not where it is sent and by whom."""
    messages = [{name: part for name, part in message.items() if name != _FORM} for message in _messages(call)]
    return json.dumps(call.content | {"messages": messages}, ensure_ascii=False, default=_name)


def _messages(call: LMCall) -> list[dict[str, Any]]:
    """None for a request that is written in the client's own types."""
    return call.content.get("messages") or []


def _name(thing: object) -> str:
    """In place of what JSON cannot say: addresses differ between processes."""
    return f"{type(thing).__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _text(call: LMCall, draw: Draw) -> str:
    form: Form | None = next((message[_FORM] for message in _messages(call) if _FORM in message), None)
    if form is None:
        return draw.text("instruction")  # a plain prompt: optimizers ask so for instructions
    fields = form.signature.output_fields.items()
    values = {name: _value(name, field.rebuild_annotation(), form, draw) for name, field in fields}
    text: str = form.adapter.format_assistant_message_content(form.signature, values)
    return text


def _value(name: str, annotation: Any, form: Form, draw: Draw) -> Any:
    if get_origin(annotation) is Literal and "finish" in get_args(annotation):
        # An agent that chooses its next tool: one tool, then the end.
        others = [choice for choice in get_args(annotation) if choice != "finish"]
        return "finish" if form.is_late or not others else draw.one(others, name)
    return of_type(annotation, name, draw)


def _prompt_tokens(call: LMCall) -> int:
    messages = _messages(call)
    return sum(MESSAGE_TOKENS + _tokens(_content(message)) for message in messages) or _tokens(request_text(call))


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
