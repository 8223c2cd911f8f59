"""Tools of agents, which no rehearsal calls: what they draw by chance or keep is found when an example calls them.

A tool that answers by chance, or by what other examples did, answers otherwise in each process, and in each run of
stock DSPy. Such a run ends by name.
"""

import functools
import random
import secrets
import sys
import threading
import types
import uuid
from collections.abc import Callable
from typing import Any

import dspy

from swarm_wire.names import WorkerReason
from swarm_worker.exceptions import place
from swarm_worker.leftovers import Kind, Picture, changed, look_at
from swarm_worker.modules import is_users
from swarm_worker.reach import functions_of, reached
from swarm_worker.replay.calls import current, refuse

_SETTING = "swarm_tool"
"""Name of the tool that is called."""
_DRAWS: dict[types.ModuleType, tuple[str, ...]] = {
    random: (
        *("random", "uniform", "randint", "randrange", "randbytes", "getrandbits", "choice", "choices", "sample"),
        *("shuffle", "gauss", "normalvariate", "triangular", "betavariate", "expovariate"),
    ),
    secrets: ("choice", "randbelow", "randbits", "token_bytes", "token_hex", "token_urlsafe"),
    uuid: ("uuid1", "uuid4"),
}
_lock = threading.Lock()
_before: dict[int, tuple[Any, Picture]] = {}


def install() -> None:
    """Watches the tools of this process; before user code is imported, which may take functions of `random`."""
    for module, names in _DRAWS.items():
        for name in names:
            setattr(module, name, _watched(getattr(module, name), f"{module.__name__}.{name}"))
    dspy.Tool.__call__, dspy.Tool.acall = _call(dspy.Tool.__call__), _acall(dspy.Tool.acall)


def _watched(draw: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(draw)
    def drawing(*given: Any, **named: Any) -> Any:
        tool = dspy.settings.get(_SETTING)
        if tool is not None and is_users(sys._getframe(1).f_globals.get("__name__", "")):
            refuse(
                WorkerReason.NONDETERMINISTIC,
                f"{place()} calls {name} in the tool {tool}: what the tool answers is a matter of chance, so that no "
                "two compiles agree, not even in stock DSPy. Draw from a random.Random that is seeded with the tool's "
                "arguments.",
            )
        return draw(*given, **named)

    return drawing


def _call(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def call(tool: Any, **arguments: Any) -> Any:
        if current() is None:
            return stock(tool, **arguments)
        before = _remembered(tool)
        with dspy.context(**{_SETTING: tool.name}):
            answer = stock(tool, **arguments)
        _check(tool, before)
        return answer

    return call


def _acall(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    async def acall(tool: Any, **arguments: Any) -> Any:
        if current() is None:
            return await stock(tool, **arguments)
        before = _remembered(tool)
        with dspy.context(**{_SETTING: tool.name}):
            answer = await stock(tool, **arguments)
        _check(tool, before)
        return answer

    return acall


def _remembered(tool: Any) -> Picture:
    """What the tool could reach before it was called in this process for the first time."""
    with _lock:
        if id(tool.func) not in _before:
            _before[id(tool.func)] = tool.func, _picture(tool.func)
        return _before[id(tool.func)][1]


def _check(tool: Any, before: Picture) -> None:
    if places := changed(before, _picture(tool.func)):
        refuse(
            WorkerReason.SIDE_EFFECT,
            f"the tool {tool.name} changes {places[0].path} ({places[0].file}), which later calls of it can read: in "
            "stock DSPy other examples see that, and here they run in other processes. Let each run of the program "
            "begin with a state of its own, or keep a memo with functools.cache.",
        )


def _picture(function: Any) -> Picture:
    owner = getattr(function, "__self__", None)
    own = [] if owner is None else [(Kind.STATE, owner, type(owner).__qualname__, type(owner).__module__)]
    places = [(Kind.STATE, thing, path, file) for thing, path, file in reached(functions_of(function))]
    return look_at([*own, *places])
