"""An optimizer of the spec becomes a compile of stock DSPy with its arguments and models, or is refused."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import dspy.experimental
import pytest

from simulated_provider.testing import RunningProvider, running_provider
from support.provider import TRIAGE, tickets
from support.worker import importable, module
from swarm_wire.spec.optimizers import Optimizer
from swarm_worker.errors import BadInput, CompileFailed, InfrastructureFailed
from swarm_worker.pod.script import Progress, run
from swarm_worker.user.data import Data
from swarm_worker.user.models import Models
from swarm_worker.user.optimizer import prepare
from triage import Triage
from triage import metric as right

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def examples(split: str, count: int) -> list[Any]:
    return [dspy.Example(**ticket).with_inputs("ticket") for ticket in tickets(split)[:count]]


DATA = Data(train=examples("train", 10), validation=examples("validation", 6), test=[])


def told(example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    """A metric that returns a score and feedback."""
    score = float(prediction.category == example.category)
    return dspy.Prediction(score=score, feedback=f"It belongs to {example.category}.")


class Billing(Triage):
    """A program that answers without a model."""

    def forward(self, ticket: str) -> Any:
        return dspy.Prediction(category="billing")


def optimizer(name: str, **given: Any) -> Optimizer:
    return Optimizer.model_validate({name: given})


def client(name: str, url: str = "http://nowhere/v1") -> dspy.LM:
    return dspy.LM(f"openai/{name}", api_base=url, api_key="none")


@pytest.fixture(scope="module")
def provider() -> Iterator[RunningProvider]:
    knowledge = TRIAGE / "knowledge.jsonl"
    with running_provider(seed=1, knowledge=knowledge, model={"prompt": 0.9}, varied=True) as running:
        yield running


@pytest.fixture
def models(provider: RunningProvider) -> Iterator[Models]:
    """Yields three models, with different names in the provider's log. DSPy's cache is empty."""
    provider.reset()
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    made = Models(client("small", provider.url), client("large", provider.url), client("prompt", provider.url))
    with dspy.context(lm=made.student, disable_history=True):
        yield made


# --- arguments of stock DSPy ------------------------------------------------------------------------------------

ALL_PARAMETERS: dict[str, dict[str, Any]] = {
    "labeledFewShot": {"k": 3, "sample": False},
    "bootstrapFewShot": {
        "maxBootstrappedDemos": 2, "maxLabeledDemos": 3, "maxRounds": 5, "maxErrors": 7, "metricThreshold": 0.5,
    },
    "bootstrapFewShotWithRandomSearch": {
        "maxBootstrappedDemos": 2, "maxLabeledDemos": 3, "maxRounds": 5, "numCandidatePrograms": 6, "maxErrors": 7,
        "stopAtScore": 90.0, "metricThreshold": 0.5, "labeledSample": False,
    },
    "miprov2": {
        "numCandidates": 5, "numTrials": 8, "maxBootstrappedDemos": 2, "maxLabeledDemos": 3, "minibatch": False,
        "minibatchSize": 6, "minibatchFullEvalSteps": 2, "programAwareProposer": False, "dataAwareProposer": False,
        "viewDataBatchSize": 4, "tipAwareProposer": False, "fewshotAwareProposer": False, "seed": 11,
        "initTemperature": 0.7, "maxErrors": 7, "metricThreshold": 0.5,
    },
    "gepa": {
        "maxMetricCalls": 50, "reflectionMinibatchSize": 4, "candidateSelectionStrategy": "current_best",
        "skipPerfectScore": False, "addFormatFailureAsFeedback": True, "componentSelector": "all", "useMerge": False,
        "maxMergeInvocations": 2, "failureScore": 0.1, "perfectScore": 2.0, "seed": 11,
        "acceptanceCriterion": "improvement_or_equal", "frontierType": "hybrid", "mergeValOverlapFloor": 3,
        "cacheEvaluation": True,
    },
    "simba": {
        "bsize": 4, "numCandidates": 3, "maxSteps": 2, "maxDemos": 1, "demoInputFieldMaxlen": 99,
        "temperatureForSampling": 0.3, "temperatureForCandidates": 0.4, "seed": 11,
    },
    "copro": {"breadth": 4, "depth": 2, "initTemperature": 0.7},
    "inferRules": {
        "numCandidates": 4, "numRules": 5, "maxBootstrappedDemos": 2, "maxLabeledDemos": 3, "maxRounds": 6,
        "maxErrors": 7, "metricThreshold": 0.5,
    },
    "bootstrapFewShotWithOptuna": {
        "maxDemos": 3, "maxLabeledDemos": 5, "maxRounds": 2, "numCandidatePrograms": 4, "seed": 11,
    },
    "reAnchor": {"requireCache": False},
}  # fmt: skip
ATTRIBUTES = {
    "bootstrapFewShotWithRandomSearch": {
        "max_bootstrapped_demos": "max_num_samples",
        "num_candidate_programs": "num_candidate_sets",
    },
    "bootstrapFewShotWithOptuna": {"num_candidate_programs": "num_candidate_sets"},
}
"""Parameters that a stock optimizer stores under another name."""
OBJECTS = {"code_proposer", "instruction_proposer", "sampling_strategy", "selection_strategy"}
"""Parameters for which stock DSPy gets an object. Other tests check them."""


def stock_call(given: Optimizer, metric: Any, models: Models) -> Any:
    """Returns the call of the stock optimizer's `compile` as a functools.partial."""
    compiling: Any = prepare(given, metric, DATA, models)
    return compiling.__wrapped__


@pytest.mark.parametrize("name", ALL_PARAMETERS)
def test_every_parameter_reaches_the_stock_optimizer(models: Models, name: str) -> None:
    given = optimizer(name, **ALL_PARAMETERS[name])
    member = getattr(given, given.which)
    compiling = stock_call(given, told, models)
    stock = (compiling.args[0] if compiling.args else compiling.func).__self__
    renamed = ATTRIBUTES.get(name, {})
    given_on = {**compiling.keywords, **getattr(stock, "gepa_kwargs", {})}
    found = {
        key: given_on[key] if key in given_on else getattr(stock, renamed.get(key, key))
        for key in type(member).model_fields
        if getattr(member, key) is not None
    }
    assert found == member.model_dump(exclude_none=True)
    same = {key for key, field in type(member).model_fields.items() if field.default == getattr(member, key)}
    assert same <= {"auto", "max_full_evals", *OBJECTS}, "a default shows nothing"


PROPOSERS = """
def shorter(candidate, reflective_dataset, components_to_update):
    return {name: candidate[name][:9] for name in components_to_update}

class Shorter:
    def __call__(self, candidate, reflective_dataset, components_to_update):
        return shorter(candidate, reflective_dataset, components_to_update)

class Needs:
    def __init__(self, what):
        pass

shortest = Shorter()

def first(state, trajectories, subsample_scores, candidate_idx, candidate):
    return list(candidate)[:1]

def two(one, other):
    return {}

number = 3
"""


@pytest.fixture
def proposers(tmp_path: Path) -> Iterator[None]:
    module(tmp_path, PROPOSERS, "gepa_functions.py")
    with importable(tmp_path):
        yield


def stock_gepa(**given: Any) -> Any:
    nowhere = Models(client("a"), client("b"), client("c"))
    return stock_call(optimizer("gepa", auto="light", **given), told, nowhere).func.__self__


@pytest.mark.parametrize("name", ["shorter", "Shorter", "shortest"])
def test_functions_for_gepa_come_from_the_users_files(proposers: None, name: str) -> None:
    stock = stock_gepa(instructionProposer=f"gepa_functions:{name}", componentSelector="gepa_functions:first")
    proposed = stock.custom_instruction_proposer(
        candidate={"a": "a long instruction"}, reflective_dataset={}, components_to_update=["a"]
    )
    assert proposed == {"a": "a long in"}
    assert stock.component_selector(None, [], [], 0, {"a": "", "b": ""}) == ["a"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"instructionProposer": "gepa_functions:two"},
         'instructionProposer: "gepa_functions:two" must be a function that takes (candidate, reflective_dataset, '
         "components_to_update) by these names, not "),
        ({"instructionProposer": "gepa_functions:number"}, 'instructionProposer: "gepa_functions:number" must be a'),
        ({"instructionProposer": "gepa_functions:Needs"},
         'instructionProposer: calling "gepa_functions:Needs" raised TypeError: '),
        ({"instructionProposer": "gepa_functions:missing"}, 'instructionProposer: module "gepa_functions" has no '),
        ({"codeProposer": "gepa_functions:shorter"},
         'codeProposer: "gepa_functions:shorter" must be a function that takes (candidate, reflective_dataset, '
         "components_to_update, task_descriptions, context_blurbs) by these names, not "),
        ({"componentSelector": "gepa_functions:two"},
         'componentSelector: "gepa_functions:two" must be a function that takes (state, trajectories, '
         "subsample_scores, candidate_idx, candidate), not "),
    ],
)  # fmt: skip
def test_invalid_functions_for_gepa_are_refused(proposers: None, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadInput) as refused:
        stock_gepa(**given)
    assert refused.value.reason == "OptimizerInvalid"
    assert str(refused.value).startswith(f"spec.optimizer.gepa.{problem}")


@pytest.mark.parametrize(
    ("given", "name", "kind", "values"),
    [
        ({"samplingStrategy": {"sameParent": {"proposals": 3}}}, "sampling_strategy", "SameParentSampling", {"n": 3}),
        ({"samplingStrategy": {"independent": {"proposals": 3}}}, "sampling_strategy", "IndependentSampling", {"n": 3}),
        (
            {"samplingStrategy": {"pxN": {"parents": 2, "proposals": 3}}},
            "sampling_strategy",
            "PxNSampling",
            {"p": 2, "n": 3},
        ),
        ({"selectionStrategy": {"bestImprovement": {}}}, "selection_strategy", "BestImprovement", {}),
        ({"selectionStrategy": {"topKImprovements": {"k": 2}}}, "selection_strategy", "TopKImprovements", {"k": 2}),
    ],
)
def test_strategies_of_gepa_in_the_spec_become_those_of_stock(
    given: dict[str, Any], name: str, kind: str, values: dict[str, int]
) -> None:
    [(found, strategy)] = stock_gepa(**given).gepa_kwargs.items()
    assert (found, type(strategy).__name__, vars(strategy)) == (name, kind, values)


def test_an_option_that_the_installed_gepa_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import gepa.api

    monkeypatch.setattr(gepa.api, "optimize", lambda seed_candidate, trainset: None)
    assert stock_gepa().gepa_kwargs == {}
    with pytest.raises(BadInput) as refused:
        stock_gepa(frontierType="hybrid")
    assert str(refused.value) == (
        "spec.optimizer.gepa.frontierType: the installed gepa does not know it. Install 0.1.4 in the image."
    )


def test_an_option_of_gepa_that_an_older_dspy_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, proposers: None
) -> None:
    stock = dspy.GEPA.__init__

    def older(self: Any, metric: Any, *, auto: Any = None, reflection_lm: Any = None, gepa_kwargs: Any = None) -> None:
        stock(self, metric, auto=auto, reflection_lm=reflection_lm, gepa_kwargs=gepa_kwargs)

    monkeypatch.setattr(dspy.GEPA, "__init__", older)
    assert stock_gepa().auto == "light"
    with pytest.raises(BadInput) as refused:
        stock_gepa(codeProposer="gepa_functions:shorter")
    assert str(refused.value) == (
        "spec.optimizer.gepa.codeProposer: the installed DSPy does not know it. Install 3.4 in the image."
    )


@pytest.mark.parametrize(
    ("given", "auto", "trials"),
    [
        ({}, "light", None),
        ({"auto": "heavy"}, "heavy", None),
        ({"numCandidates": 3, "numTrials": 4, "minibatch": False}, None, 4),
        ({"numCandidates": 3, "numTrials": 4, "minibatchSize": 6}, None, 4),
    ],
)
def test_miprov2_is_light_by_default(
    models: Models, given: dict[str, Any], auto: str | None, trials: int | None
) -> None:
    compiling = stock_call(optimizer("miprov2", **given), right, models)
    assert (compiling.func.__self__.auto, compiling.keywords["num_trials"]) == (auto, trials)


# --- real compiles -----------------------------------------------------------------------------------------------

STUDENT, TEACHER, PROMPT = "small", "large", "prompt"
SMALL = {"maxBootstrappedDemos": 1, "maxLabeledDemos": 2}


COMPILES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("labeledFewShot", {"k": 2}, set()),
    ("bootstrapFewShot", SMALL, {TEACHER}),
    ("bootstrapFewShotWithRandomSearch", {**SMALL, "numCandidatePrograms": 1}, {STUDENT, TEACHER}),
    ("bootstrapFewShotWithOptuna", {"maxDemos": 2, "numCandidatePrograms": 2}, {STUDENT, TEACHER}),
    ("inferRules", {**SMALL, "numCandidates": 1}, {STUDENT, TEACHER}),
    ("copro", {"breadth": 2, "depth": 1}, {STUDENT, PROMPT}),
    ("miprov2", {**SMALL, "numCandidates": 3, "numTrials": 2, "minibatchSize": 3}, {STUDENT, TEACHER, PROMPT}),
    ("simba", {"bsize": 4, "maxSteps": 1, "numCandidates": 2}, {STUDENT, TEACHER, PROMPT}),
    ("gepa", {"maxMetricCalls": 24}, {STUDENT, PROMPT}),
]


@pytest.mark.parametrize(
    ("name", "given", "asked", "metric"),
    [(*case, metric) for case in COMPILES for metric in (right, told) if (case[0], metric) != ("gepa", right)],
)
def test_every_optimizer_compiles_with_the_models_of_its_roles(
    provider: RunningProvider, models: Models, name: str, given: dict[str, Any], asked: set[str], metric: Any
) -> None:
    winner = prepare(optimizer(name, **given), metric, DATA, models)(Triage())
    assert isinstance(winner, Triage)
    assert set(provider.stats()["by_model"]) == asked
    assert set(provider.stats()["by_status"]) <= {"200"}


def test_a_model_role_that_the_spec_does_not_name_uses_the_student_model(
    provider: RunningProvider, models: Models
) -> None:
    student_only = Models(models.student, models.student, models.student)
    for name, given in {"copro": {"breadth": 2, "depth": 1}, "gepa": {"maxMetricCalls": 24}}.items():
        prepare(optimizer(name, **given), told, DATA, student_only)(Triage())
    assert set(provider.stats()["by_model"]) == {STUDENT}


@pytest.mark.parametrize("size", [10, 9, 5])
@pytest.mark.parametrize(
    ("name", "given"), [(name, given) for name, given, *_ in COMPILES if not name.startswith(("labeled", "simba"))]
)
def test_without_a_validation_set_the_examples_that_stock_chooses_are_scored(
    monkeypatch: pytest.MonkeyPatch, models: Models, name: str, given: dict[str, Any], size: int
) -> None:
    devsets: list[list[Any]] = []
    evaluate = dspy.Evaluate.__call__

    def recorded(self: Any, *arguments: Any, **named: Any) -> Any:
        devsets.append(named.get("devset") or self.devset)
        return evaluate(self, *arguments, **named)

    monkeypatch.setattr(dspy.Evaluate, "__call__", recorded)
    small = {**given, "minibatch": False} if name == "miprov2" else given
    data = Data(train=DATA.train[:size], validation=None, test=[])
    chosen = optimizer(name, **{key: value for key, value in small.items() if key != "minibatchSize"})
    prepare(chosen, told, data, models)(Triage())
    scored = data.scored(chosen)
    assert all(len(devset) <= len(scored) for devset in devsets)
    if name == "bootstrapFewShot":
        assert (devsets, scored) == ([], data.train), "it scores nothing"
    else:
        full = [devset for devset in devsets if len(devset) == len(scored)]
        assert full, "the whole of it is scored"
        assert all(sorted(map(repr, devset)) == sorted(map(repr, scored)) for devset in full)
        assert [len(devset) for devset in devsets if len(devset) < len(scored)] == [3] * (len(devsets) - len(full))


@pytest.mark.parametrize(
    ("name", "given", "first", "told_as"),
    [
        ("miprov2", {}, 2, "the last 8 of 10 training examples"),
        ("inferRules", {}, 5, "the last 5 of 10 training examples"),
        ("gepa", {"auto": "light"}, 0, "all 10 training examples"),
        ("simba", {}, 0, "all 10 training examples"),
        ("labeledFewShot", {}, 0, "all 10 training examples"),
        ("custom", {"entrypoint": "a:b"}, 0, "all 10 training examples"),
    ],
)
def test_the_report_names_the_scored_examples(name: str, given: dict[str, Any], first: int, told_as: str) -> None:
    chosen = optimizer(name, **given)
    assert DATA.scored_on(chosen) == "the validation set"
    data = Data(train=DATA.train, validation=None, test=[])
    assert (data.scored(chosen), data.scored_on(chosen)) == (DATA.train[first:], told_as)


def test_an_optimizer_that_an_older_dspy_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(dspy.experimental, "ReAnchor")
    nowhere = Models(client("a"), client("b"), client("c"))
    with pytest.raises(BadInput) as refused:
        prepare(optimizer("reAnchor"), right, DATA, nowhere)
    assert refused.value.reason == "OptimizerInvalid"
    assert str(refused.value).startswith("spec.optimizer.reAnchor: DSPy ")
    assert str(refused.value).endswith(" does not have it. Build an image with 3.4.")


def test_optuna_gets_a_seed(models: Models) -> None:
    import optuna

    stock_create_study = optuna.create_study

    def demos(seed: int) -> Any:
        given = optimizer("bootstrapFewShotWithOptuna", maxDemos=4, numCandidatePrograms=3, seed=seed)
        return prepare(given, right, DATA, models)(Triage()).dump_state()

    assert demos(1) == demos(1)
    assert len({repr(demos(seed)) for seed in range(4)}) > 1
    assert optuna.create_study is stock_create_study


# --- refusals before the first cost ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("simba", {}, "bsize is 32, but there are 10 training examples. Write that or less."),
        ("simba", {"bsize": 10}, None),
        ("miprov2", {"numCandidates": 3, "numTrials": 4},
         "minibatchSize is 35, but there are 6 validation examples. Write a smaller one, or minibatch: false."),
        ("miprov2", {"numCandidates": 3, "numTrials": 4, "minibatch": False}, None),
        ("miprov2", {"auto": "light", "maxBootstrappedDemos": 0},
         "maxBootstrappedDemos is 0. Write maxLabeledDemos: 0 as well, for instructions only, or 1 or more."),
        ("miprov2", {"maxBootstrappedDemos": 0, "maxLabeledDemos": 0}, None),
    ],
)  # fmt: skip
def test_an_optimizer_that_does_not_fit_the_data_is_refused(
    name: str, given: dict[str, Any], problem: str | None
) -> None:
    nowhere = Models(client("a"), client("b"), client("c"))
    with dspy.context(lm=nowhere.student):
        if problem is None:
            prepare(optimizer(name, **given), right, DATA, nowhere)
            return
        with pytest.raises(BadInput) as refused:
            prepare(optimizer(name, **given), right, DATA, nowhere)
    assert (refused.value.reason, str(refused.value)) == ("OptimizerInvalid", f"spec.optimizer.{name}: {problem}")


@pytest.mark.parametrize(
    ("train", "given", "problem"),
    [
        (1, {}, "there is one training example. Write more, or data.validation: it scores on a part of them."),
        (2, {}, None),
        (10, {"numCandidates": 3, "numTrials": 4, "minibatchSize": 9},
         "minibatchSize is 9, but there are 8 training examples to score on. Write a smaller one, or minibatch: "
         "false."),
        (10, {"numCandidates": 3, "numTrials": 4, "minibatchSize": 8}, None),
    ],
)  # fmt: skip
def test_miprov2_refuses_a_training_set_that_it_cannot_divide(
    train: int, given: dict[str, Any], problem: str | None
) -> None:
    nowhere = Models(client("a"), client("b"), client("c"))
    data = Data(train=DATA.train[:train], validation=None, test=[])
    with dspy.context(lm=nowhere.student):
        if problem is None:
            prepare(optimizer("miprov2", **given), right, data, nowhere)
            return
        with pytest.raises(BadInput) as refused:
            prepare(optimizer("miprov2", **given), right, data, nowhere)
    assert str(refused.value) == f"spec.optimizer.miprov2: {problem}"


@pytest.mark.parametrize(
    ("name", "given", "package"),
    [
        ("miprov2", {}, "optuna"),
        ("bootstrapFewShotWithOptuna", {"maxDemos": 2}, "optuna"),
        ("simba", {"bsize": 4}, "numpy"),
        ("gepa", {"auto": "light"}, "gepa"),
    ],
)
def test_the_message_about_a_missing_package_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, Any], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    nowhere = Models(client("a"), client("b"), client("c"))
    with pytest.raises(BadInput) as refused:
        prepare(optimizer(name, **given), told, DATA, nowhere)
    assert refused.value.reason == "OptimizerInvalid"
    assert str(refused.value) == (
        f"spec.optimizer.{name}: it needs the package {package}, which is not in the image. Install it there."
    )


# --- custom ------------------------------------------------------------------------------------------------------

CUSTOM = """
import dspy

def labeled(student, trainset, valset, metric):
    return dspy.LabeledFewShot(k=len(valset)).compile(student, trainset=trainset)

def in_another_order(metric, valset, *, trainset, student, repeats=2):
    return labeled(student, trainset, valset, metric)

def with_models(student, trainset, valset, metric, prompt_model, teacher_model):
    student.asked = [prompt_model.model, teacher_model.model]
    return student

def other_names(student, train, validation, metric):
    return student

def too_few(student):
    return student

def nothing(student, trainset, valset, metric):
    student

def failing(student, trainset, valset, metric):
    return {}["missing"]

def on_a_full_disk(student, trainset, valset, metric):
    raise OSError(28, "No space left on device")

class Two:
    def compile(self, student, trainset, valset, metric):
        first = dspy.LabeledFewShot(k=2).compile(student, trainset=trainset)
        assert metric(valset[0], valset[0]) is True
        return dspy.LabeledFewShot(k=3).compile(first, trainset=trainset)

compile = Two().compile
number = 3
"""


@pytest.fixture
def custom(tmp_path: Path) -> Iterator[None]:
    module(tmp_path, CUSTOM, "custom_optimizers.py")
    with importable(tmp_path):
        yield


def compiled(function: str) -> Any:
    nowhere = Models(client("a"), client("b"), client("c"))
    given = optimizer("custom", entrypoint=f"custom_optimizers:{function}")
    with dspy.context(lm=nowhere.student):
        return run(prepare(given, right, DATA, nowhere), Billing(), right, DATA.scored(given), [], Progress())


@pytest.mark.parametrize(("function", "demos"), [("labeled", 6), ("in_another_order", 6), ("compile", 3)])
def test_any_function_can_be_an_optimizer(custom: None, function: str, demos: int) -> None:
    assert [len(predictor.demos) for predictor in compiled(function).predictors()] == [demos, demos]


def test_an_optimizer_function_gets_the_models_that_it_has_parameters_for(custom: None) -> None:
    assert compiled("with_models").asked == ["openai/c", "openai/b"]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("missing", 'module "custom_optimizers" has no "missing". It has: Two, compile, '),
        ("number", '"custom_optimizers:number" is a int. Name a function (student, trainset, valset, metric)'),
        ("other_names", '"custom_optimizers:other_names" must take (student, trainset, valset, metric) by these names, '
         "and may take prompt_model and teacher_model; it takes (student, train, validation, metric)."),
        ("too_few", "it takes (student)."),
        ("nothing", '"custom_optimizers:nothing" returned a NoneType, not a dspy.Module. Return the compiled program.'),
    ],
)  # fmt: skip
def test_invalid_optimizers_are_refused(custom: None, function: str, problem: str) -> None:
    with pytest.raises(BadInput) as refused:
        compiled(function)
    assert refused.value.reason == "OptimizerInvalid"
    assert str(refused.value).startswith("spec.optimizer.custom.entrypoint: ")
    assert problem in str(refused.value)


def test_an_exception_of_an_optimizer_ends_the_compile(custom: None) -> None:
    with pytest.raises(CompileFailed, match=r"^custom: KeyError: 'missing'$"):
        compiled("failing")


def test_a_full_disk_during_a_compile_is_a_fault_of_the_infrastructure(custom: None) -> None:
    with pytest.raises(InfrastructureFailed, match="No space left on device"):
        compiled("on_a_full_disk")


# --- metrics with feedback ---------------------------------------------------------------------------------------


def score_of(value: Any) -> float | None:
    """Returns the baseline's score on four examples. The metric returns `value` and False in turn."""
    progress = Progress()
    values = iter([value, False] * 100)
    nowhere = Models(client("a"), client("b"), client("c"))
    data = Data(train=DATA.train, validation=DATA.train[:4], test=[])
    with dspy.context(lm=nowhere.student, num_threads=1):
        run(
            prepare(optimizer("labeledFewShot"), right, data, nowhere),
            Billing(),
            lambda *_: next(values),
            DATA.train[:4],
            [],
            progress,
        )
    return progress.baseline


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (True, 50.0),
        (0.5, 25.0),
        (dspy.Prediction(score=0.5, feedback="half right"), 25.0),
        (dspy.Prediction(score=True, feedback="right"), 50.0),
    ],
)
def test_a_score_may_come_with_feedback(value: Any, score: float) -> None:
    assert score_of(value) == score


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("right", "unsupported operand type"),
        (None, "unsupported operand type"),
        (dspy.Prediction(feedback="no score"), "does not have a 'score' field"),
    ],
)
def test_a_metric_value_that_is_not_a_score_ends_the_run_with_a_message(value: Any, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        score_of(value)
    assert refused.value.reason == "EvaluationFailed"
    assert says in str(refused.value)
    assert "Return a bool, a finite number (between 0 and 1, say), or a dspy.Prediction(score=" in str(refused.value)
