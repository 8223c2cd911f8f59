"""Makes GEPA's arguments: options of DSPy's class, and options that the class passes on to the package gepa."""

import inspect
from collections.abc import Callable
from typing import Any

import dspy
from pydantic.alias_generators import to_camel

from swarm_wire.names import WorkerReason
from swarm_wire.spec import gepa as api
from swarm_worker.errors import BadInput
from swarm_worker.user.entrypoint import call, load

_WHERE, _REASON = "spec.optimizer.gepa", WorkerReason.OPTIMIZER_INVALID
_PASSED_ON = (
    "sampling_strategy",
    "selection_strategy",
    "acceptance_criterion",
    "frontier_type",
    "merge_val_overlap_floor",
    "cache_evaluation",
)
_SHAPES = {
    "instruction_proposer": ((), ("candidate", "reflective_dataset", "components_to_update")),
    "code_proposer": (
        (),
        ("candidate", "reflective_dataset", "components_to_update", "task_descriptions", "context_blurbs"),
    ),
    "component_selector": (("state", "trajectories", "subsample_scores", "candidate_idx", "candidate"), ()),
}
"""Names of the arguments with which stock DSPy calls these functions: first the positional, then the named ones."""


def gepa_options(given: api.GEPA, parameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of dspy.GEPA for the parameters of the spec.

    Raises:
        BadInput: an entrypoint names no function that GEPA can call, or the installed gepa or DSPy lacks an option.
    """
    from gepa.api import optimize

    # Only changed options are passed, because older versions of gepa and DSPy lack some options.
    changed = {name: value for name, value in parameters.items() if value != type(given).model_fields[name].default}
    passed = {name: value for name, value in changed.items() if name in _PASSED_ON}
    made = {name: value for name, value in changed.items() if name not in _PASSED_ON}
    _check(passed, optimize, "gepa", "0.1.4")
    _check(made, dspy.GEPA, "DSPy", "3.4")
    for name in _SHAPES:
        if ":" in (entrypoint := made.get(name, "")):
            made[name] = _load(entrypoint, name)
    if given.sampling_strategy is not None:
        passed["sampling_strategy"] = _sampling(given.sampling_strategy)
    if given.selection_strategy is not None:
        passed["selection_strategy"] = _selection(given.selection_strategy)
    return {**made, "gepa_kwargs": passed}


def _check(options: dict[str, Any], taker: Callable[..., Any], package: str, version: str) -> None:
    """Raises BadInput if the installed version lacks an option."""
    known = inspect.signature(taker).parameters
    for name in options:
        if name not in known:
            raise BadInput(
                _REASON,
                f"{_WHERE}.{to_camel(name)}: the installed {package} does not know it. Install {version} in the image.",
            )


def _sampling(given: api.Sampling) -> Any:
    from gepa.strategies import proposal_sampling as stock

    if given.px_n is not None:
        return stock.PxNSampling(given.px_n.parents, given.px_n.proposals)
    if given.same_parent is not None:
        return stock.SameParentSampling(given.same_parent.proposals)
    assert given.independent is not None
    return stock.IndependentSampling(given.independent.proposals)


def _selection(given: api.Selection) -> Any:
    from gepa.strategies import proposal_selection as stock

    if given.top_k_improvements is not None:
        return stock.TopKImprovements(given.top_k_improvements.k)
    return stock.BestImprovement()


def _load(entrypoint: str, name: str) -> Callable[..., Any]:
    """Returns the function that an entrypoint names. If it names a class, returns an instance of the class."""
    where, (by_position, by_name) = f"{_WHERE}.{to_camel(name)}", _SHAPES[name]
    found: Any = load(entrypoint, where, _REASON)
    if isinstance(found, type):
        found = call(found, entrypoint, where, _REASON)
    try:
        inspect.signature(found).bind(*by_position, **dict.fromkeys(by_name))
    except TypeError:
        shape = ", ".join(by_position + by_name)
        how = " by these names" if by_name else ""
        raise BadInput(
            _REASON, f'{where}: "{entrypoint}" must be a function that takes ({shape}){how}, not {found!r:.200}.'
        ) from None
    function: Callable[..., Any] = found
    return function
