"""Optimizers of the spec have the parameters and defaults of stock DSPy, and refuse wrong values."""

import inspect
from typing import Any, Optional

import dspy.experimental
import dspy.teleprompt
import pytest
from gepa.api import optimize
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from support.wire_spec import a_spec
from swarm_wire.spec import optimizers as api
from swarm_wire.spec.bootstrap_finetune import BootstrapFinetune
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.gepa import GEPA
from swarm_wire.spec.optimizers import Optimizer
from swarm_wire.spec.schema import SpecModel

STOCK: list[type[SpecModel]] = [
    api.BootstrapFewShotWithRandomSearch,
    api.BootstrapFewShot,
    api.LabeledFewShot,
    api.MIPROv2,
    GEPA,
    api.SIMBA,
    api.COPRO,
    api.InferRules,
    api.BootstrapFewShotWithOptuna,
    api.ReAnchor,
    BootstrapFinetune,
    api.BetterTogether,
]

FROM_ELSEWHERE = {
    "self", "metric", "student", "trainset", "valset",  # other fields of the spec or the script give these
    "prompt_model", "task_model", "reflection_lm", "teacher_settings",  # spec.models gives these
    "num_threads",  # spec.swarm gives this
}  # fmt: skip
LEFT_OUT = {
    "teacher": "a program",
    "restrict": "cuts the search into pieces, which is what we do",
    "kwargs": "swallows misspellings",
    "_kwargs": "the same",
    "eval_kwargs": "for threads and display; max_errors in it is a TypeError of stock COPRO",
    "verbose": "display",
    "track_stats": "does not go into the artifact",
    "track_best_outputs": "the same",
    "log_dir": "files in a pod; the journal resumes a run",
    "provide_traceback": "display",
    "warn_on_score_mismatch": "display",
    "requires_permission_to_run": "nobody is there to ask",
    "gepa_kwargs": "some of them are parameters of ours",
    "use_wandb": "sends data elsewhere",
    "wandb_api_key": "the same",
    "wandb_init_kwargs": "the same",
    "use_mlflow": "the same",
    "train_kwargs": "spec.finetune has them",
    "adapter": "spec.program.adapter names it",
    "optimizers": "they are p and w",
    "optimizer_compile_args": "p and w have them",
}
NOT_FOR = {"BootstrapFewShotWithOptuna": {"max_bootstrapped_demos": "without effect: stock uses max_demos"}}
OURS: dict[str, dict[str, Any]] = {
    "BootstrapFewShotWithOptuna": {"seed": 0},
    # Rows with demonstrations train the model on the demonstrations, too.
    "BootstrapFinetune": {
        "exclude_demos": True,
        "min_score": None,
        "min_examples": 50,
        "min_traces": 100,
        "min_teacher_score": None,
    },
    "BetterTogether": {
        "seed": 0,
        "p": api.PromptOptimizer.model_validate({"bootstrapFewShotWithRandomSearch": {}}),
        "w": BootstrapFinetune(),
    },
    # A default in the schema would conflict with numCandidates. The worker uses "light" if neither field is set.
    "MIPROv2": {"auto": None},
    "GEPA": {
        name: inspect.signature(optimize).parameters[name].default
        for name in (
            "sampling_strategy",
            "selection_strategy",
            "acceptance_criterion",
            "frontier_type",
            "merge_val_overlap_floor",
            "cache_evaluation",
        )
    },
}


def stock_parameters(name: str) -> dict[str, Any]:
    stock = getattr(dspy.experimental if name == "ReAnchor" else dspy.teleprompt, name)
    functions = [stock.compile, stock.__init__]
    if name == "InferRules":
        functions.append(dspy.teleprompt.BootstrapFewShot.__init__)  # InferRules passes its **kwargs on to it
    return {
        name: parameter.default
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
    }


@pytest.mark.parametrize("ours", STOCK, ids=lambda model: model.__name__)
def test_every_optimizer_of_the_spec_has_the_parameters_and_defaults_of_stock_dspy(ours: type[SpecModel]) -> None:
    name = ours.__name__
    not_ours = FROM_ELSEWHERE | set(LEFT_OUT) | set(NOT_FOR.get(name, ()))
    expected = {key: default for key, default in stock_parameters(name).items() if key not in not_ours}
    required = {key for key, default in expected.items() if default is inspect.Parameter.empty}
    assert {key for key, field in ours.model_fields.items() if field.is_required()} == required
    found = {
        key: field.get_default(call_default_factory=True)
        for key, field in ours.model_fields.items()
        if key not in required
    }
    assert found == {key: default for key, default in expected.items() if key not in required} | OURS.get(name, {})


def test_every_parameter_that_the_spec_intentionally_omits_exists_in_stock_dspy() -> None:
    known = {parameter for model in STOCK for parameter in stock_parameters(model.__name__)}
    assert known >= FROM_ELSEWHERE
    assert set(LEFT_OUT) <= known


def test_every_optimizer_of_the_spec_is_compared_with_stock_dspy() -> None:
    annotations: list[Any] = [field.annotation for field in Optimizer.model_fields.values()]
    assert annotations == [Optional[model] for model in [*STOCK, api.Custom]]  # noqa: UP045
    assert tuple(Optimizer.model_fields) == Optimizer.members


SMALLEST: dict[str, dict[str, Any]] = {
    "gepa": {"auto": "light"},
    "bootstrapFewShotWithOptuna": {"maxDemos": 4},
    "custom": {"entrypoint": "module:compile"},
}


def tuned(optimizer: str) -> dict[str, Any]:
    """Returns the field that a fine-tune needs beside its optimizer."""
    return {"finetune": {}} if optimizer in ("bootstrapFinetune", "betterTogether") else {}


@pytest.mark.parametrize("name", Optimizer.members)
def test_a_property_of_the_spec_returns_the_name_of_the_chosen_optimizer(name: str) -> None:
    member = to_camel(name)
    spec = CompilationSpec.model_validate(a_spec(optimizer={member: SMALLEST.get(member, {})}, **tuned(member)))
    assert spec.optimizer.which == name
    assert CompilationSpec.model_validate(spec.as_written()) == spec


@pytest.mark.parametrize(
    ("name", "given", "how", "prunes"),
    [
        ("bootstrapFewShotWithRandomSearch", {}, "exact", True),
        ("bootstrapFewShotWithRandomSearch", {}, "off", False),
        ("bootstrapFewShotWithRandomSearch", {"stopAtScore": 90}, "exact", False),
        ("inferRules", {}, "exact", True),
        *(
            (to_camel(name), SMALLEST.get(to_camel(name), {}), "exact", False)
            for name in Optimizer.members
            if name not in ("bootstrap_few_shot_with_random_search", "infer_rules")
        ),
    ],
)
def test_only_optimizers_that_return_the_candidate_with_the_highest_score_are_pruned(
    name: str, given: dict[str, Any], how: str, prunes: bool
) -> None:
    spec = CompilationSpec.model_validate(a_spec(**{"optimizer": {name: given}, "swarm.pruning": how, **tuned(name)}))
    assert spec.prunes == prunes
    if how == "exact":
        assert CompilationSpec.model_validate(a_spec(optimizer={name: given}, **tuned(name))).prunes == prunes, (
            "by default"
        )


BUDGETS = "exactly one of auto, maxFullEvals, maxMetricCalls must be set"
EFFORT = "set auto, or both of numCandidates and numTrials"


@pytest.mark.parametrize(
    ("optimizer", "given", "problem"),
    [
        ("gepa", {}, f"Value error, {BUDGETS}"),
        ("gepa", {"auto": "light"}, None),
        ("gepa", {"maxFullEvals": 3}, None),
        ("gepa", {"maxMetricCalls": 300, "useMerge": False}, None),
        ("gepa", {"auto": "light", "maxMetricCalls": 3}, f"Value error, {BUDGETS}, not auto, maxMetricCalls"),
        ("gepa", {"auto": "medium", "candidateSelectionStrategy": "best"}, "candidateSelectionStrategy"),
        ("gepa", {"auto": "medium", "numThreads": 3}, "numThreads"),
        ("gepa", {"auto": "light", "componentSelector": "all"}, None),
        ("gepa", {"auto": "light", "componentSelector": "module:choose"}, None),
        ("gepa", {"auto": "light", "componentSelector": "first"}, "componentSelector"),
        ("gepa", {"auto": "light", "instructionProposer": "first"}, "instructionProposer"),
        ("gepa", {"auto": "light", "samplingStrategy": {"pxN": {"parents": 2, "proposals": 3}}}, None),
        ("gepa", {"auto": "light", "samplingStrategy": {"pxN": {"parents": 2}}}, "proposals"),
        ("gepa", {"auto": "light", "samplingStrategy": {"independent": {"proposals": 0}}}, "proposals"),
        ("gepa", {"auto": "light", "samplingStrategy": {}},
         "Value error, exactly one of sameParent, independent, pxN must be set"),
        ("gepa", {"auto": "light", "selectionStrategy": {"bestImprovement": {}}}, None),
        ("gepa", {"auto": "light", "acceptanceCriterion": "any"}, "acceptanceCriterion"),
        ("gepa", {"auto": "light", "frontierType": "hybrid", "cacheEvaluation": True}, None),
        ("miprov2", {}, None),
        ("miprov2", {"auto": "heavy", "minibatch": False}, None),
        ("miprov2", {"auto": "huge"}, "auto"),
        ("miprov2", {"numCandidates": 5, "numTrials": 9}, None),
        ("miprov2", {"numCandidates": 5}, f"Value error, {EFFORT}, not numCandidates"),
        ("miprov2", {"numTrials": 5}, f"Value error, {EFFORT}, not numTrials"),
        ("miprov2", {"auto": "light", "numTrials": 5}, f"Value error, {EFFORT}, not auto, numTrials"),
        ("miprov2", {"auto": "light", "numCandidates": 5, "numTrials": 5},
         f"Value error, {EFFORT}, not auto, numCandidates, numTrials"),
        ("miprov2", {"numCandidates": 0, "numTrials": 5}, "numCandidates"),
        ("miprov2", {"seed": -1}, "seed"),
        ("miprov2", {"seed": 0}, None),
        ("copro", {"breadth": 1}, "breadth"),
        ("copro", {"breadth": 2, "depth": 1, "initTemperature": 0}, None),
        ("copro", {"initTemperature": 2.5}, "initTemperature"),
        ("copro", {"maxErrors": 20}, "maxErrors"),
        ("simba", {"temperatureForSampling": 0}, "temperatureForSampling"),
        ("simba", {"maxDemos": 0, "demoInputFieldMaxlen": 0}, None),
        ("simba", {"trainset": []}, "trainset"),
        ("inferRules", {"numRules": 0}, "numRules"),
        ("inferRules", {"maxErrors": 3, "metricThreshold": 0.5}, None),
        ("bootstrapFewShotWithOptuna", {}, "maxDemos"),
        ("bootstrapFewShotWithOptuna", {"maxDemos": 0}, "maxDemos"),
        ("bootstrapFewShotWithOptuna", {"maxDemos": 4, "maxBootstrappedDemos": 4}, "maxBootstrappedDemos"),
        ("reAnchor", {"requireCache": False}, None),
        ("reAnchor", {"logDir": "/tmp"}, "logDir"),
        ("bootstrapFinetune", {"minExamples": 5}, "minExamples"),
        ("betterTogether", {"strategy": "w -> p -> w", "seed": 3, "p": {"gepa": {"auto": "light"}}, "w": {}}, None),
        ("betterTogether", {"strategy": "p -> p"}, "strategy"),
        ("betterTogether", {"strategy": "p->w"}, "strategy"),
        ("betterTogether", {"valsetRatio": 1}, "valsetRatio"),
        ("betterTogether", {"p": {}}, "Value error, exactly one of bootstrapFewShotWithRandomSearch, bootstrapFewShot, "
         "labeledFewShot, miprov2, gepa, simba, copro, bootstrapFewShotWithOptuna must be set"),
        ("betterTogether", {"p": {"gepa": {}}}, f"Value error, {BUDGETS}"),
        *(
            ("betterTogether", {"p": {name: {}}}, f"Value error, {name} cannot be p of betterTogether: {why}")
            for name, why in api.NO_STEP.items()
        ),
        ("custom", {}, "entrypoint"),
        ("custom", {"entrypoint": "module"}, "entrypoint"),
        ("custom", {"entrypoint": "module:compile", "seed": 3}, "seed"),
        ("avatar", {}, "avatar"),
    ],
)  # fmt: skip
def test_the_message_about_a_wrong_parameter_names_its_field(
    optimizer: str, given: dict[str, Any], problem: str | None
) -> None:
    spec = a_spec(optimizer={optimizer: given}, **tuned(optimizer))
    if problem is None:
        CompilationSpec.model_validate(spec)
        return
    with pytest.raises(ValidationError) as refused:
        CompilationSpec.model_validate(spec)
    first = refused.value.errors()[0]
    assert problem in (first["loc"][-1], first["msg"])
