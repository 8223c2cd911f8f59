"""How much an LM call may take at most, before it is made."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from swarm_wire.messages import Usage
from swarm_wire.names import WorkerReason
from swarm_worker.client.call import LMCall
from swarm_worker.errors import BadInput

_BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def longest(lm: Any, call: LMCall) -> Usage:
    """The most that a call may take: a token is at least a byte of the request, and answers have a limit.

    Raises BadInput where they have none.
    """
    bound = next(_bounds({**call.content, "lm": lm.kwargs}), None)
    if bound is None:
        raise BadInput(
            WorkerReason.INVALID_SPEC,
            f"limits of tokens or USD need to know the longest answer of every model that they are about, and model "
            f"{lm.model!r} is called without max_tokens. Give it one where the program makes it: "
            "dspy.LM(..., max_tokens=1000).",
        )
    size = len(json.dumps(call.content, default=str, ensure_ascii=False).encode("utf-8", "replace"))
    return Usage(calls=call.count, prompt_tokens=size * call.count, completion_tokens=bound * call.count)


def _bounds(content: Mapping[str, Any]) -> Iterator[int]:
    """Limits of an answer's length, wherever this version of DSPy keeps them."""
    for name, value in content.items():
        if name in _BOUNDS and isinstance(value, int):
            yield value
        elif isinstance(value, Mapping):
            yield from _bounds(value)
