"""The imaginary provider answers LM calls within this process.

Its answers have the form that a request asks for, but no meaning. The form is not guessed from the prompt. DSPy calls a
callback with the signature for which an adapter makes messages. The callback adds the signature to the first message,
as a note. The same adapter then formats the answer. An answer depends on the request alone, so it is the same in all
processes.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

import dspy
from dspy.adapters.types.tool import Tool, ToolCalls
from dspy.utils.callback import BaseCallback

from swarm_worker.client.call import Completion, LMCall, Make, ToolCall
from swarm_worker.client.flow import Flow
from swarm_worker.client.installed import client
from swarm_worker.imaginary.values import Draw, of_schema, of_type

CHARACTERS_PER_TOKEN = 4
MESSAGE_TOKENS = 4
"""How many tokens the chat format adds to each message."""

Hear = Callable[[Any, LMCall, Any], None]
"""Receives each answered LM call: the LM, the call, and the client's answer."""


_FORM = "imaginary form"
"""Key under which a message has the form of its answer."""

_LAST = "finish", "submit"
"""Tools that ReAct and ReActV2 call to finish."""


@dataclass(frozen=True)
class Form:
    """The form of an answer.

    Attributes:
        signature: the signature with the answer's fields.
        adapter: formats the answer.
        tools: JSON schemas of the arguments of each tool that may be called, by the tool's name.
        by_agent: whether an agent makes the call. An agent decides itself when it ends.
        is_late: whether the agent has made all tool calls that an agent makes with imaginary models.
    """

    signature: Any
    adapter: Any
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_agent: bool = False
    is_late: bool = False


class _Listener(BaseCallback):
    """Adds the form of the answer to the messages that an adapter makes."""

    def __init__(self, tool_calls: int) -> None:
        self._forms: dict[str, Form] = {}
        self._tool_calls = tool_calls

    def on_adapter_format_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if "signature" in inputs:  # an inherited `format`, which DSPy wraps again, gets no signature
            given = inputs["inputs"]
            tools, is_late = _tools(given), _tool_calls(given) >= self._tool_calls
            by_agent = bool(tools) or "trajectory" in given
            self._forms[call_id] = Form(inputs["signature"], instance, tools, by_agent, is_late)

    def on_adapter_format_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        form = self._forms.pop(call_id, None)
        if form is not None and outputs:
            client().note(outputs, _FORM, form)


def _tools(inputs: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    lists = [value if isinstance(value, list) else [value] for value in inputs.values()]
    return {tool.name: tool.args or {} for found in lists for tool in found if isinstance(tool, Tool)}


def _tool_calls(inputs: Mapping[str, Any]) -> int:
    """Returns the number of tool calls that an agent has made. ReAct lists them in a text, and ReActV2 in a history."""
    histories = [value for value in inputs.values() if isinstance(value, dspy.History)]
    told = sum("tool_calls" in message for history in histories for message in history.messages)
    return told + str(inputs.get("trajectory")).count("observation_")


@contextmanager
def imagined(hear: Hear = lambda lm, call, answer: None) -> Iterator[None]:
    """Within the block, no LM call leaves this process, and no tool runs.

    An agent would call a `dspy.Tool` with invented arguments, and nobody knows what the tool would do. So the agent
    gets an imaginary observation instead. Functions that a program calls directly do run.
    """
    undo = install(hear)
    try:
        yield
    finally:
        undo()


def install(hear: Hear, tool_calls: int = 1) -> Callable[[], None]:
    """Does what `imagined` does, from now on. Returns a function that ends it.

    Args:
        tool_calls: number of tool calls that an agent makes before it finishes.
    """

    def imagine(lm: Any, call: LMCall, make: Make) -> Flow[Any]:
        found = answer(lm, call)
        hear(lm, call, found)
        yield from ()  # a flow is a generator, and an imaginary call has no steps
        return found

    tool, async_tool, listener = Tool.__call__, Tool.acall, _Listener(tool_calls)
    undo_client = client().intercept(imagine)

    def observe(called: Tool, **arguments: Any) -> Any:
        # The tool that ends ReActV2 does run, because it returns the agent's prediction.
        is_dspys = called.func.__module__ == "dspy.predict.react_v2"
        return tool(called, **arguments) if is_dspys else f"What {called.name} found."

    async def async_observe(called: Tool, **arguments: Any) -> Any:
        return observe(called, **arguments)

    Tool.__call__, Tool.acall = observe, async_observe
    # The callback is set on the class, because a program or a cell may override `dspy.settings.callbacks`.
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
    """Makes the client's answer, with as many completions as the call asks for, and their usage."""
    asked = request_text(call)
    completions = [_completion(call, Draw(f"{asked}\0{number}")) for number in range(call.count)]
    return client().answer(lm, completions, _prompt_tokens(call))


def is_by_agent(call: LMCall) -> bool:
    form = _form(call)
    return form is not None and form.by_agent


def request_text(call: LMCall) -> str:
    """Returns a request as one text: its messages and parameters, without its endpoint and API key."""
    messages = [{name: part for name, part in message.items() if name != _FORM} for message in _messages(call)]
    return json.dumps(call.content | {"messages": messages}, ensure_ascii=False, default=_name)


def _form(call: LMCall) -> Form | None:
    return next((message[_FORM] for message in _messages(call) if _FORM in message), None)


def _messages(call: LMCall) -> list[dict[str, Any]]:
    """Returns the messages of a call. They are empty for a request in the client's own types."""
    return call.content.get("messages") or []


def _name(thing: object) -> str:
    """Returns a name for an object that JSON cannot express.

    A repr would not do, because it may contain an address, which differs between processes.
    """
    return f"{type(thing).__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _completion(call: LMCall, draw: Draw) -> Completion:
    form = _form(call)
    if form is None:
        return _counted(draw.text("instruction"))  # optimizers ask for instructions with plain prompts
    # If the request has tools, the answer calls a tool by native function calling, not in a field.
    native = _tool_call(form, draw, call.content.get("tool_choice")) if call.content.get("tools") else None
    fields = form.signature.output_fields.items()
    values = {name: _value(name, field.rebuild_annotation(), form, draw) for name, field in fields}
    text = form.adapter.format_assistant_message_content(form.signature, values) if values else ""
    return _counted(text, *([native] if native else ()))


def _counted(text: str, *tool_calls: ToolCall) -> Completion:
    arguments = (json.dumps(call.arguments) for call in tool_calls)
    return Completion(text, sum(_tokens(part) for part in (text, *arguments)), tool_calls)


def _tool_call(form: Form, draw: Draw, wanted: Any = None) -> ToolCall | None:
    """Returns the agent's next tool call: first other tools, then the tool that ends the agent, if there is one."""
    last = [name for name in form.tools if name in _LAST]
    others = [name for name in form.tools if name not in _LAST]
    if isinstance(wanted, Mapping) and (name := wanted.get("function", {}).get("name")) in form.tools:
        chosen = name
    elif others and not form.is_late:
        chosen = draw.one(others, "tool")
    elif last:
        [chosen] = last[:1]
    else:
        return None
    arguments = form.tools[chosen].items()
    return ToolCall(chosen, {name: of_schema(schema, name, draw) for name, schema in arguments})


def _value(name: str, annotation: Any, form: Form, draw: Draw) -> Any:
    if annotation is ToolCalls:
        call = _tool_call(form, draw)
        return {"tool_calls": [{"name": call.name, "args": call.arguments}] if call else []}
    if get_origin(annotation) is Literal and "finish" in get_args(annotation):
        # In this field, ReAct chooses its next tool.
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
