"""Checks DSPy's internals when a process starts.

The hooks replace parts of DSPy that another version may change. So each plan and each worker checks them first, and
refuses an unknown version.
"""

import importlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import CodeType
from typing import Any, Protocol

from swarm_wire.names import WorkerReason
from swarm_worker.errors import BadInput

SUPPORTED = "DSPy 3.3 or 3.4"


class Shape(Protocol):
    """A requirement that DSPy's code must meet."""

    def problem(self) -> str | None:
        """Returns the violation, as the end of a sentence; None if the requirement holds."""


@dataclass(frozen=True)
class Function:
    """Requires that a function or method has these parameters. Types are ignored."""

    path: str
    parameters: str

    def problem(self) -> str | None:
        signature = inspect.signature(_named(self.path))
        bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        found = str(signature.replace(parameters=bare, return_annotation=signature.empty))
        return None if found == self.parameters else f"{self.path} takes {found}, not {self.parameters}"


@dataclass(frozen=True)
class Names:
    """Requires that a module or class has these names, or that a dataclass has these fields."""

    path: str
    names: str

    def problem(self) -> str | None:
        thing = _named(self.path)
        known = {*dir(thing), *getattr(thing, "__dataclass_fields__", ())}
        missing = [name for name in self.names.split() if name not in known]
        return f"{self.path} has no {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Closure:
    """Requires that a function contains an inner function that closes over these variables."""

    path: str
    name: str
    variables: str

    def problem(self) -> str | None:
        code = inspect.unwrap(_named(self.path)).__code__
        inner = [part for part in code.co_consts if isinstance(part, CodeType) and part.co_name == self.name]
        if [part.co_freevars for part in inner] == [tuple(self.variables.split())]:
            return None
        return f"{self.path} has no function {self.name} that closes over {self.variables}"


HOOKS: Sequence[Shape] = (
    Function("dspy.utils.parallelizer.ParallelExecutor.execute", "(self, function, data)"),
    Closure("dspy.evaluate.evaluate.Evaluate.__call__", "process_item", "metric program"),
    Names("dspy.teleprompt.bootstrap_trace", "bootstrap_trace_data"),
    Function("dspy.teleprompt.bootstrap.BootstrapFewShot.compile", "(self, student, *, teacher=None, trainset)"),
    Function("dspy.teleprompt.bootstrap.BootstrapFewShot._prepare_student_and_teacher", "(self, student, teacher)"),
    Function("dspy.teleprompt.bootstrap.BootstrapFewShot._prepare_predictor_mappings", "(self)"),
    Function("dspy.teleprompt.bootstrap.BootstrapFewShot._bootstrap", "(self, *, max_bootstraps=None)"),
    Function("dspy.teleprompt.bootstrap.BootstrapFewShot._bootstrap_one_example", "(self, example, round_idx=0)"),
    Function("dspy.teleprompt.bootstrap.BootstrapFewShot._train", "(self)"),
    Function("dspy.teleprompt.bootstrap_finetune.BootstrapFinetune.compile", "(self, student, trainset, teacher=None)"),
    Names("dspy.teleprompt.bootstrap_finetune", "bootstrap_trace_data"),
    Names("dspy.teleprompt.bootstrap_trace", "FailedPrediction"),
    Function("dspy.clients.lm.LM.finetune", "(self, train_data, train_data_format, train_kwargs=None)"),
    Function("dspy.adapters.base.Adapter._call_preprocess", "(self, lm, lm_kwargs, signature, inputs)"),
    Function("dspy.adapters.chat_adapter.ChatAdapter.__call__", "(self, lm, lm_kwargs, signature, demos, inputs)"),
    Function("dspy.adapters.chat_adapter.ChatAdapter.acall", "(self, lm, lm_kwargs, signature, demos, inputs)"),
    Function("dspy.adapters.json_adapter.JSONAdapter.__call__", "(self, lm, lm_kwargs, signature, demos, inputs)"),
    Function("dspy.adapters.json_adapter.JSONAdapter.acall", "(self, lm, lm_kwargs, signature, demos, inputs)"),
    Function("dspy.predict.predict.Predict.forward", "(self, **kwargs)"),
    Function("dspy.predict.predict.Predict._forward_preprocess", "(self, **kwargs)"),
    Function("dspy.predict.predict.Predict._forward_postprocess", "(self, completions, signature, **kwargs)"),
    Function("dspy.predict.best_of_n.BestOfN.forward", "(self, **kwargs)"),
    Function("dspy.predict.refine.Refine.forward", "(self, **kwargs)"),
    Names("dspy.utils.unbatchify.Unbatchify", "_worker"),
)
"""The functions and classes that the hooks replace or call."""

CLASSES: Sequence[Shape] = (
    Names("dspy", "BaseLM LM Module Predict Example Prediction Evaluate context configure configure_cache settings"),
    Names("dspy", "Adapter ChatAdapter JSONAdapter XMLAdapter TwoStepAdapter"),
    Names(
        "dspy.utils.exceptions",
        "LMError LMAuthError LMBillingError LMRateLimitError LMNotConfiguredError LMProviderError LMUnexpectedError "
        "is_retryable_lm_error",
    ),
    Names("dspy.clients._litellm", "get_litellm require"),
    Names("dspy.utils.callback", "BaseCallback"),
    Names("dspy.primitives.example.Example", "with_inputs inputs"),
    Names("dspy.clients.base_lm.BaseLM", "dump_state copy"),
    Names(
        "dspy.teleprompt",
        "BetterTogether BootstrapFewShot BootstrapFewShotWithOptuna BootstrapFewShotWithRandomSearch BootstrapFinetune "
        "COPRO GEPA InferRules LabeledFewShot MIPROv2 SIMBA",
    ),
)

CLIENT_34: Sequence[Shape] = (
    Function("dspy.clients.execution.execute", "(lm, call)"),
    Function("dspy.clients.execution.aexecute", "(lm, call)"),
    Function("dspy.clients.execution._attempt", "(lm, call, backend, request, provider, state, results)"),
    Function("dspy.clients.execution._aattempt", "(lm, call, backend, request, provider, state, results)"),
    Function("dspy.clients.execution.PreparedCall.key", "(self, lm, asynchronous)"),
    Names("dspy.clients.execution.PreparedCall", "kwargs legacy request cache n managed"),
    Names("dspy.clients.call_result.CallResult", "responses usage cache_hit native"),
    Function("dspy.clients.call_result.combine", "(results, *, model_type)"),
    Function("dspy.clients.backend_selection.select_backend", "(lm, options=None)"),
    Names("dspy.clients.backend_selection.BackendSelection", "native"),
)
CLIENT_33: Sequence[Shape] = (
    Function(
        "dspy.clients.base_lm.BaseLM.__call__",
        "(self, *items, prompt=None, messages=None, request=None, **kwargs)",
    ),
    Names("dspy.clients.base_lm.BaseLM.__call__", "__wrapped__"),
    Function("dspy.clients.base_lm.BaseLM.acall", "(self, *items, prompt=None, messages=None, request=None, **kwargs)"),
    Names("dspy.clients.base_lm.BaseLM.acall", "__wrapped__"),
    Function("dspy.clients.lm.LM.forward", "(self, prompt=None, messages=None, **kwargs)"),
    Function("dspy.clients.lm.LM.aforward", "(self, prompt=None, messages=None, **kwargs)"),
    Function("dspy.utils.usage_tracker.UsageTracker.add_usage", "(self, lm, usage_entry)"),
)
"""The functions and classes that `client` replaces or calls."""


def check() -> None:
    """Raises BadInput if the installed DSPy is not supported."""
    problem = next(problems((*CLASSES, *HOOKS)), None)
    if problem is None:
        problem = next(problems(CLIENT_34 if has_own_client() else CLIENT_33), None)
    if problem is not None:
        raise BadInput(
            WorkerReason.UNSUPPORTED_DSPY,
            f"DSPy {_version()} is not supported: {problem}. Build the worker image with {SUPPORTED}.",
        )


def has_own_client() -> bool:
    """Whether DSPy has an LM client of its own, besides LiteLLM, as DSPy 3.4 does."""
    return find_spec("dspy.clients.execution") is not None


def problems(shapes: Sequence[Shape]) -> Iterator[str]:
    """Yields the violations of these requirements."""
    for shape in shapes:
        try:
            problem = shape.problem()
        except (ImportError, AttributeError) as error:
            problem = str(error)
        if problem is not None:
            yield problem


def _version() -> str:
    return str(getattr(importlib.import_module("dspy"), "__version__", "of an unknown version"))


def _named(path: str) -> Any:
    """Returns the module, class or function of that name."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            thing = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            continue
        for part in parts[length:]:
            thing = getattr(thing, part)
        return thing
    raise ImportError(f"there is no {path}")
