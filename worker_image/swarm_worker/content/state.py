"""Defines which state of an object counts in digests and travels in payloads.

Digests and payloads take the same state, so a worker gets exactly the object that the plan's digest names. It is the
state that pickle takes, without the attributes that DSPy and its optimizers add: histories of calls, reports, threads.
An attribute is left out only if both its name and its form are DSPy's. So a user's own attribute with such a name
counts and travels.
"""

import copyreg
import operator
import re
import sys
import threading
from typing import Any

import dspy
from dspy.predict.parameter import Parameter
from dspy.utils.unbatchify import Unbatchify

SYNCHRONIZERS = (type(threading.Lock()), type(threading.RLock()), threading.Event, threading.Condition)
"""Types of objects that hold no state of the user. Another process makes new objects."""

_STAGE = re.compile(r"[0-9a-f]{16}")
"""The form of `stage`, which DSPy draws at random for each Predict and Retrieve, and never reads."""
_ENTRY = frozenset({"uuid", "timestamp", "outputs"})
"""Keys that every entry of DSPy's histories has."""
_LM_ATTRIBUTES = frozenset({"model", "model_type", "cache", "kwargs", "num_retries", "history"})
"""Attributes of a BaseLM that `own_of_lm` leaves out: they are in its `dump_state`, or do not count."""
_CLIENT_ATTRIBUTES = frozenset({"provider", "finetuning_model", "launch_kwargs", "train_kwargs", "_providers"})
"""Attributes that `own_of_lm` also leaves out for a dspy.LM. Engines (`_ENGINES`) count through `dump_state`."""
_ENGINES = frozenset({"_engine_spec", "_async_engine_spec", "_engine_store", "_engine_lock"})


def reduced(thing: Any) -> Any:
    """Returns what an object's `__reduce_ex__` returns, without the attributes that do not count.

    Raises the exception of `__reduce_ex__`, usually a TypeError, if the object cannot be pickled.
    """
    kind = type(thing)
    if kind is Unbatchify:
        state = {name: getattr(thing, name) for name in ("batch_fn", "max_batch_size", "max_wait_time")}
        return Unbatchify.__new__, (Unbatchify,), state, None, None, _begin
    if kind in copyreg.dispatch_table:
        return copyreg.dispatch_table[kind](thing)
    found = thing.__reduce_ex__(4)
    if isinstance(thing, dspy.Module | dspy.BaseLM) and len(found) > 2 and isinstance(found[2], dict):
        make, arguments, state, *rest = found
        return (make, arguments, _without_reports(thing, state), *rest)
    return found


def counted(thing: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Returns an object's state without its `stage`, which DSPy makes different in each process."""
    stage = state.get("stage")
    if isinstance(thing, Parameter) and isinstance(stage, str) and _STAGE.fullmatch(stage):
        return {key: value for key, value in state.items() if key != "stage"}
    return state


def own_of_lm(lm: Any) -> dict[str, Any]:
    """Returns an LM's attributes that its `dump_state` lacks: callbacks, and attributes of a user's class."""
    known = _LM_ATTRIBUTES | (_CLIENT_ATTRIBUTES | _ENGINES if isinstance(lm, dspy.LM) else frozenset())
    found = {name: value for name, value in vars(lm).items() if name not in known}
    return found if found.get("callbacks") else {name: found[name] for name in found.keys() - {"callbacks"}}


def is_importable(thing: Any) -> bool:
    """Whether a class or function can be imported by its name. It then travels as this name."""
    try:
        return operator.attrgetter(thing.__qualname__)(sys.modules[thing.__module__]) is thing
    except (KeyError, AttributeError):
        return False


def _begin(thing: Any, state: dict[str, Any]) -> None:
    thing.__init__(**state)


def _without_reports(thing: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Returns the state without histories and reports.

    Histories contain all prompts, and reports contain all candidates. With them, payloads would grow without end.
    """
    history = vars(thing).get("history")
    # A dspy.Module drops its history and callbacks when it is pickled, so they are added here.
    own = {"history": [] if is_dspys_history(history) else history, "callbacks": vars(thing).get("callbacks") or []}
    reports = _reports(vars(thing)) if isinstance(thing, dspy.Module) else frozenset()
    return {**{key: value for key, value in state.items() if key not in reports}, **own}


def is_dspys_history(history: Any) -> bool:
    """Whether a history has only entries that DSPy writes."""
    return history is None or (
        isinstance(history, list) and all(isinstance(entry, dict) and entry.keys() >= _ENTRY for entry in history)
    )


def _reports(attributes: dict[str, Any]) -> frozenset[str]:
    """Returns the names of the attributes that DSPy's optimizers add to the program that they return."""
    rows, found = attributes.get("candidate_programs"), set[str]()
    if _is_ranking(rows) and rows:
        found |= {"candidate_programs"}
        if attributes.get("mb_candidate_programs") is not None:
            found |= {"mb_candidate_programs", "trial_logs", "prompt_model_total_calls", "total_calls"}  # MIPROv2
        elif rows[0].keys() >= {"instruction", "prefix", "depth"}:
            found |= {"total_calls", "results_best", "results_latest"}  # COPRO
        elif {"simba_idx", "trial_logs"} <= attributes.keys():
            found |= {"simba_idx", "trial_logs"}  # SIMBA
    if type(attributes.get("detailed_results")).__module__.startswith("dspy.teleprompt."):
        found |= {"detailed_results"}  # GEPA
    return frozenset(found)


def _is_ranking(rows: Any) -> bool:
    """Whether these are candidates in the form in which DSPy's optimizers list them."""
    return isinstance(rows, list) and all(
        isinstance(row, dict) and isinstance(row.get("program"), dspy.Module) and "score" in row for row in rows
    )
