"""Computes the most tokens that a request may take, before it is sent."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from swarm_wire.names import WorkerReason
from swarm_wire.spending import Usage
from swarm_worker.client.call import Request
from swarm_worker.errors import BadInput

_BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def longest(request: Request, unbounded: int | None = None) -> Usage:
    """Returns the highest possible usage of a request.

    A token of the prompt has at least one byte, and the answer has a limit.

    Args:
        unbounded: tokens of an answer without a limit. None: such a request raises BadInput.
    """
    lm, content = request.lm, request.call().content
    bound = max(_bounds(content), default=unbounded)
    if bound is None:
        raise BadInput(
            WorkerReason.INVALID_SPEC,
            f"limits of tokens or USD need to know the longest answer of every model that they are about, and model "
            f"{lm.model!r} is called without max_tokens. Give it one where the program makes it: "
            "dspy.LM(..., max_tokens=1000).",
        )
    size = len(json.dumps(content, default=_written, ensure_ascii=False).encode("utf-8", "replace"))
    return Usage(calls=1, prompt_tokens=size * request.count, completion_tokens=bound * request.count)


def _bounds(content: Mapping[str, Any]) -> Iterator[int]:
    """Yields the limits of an answer's length, wherever the installed DSPy keeps them in a call.

    They include the LM's own limit. That limit is missing if the call sets it to None, or if the call is in the
    client's own types.
    """
    for name, value in content.items():
        if name in _BOUNDS and isinstance(value, int):
            yield value
        elif isinstance(value, Mapping):
            yield from _bounds(value)


def _written(value: Any) -> Any:
    """Returns a value that JSON can hold. A pydantic class describes the answer's form, and is sent as its schema."""
    return value.model_json_schema() if isinstance(value, type) and issubclass(value, BaseModel) else str(value)
