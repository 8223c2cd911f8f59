"""Decides an agent's next step, as DSPy's ReAct asks for it: which tool, and with which arguments.

The type of the prompt's field lists the tools. The instruction or demonstrations show the tools' arguments.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence

from simulated_provider import chance
from simulated_provider.brain import Model, focus
from simulated_provider.prompts import Demo, Prompt, Schema

TOOL, ARGUMENTS, FINISH, TRAJECTORY = "next_tool_name", "next_tool_args", "finish", "trajectory"
"""ReAct's names: two fields of a step, the tool that ends the work, and the field with the steps so far."""

HASTE = 0.6
"""Probability that a model without knowledge and hints finishes although it has not called all tools."""


def next_tool(model: Model, prompt: Prompt) -> str | None:
    """Returns the tool to call: each tool once, and then `finish`. Returns None if the prompt asks for no tool."""
    fields = {field.name: field for field in prompt.task.outputs}
    if TOOL not in fields or ARGUMENTS not in fields:
        return None
    tools: Sequence[str] = fields[TOOL].schema.get("enum", ())
    called = re.findall(r"\btool_name_\d+\W+(\w+)", prompt.query.get(TRAJECTORY, ""))
    unused = [tool for tool in tools if tool not in called and tool != FINISH]
    seed = (model.memory.seed, model.name, prompt.task.instruction, *(demo.text for demo in prompt.demos), prompt.text)
    patience = 1 - HASTE * (1 - model.capability) * (1 - focus(prompt.task.instruction))
    if not unused or (called and chance.unit("patience", *seed) > patience):
        return FINISH
    return unused[chance.below(len(unused), "tool", *seed)]


def parameters(prompt: Prompt, tool: str) -> Mapping[str, Schema]:
    """Returns name -> schema of each required argument of `tool`; empty if the prompt names no argument."""
    told = re.search(
        rf"\b{re.escape(tool)}\b[^\n]*?\. It takes arguments (\{{.*\}})\.$", prompt.task.instruction, re.MULTILINE
    )
    if told:
        try:
            schemas = ast.literal_eval(told[1])
        except (SyntaxError, ValueError):
            schemas = {}
        return {name: schema for name, schema in schemas.items() if "default" not in schema}
    shown = next((demo for demo in prompt.demos if demo.outputs.get(TOOL) == tool), None)
    return {name: {"type": "string"} for name in _arguments(shown)} if shown else {}


def question(prompt: Prompt) -> Prompt:
    """Returns the prompt without the steps so far, as the agent got it at first."""
    inputs = {name: value for name, value in prompt.query.items() if name != TRAJECTORY}
    return Prompt(prompt.task, prompt.demos, inputs)


def _arguments(demo: Demo) -> Sequence[str]:
    try:
        given = json.loads(demo.outputs.get(ARGUMENTS, ""))
    except ValueError:
        return ()
    return tuple(given) if isinstance(given, dict) else ()
