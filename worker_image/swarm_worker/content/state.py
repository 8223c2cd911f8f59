"""What of an object counts, and travels.

Digests and payloads take objects apart alike, so what a worker gets is what the plan named. That is what pickle takes,
less what only DSPy and its optimizers hang on an object: the history of its calls, reports, threads that begin anew.
Each of these is told by its form and not by its name alone: a user's own attribute of that name counts and travels.
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
"""What holds no state of the user's: another process gets new ones."""

_STAGE = re.compile(r"[0-9a-f]{16}")
"""What DSPy draws by chance for each Predict and Retrieve, and never reads."""
_ENTRY = frozenset({"uuid", "timestamp", "outputs"})
"""Keys of every entry in DSPy's histories of LM calls."""
_LM_ATTRIBUTES = frozenset({"model", "model_type", "cache", "kwargs", "num_retries", "history"})
"""Attributes of a BaseLM that are in its `dump_state`, or do not count."""
_CLIENT_ATTRIBUTES = frozenset({"provider", "finetuning_model", "launch_kwargs", "train_kwargs", "_providers"})
"""More of a dspy.LM. Engines count by their `dump_state`."""
_ENGINES = frozenset({"_engine_spec", "_async_engine_spec", "_engine_store", "_engine_lock"})


def reduced(thing: Any) -> Any:
    """As `thing.__reduce_ex__`. Raises whatever that raises, as a rule TypeError, on what cannot be pickled."""
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
    """The state of an object without what differs from process to process by DSPy's doing."""
    stage = state.get("stage")
    if isinstance(thing, Parameter) and isinstance(stage, str) and _STAGE.fullmatch(stage):
        return {key: value for key, value in state.items() if key != "stage"}
    return state


def own_of_lm(lm: Any) -> dict[str, Any]:
    """What an LM has beside its `dump_state`: attributes of a class of the user's, callbacks."""
    known = _LM_ATTRIBUTES | (_CLIENT_ATTRIBUTES | _ENGINES if isinstance(lm, dspy.LM) else frozenset())
    found = {name: value for name, value in vars(lm).items() if name not in known}
    return found if found.get("callbacks") else {name: found[name] for name in found.keys() - {"callbacks"}}


def is_importable(thing: Any) -> bool:
    """Whether a class or function is what its module has under its name, so that it travels by its name."""
    try:
        return operator.attrgetter(thing.__qualname__)(sys.modules[thing.__module__]) is thing
    except (KeyError, AttributeError):
        return False


def _begin(thing: Any, state: dict[str, Any]) -> None:
    thing.__init__(**state)


def _without_reports(thing: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Histories hold every prompt so far, reports every candidate: they would make payloads grow without end."""
    history = vars(thing).get("history")
    # DSPy's Module leaves both behind where it is copied.
    own = {"history": [] if is_dspys_history(history) else history, "callbacks": vars(thing).get("callbacks") or []}
    reports = _reports(vars(thing)) if isinstance(thing, dspy.Module) else frozenset()
    return {**{key: value for key, value in state.items() if key not in reports}, **own}


def is_dspys_history(history: Any) -> bool:
    """Whether this is nothing but the LM calls that DSPy notes."""
    return history is None or (
        isinstance(history, list) and all(isinstance(entry, dict) and entry.keys() >= _ENTRY for entry in history)
    )


def _reports(attributes: dict[str, Any]) -> frozenset[str]:
    """Names of the attributes that an optimizer of DSPy hung on the program that it returned."""
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
    """Whether these are candidates as optimizers of DSPy list them."""
    return isinstance(rows, list) and all(
        isinstance(row, dict) and isinstance(row.get("program"), dspy.Module) and "score" in row for row in rows
    )
