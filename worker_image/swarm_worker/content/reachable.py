"""Finds the objects that user code can reach by the names in its functions: other functions, classes and globals."""

import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dspy

from swarm_worker.modules import is_users

DEPTH = 3
"""Number of levels to which this module follows functions that call functions."""


def functions_of(thing: Any) -> Iterator[types.FunctionType]:
    """Yields functions that may run when an object is called (a function, method, dspy.Module or other callable)."""
    if isinstance(thing, dspy.Module):
        for _, module in thing.named_sub_modules():
            yield from _of_class(type(module))
            yield from (function for tool in _tools(module) for function in functions_of(tool.func))
    elif isinstance(thing, types.MethodType):
        yield from functions_of(thing.__func__)
    elif isinstance(thing, types.FunctionType):
        yield thing
    elif callable(thing):
        yield from _of_class(type(thing))


def reached(functions: Iterable[Callable[..., Any]]) -> Iterator[tuple[Any, str, str]]:
    """Yields objects that these functions can reach and that may change, each with its name and a file for messages.

    The functions themselves and the user's classes are among them, because their attributes may change.
    """
    seen: set[int] = set()
    todo = [(getattr(function, "__wrapped__", function), 0) for function in functions]
    while todo:
        found, depth = todo.pop()
        if not isinstance(found, types.FunctionType) or id(found) in seen or not is_users(found.__module__ or ""):
            continue
        seen.add(id(found))
        file = found.__code__.co_filename
        yield found, f"{found.__module__}.{found.__qualname__}", file
        for name in names_in(found.__code__):
            thing = found.__globals__.get(name)
            if isinstance(thing, types.FunctionType):
                if depth < DEPTH:
                    todo.append((thing, depth + 1))
            elif isinstance(thing, type):
                if is_users(thing.__module__):
                    yield thing, f"{thing.__module__}.{thing.__qualname__}", file
            elif not isinstance(thing, types.ModuleType | dspy.Module | dspy.BaseLM | None):
                yield thing, f"{found.__module__}.{name}", file


def names_in(code: types.CodeType) -> set[str]:
    """Returns the names of globals and attributes in the code of a function and its inner functions."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {*code.co_names}.union(*map(names_in, inner))


def _of_class(kind: type) -> Iterator[types.FunctionType]:
    for base in kind.__mro__:
        if is_users(base.__module__):
            yield from (value for value in vars(base).values() if isinstance(value, types.FunctionType))


def _tools(module: Any) -> list[Any]:
    """Returns the dspy.Tools among the attributes of an agent's module."""
    found = [*vars(module).values()]
    found += [part for value in found for part in (value.values() if isinstance(value, dict) else ())]
    return [thing for thing in found if isinstance(thing, dspy.Tool)]


def classes_of(thing: Any) -> Iterator[tuple[type, str, str]]:
    """Yields the user's classes of a program's modules, or of a metric object, because class attributes may change."""
    modules = [module for _, module in thing.named_sub_modules()] if isinstance(thing, dspy.Module) else [thing]
    for kind in dict.fromkeys(base for module in modules for base in type(module).__mro__):
        if is_users(kind.__module__):
            file = getattr(sys.modules[kind.__module__], "__file__", None) or "?"
            yield kind, f"{kind.__module__}.{kind.__qualname__}", file
