"""Watches random draws in agents' tools while examples run. Rehearsals run no tools, so they cannot find such draws.

A tool that draws random numbers answers differently in each process, and in each run of stock DSPy. Such a draw ends
the run with a reason. The module replaces functions such as `random.choice`, not the tools themselves: agents see
tracebacks of tools, and a wrapper would be in them.
"""

import functools
import random
import secrets
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any

import dspy

from swarm_wire.names import WorkerReason
from swarm_worker.exceptions import place
from swarm_worker.modules import is_users
from swarm_worker.replay.calls import current, refuse

_DRAWS: dict[types.ModuleType, tuple[str, ...]] = {
    random: (
        *("random", "uniform", "randint", "randrange", "randbytes", "getrandbits", "choice", "choices", "sample"),
        *("shuffle", "gauss", "normalvariate", "triangular", "betavariate", "expovariate"),
    ),
    secrets: ("choice", "randbelow", "randbits", "token_bytes", "token_hex", "token_urlsafe"),
    uuid: ("uuid1", "uuid4"),
}


def install() -> None:
    """Watches the draws of this process. Call it before user code is imported, which may keep functions of `random`."""
    for module, names in _DRAWS.items():
        for name in names:
            setattr(module, name, _watched(getattr(module, name), f"{module.__name__}.{name}"))


def _watched(draw: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(draw)
    def drawing(*given: Any, **named: Any) -> Any:
        caller = sys._getframe(1)
        if is_users(caller.f_globals.get("__name__", "")) and current() is not None and (tool := _tool(caller)):
            refuse(
                WorkerReason.NONDETERMINISTIC,
                f"{place()} calls {name} in the tool {tool}: what the tool answers is a matter of chance, so that no "
                "two compiles agree, not even in stock DSPy. Draw from a random.Random that is seeded with the tool's "
                "arguments.",
            )
        return draw(*given, **named)

    return drawing


def _tool(frame: types.FrameType | None) -> str | None:
    """Returns the name of the tool that this frame runs in; None if it runs in no tool."""
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_name in ("__call__", "acall") else None
        if isinstance(owner, dspy.Tool):
            return str(owner.name)
        frame = frame.f_back
    return None
