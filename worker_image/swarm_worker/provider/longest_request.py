"""How much a request may take at most, before it is sent."""

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
    """The most that a request may take: a token is at least a byte of it, and answers have a limit.

    Args:
        unbounded: what an answer counts that has none. None: raises BadInput.
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
    """Limits of an answer's length, wherever this version of DSPy keeps them. What the LM itself has is among them, if
    it counts: not where the call says None, and not for a request in the client's own types.
    """
    for name, value in content.items():
        if name in _BOUNDS and isinstance(value, int):
            yield value
        elif isinstance(value, Mapping):
            yield from _bounds(value)


def _written(value: Any) -> Any:
    """What is sent for a value that JSON does not know: for the class of an answer, its schema."""
    return value.model_json_schema() if isinstance(value, type) and issubclass(value, BaseModel) else str(value)
