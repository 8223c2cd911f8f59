"""Turns the spec's optimizer into the call of `compile` that a user would write in a script."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dspy
from dspy.teleprompt import (
    COPRO,
    GEPA,
    SIMBA,
    BootstrapFewShot,
    BootstrapFewShotWithOptuna,
    BootstrapFewShotWithRandomSearch,
    InferRules,
    LabeledFewShot,
    MIPROv2,
)
from pydantic.alias_generators import to_camel

from swarm_wire.names import WorkerReason
from swarm_wire.spec import gepa
from swarm_wire.spec import optimizers as api
from swarm_wire.spec.bootstrap_finetune import BootstrapFinetune
from swarm_wire.spec.schema import SpecModel
from swarm_worker.errors import BadInput, CompileFailed, SwarmError
from swarm_worker.replay.blame import exhausted
from swarm_worker.user import better_together, finetuning
from swarm_worker.user.custom import load_custom
from swarm_worker.user.data import Data
from swarm_worker.user.finetuning import Arms
from swarm_worker.user.gepa import gepa_options
from swarm_worker.user.models import Models

Metric = Callable[..., Any]
Compile = Callable[[dspy.Module], dspy.Module]
"""A function that takes the student and returns the winner."""


def prepare(
    given: api.Optimizer,
    metric: Metric,
    data: Data,
    models: Models,
    note: Callable[[str], object] = lambda text: None,
    arms: Arms | None = None,
    distill: BootstrapFinetune | None = None,
) -> Compile:
    """Returns a function that compiles as the spec describes: it takes the student and returns the winner.

    Args:
        note: takes a sentence for the report.
        arms: gets the programs that the report scores beside a tuned one.
        distill: has the student tuned on what the winner does; the optimizer then works for the teacher's model.

    Raises:
        BadInput: the optimizer cannot be used with this spec. It is raised before the first LM call is paid for.
        CompileFailed: the optimizer's constructor raised an exception. The returned compile raises it, too.
    """
    _check_package(given.which)
    setting = _Setting(metric, data, models, note, arms or Arms())
    with _as_compile_failed(given.which):
        if distill is None:
            compile_program = _OPTIMIZERS[given.which](getattr(given, given.which), setting)
        else:
            finetuning.check(distill, data, models.adapter, note)
            prompt = models.teacher if models.prompt is models.student else models.prompt
            large = replace(setting, models=replace(models, student=models.teacher, prompt=prompt))
            with dspy.context(lm=models.teacher):  # some optimizers look up the model when they are made
                optimized = _OPTIMIZERS[given.which](getattr(given, given.which), large)
            compile_program = partial(finetuning.distilled, compile_program=optimized, **setting.tuning(distill))
    return _as_compile_failed(given.which)(compile_program)


def _check_package(which: str) -> None:
    package = _PACKAGES.get(which)
    if package is not None and importlib.util.find_spec(package) is None:
        raise _invalid(which, f"it needs the package {package}, which is not in the image. Install it there.")


@contextmanager
def _as_compile_failed(which: str) -> Iterator[None]:
    """Turns an optimizer's exception into CompileFailed. A lack of memory or threads becomes InfrastructureFailed."""
    try:
        yield
    except SwarmError:
        raise
    except Exception as error:
        if (fault := exhausted(error)) is not None:
            raise fault from error
        raise CompileFailed(f"{to_camel(which)}: {type(error).__name__}: {error}") from error


_PACKAGES = {"miprov2": "optuna", "bootstrap_few_shot_with_optuna": "optuna", "simba": "numpy", "gepa": "gepa"}
"""Packages that optimizers need. DSPy imports them only when such an optimizer is used."""


@dataclass(frozen=True)
class _Setting:
    """The inputs of a compile besides the optimizer's own parameters."""

    metric: Metric
    data: Data
    models: Models
    note: Callable[[str], object]
    arms: Arms

    def tuning(self, given: BootstrapFinetune) -> dict[str, Any]:
        """Returns the arguments of a fine-tune."""
        return {
            "given": given,
            "metric": self.metric,
            "trainset": self.data.train,
            "small": self.models.student,
            "large": self.models.teacher,
            "note": self.note,
            "arms": self.arms,
        }

    @property
    def prompt_model(self) -> dspy.LM | None:
        """Returns the prompt model; None if the spec names none.

        Optimizers then use the student, `dspy.settings.lm`.
        """
        return None if self.models.prompt is self.models.student else self.models.prompt

    @property
    def teacher_settings(self) -> dict[str, Any]:
        return {} if self.models.teacher is self.models.student else {"lm": self.models.teacher}


def _parameters(given: SpecModel, *of_compile: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the parameters of the optimizer's constructor, and those of its `compile`."""
    every = {name: getattr(given, name) for name in type(given).model_fields}
    called = {name: every.pop(name) for name in of_compile}
    return every, called


def _labeled(given: api.LabeledFewShot, setting: _Setting) -> Compile:
    made, called = _parameters(given, "sample")
    return partial(LabeledFewShot(**made).compile, trainset=setting.data.train, **called)


def _bootstrap(given: api.BootstrapFewShot, setting: _Setting) -> Compile:
    made, _ = _parameters(given)
    optimizer = BootstrapFewShot(metric=setting.metric, teacher_settings=setting.teacher_settings, **made)
    return partial(_as_it_is_now, optimizer.compile, trainset=setting.data.train)


def _as_it_is_now(compile_program: Any, student: dspy.Module, **given: Any) -> Any:
    """Calls the method that has the given method's name now: the hooks may have replaced it in the meantime."""
    return getattr(compile_program.__self__, compile_program.__name__)(student, **given)


def _random_search(given: api.BootstrapFewShotWithRandomSearch, setting: _Setting) -> Compile:
    made, called = _parameters(given, "labeled_sample")
    optimizer = BootstrapFewShotWithRandomSearch(
        metric=setting.metric, teacher_settings=setting.teacher_settings, **made
    )
    return partial(optimizer.compile, trainset=setting.data.train, valset=setting.data.validation, **called)


def _optuna(given: api.BootstrapFewShotWithOptuna, setting: _Setting) -> Compile:
    made, called = _parameters(given, "max_demos", "seed")
    optimizer = BootstrapFewShotWithOptuna(metric=setting.metric, teacher_settings=setting.teacher_settings, **made)
    return partial(_seeded, optimizer.compile, trainset=setting.data.train, valset=setting.data.validation, **called)


def _seeded(compile_program: Callable[..., dspy.Module], student: dspy.Module, *, seed: int, **given: Any) -> Any:
    """Compiles with a seed for Optuna. Stock BootstrapFewShotWithOptuna sets none, so no two compiles agree."""
    import optuna

    unseeded = optuna.create_study
    optuna.create_study = partial(unseeded, sampler=optuna.samplers.TPESampler(seed=seed))
    try:
        return compile_program(student, **given)
    finally:
        optuna.create_study = unseeded


def _infer_rules(given: api.InferRules, setting: _Setting) -> Compile:
    made, _ = _parameters(given)
    optimizer = InferRules(metric=setting.metric, teacher_settings=setting.teacher_settings, **made)
    return partial(optimizer.compile, trainset=setting.data.train, valset=setting.data.validation)


def _copro(given: api.COPRO, setting: _Setting) -> Compile:
    made, _ = _parameters(given)
    optimizer = COPRO(metric=setting.metric, prompt_model=setting.prompt_model, **made)
    return partial(optimizer.compile, trainset=setting.data.train)


def _miprov2(given: api.MIPROv2, setting: _Setting) -> Compile:
    made, called = _parameters(
        given,
        "num_trials",
        "minibatch",
        "minibatch_size",
        "minibatch_full_eval_steps",
        "program_aware_proposer",
        "data_aware_proposer",
        "view_data_batch_size",
        "tip_aware_proposer",
        "fewshot_aware_proposer",
    )
    validation = setting.data.validation
    if validation is None and len(setting.data.train) == 1:
        raise _invalid(
            "miprov2", "there is one training example. Write more, or data.validation: it scores on a part of them."
        )
    scored = len(given.scored_on(setting.data.train) if validation is None else validation)
    if given.num_trials is None:
        made["auto"] = given.auto or "light"
    elif given.minibatch and given.minibatch_size > scored:
        raise _invalid(
            "miprov2",
            f"minibatchSize is {given.minibatch_size}, but there are {scored} "
            f"{'training examples to score on' if validation is None else 'validation examples'}. Write a smaller one, "
            "or minibatch: false.",
        )
    if given.max_labeled_demos and not given.max_bootstrapped_demos:
        raise _invalid(
            "miprov2",
            "maxBootstrappedDemos is 0. Write maxLabeledDemos: 0 as well, for instructions only, or 1 or more.",
        )
    optimizer = MIPROv2(
        metric=setting.metric, prompt_model=setting.prompt_model, teacher_settings=setting.teacher_settings, **made
    )
    return partial(optimizer.compile, trainset=setting.data.train, valset=setting.data.validation, **called)


def _simba(given: api.SIMBA, setting: _Setting) -> Compile:
    if given.bsize > len(setting.data.train):
        raise _invalid(
            "simba",
            f"bsize is {given.bsize}, but there are {len(setting.data.train)} training examples. Write that or less.",
        )
    made, called = _parameters(given, "seed")
    optimizer = SIMBA(
        metric=setting.metric, prompt_model=setting.prompt_model, teacher_settings=setting.teacher_settings, **made
    )
    return partial(optimizer.compile, trainset=setting.data.train, **called)


def _gepa(given: gepa.GEPA, setting: _Setting) -> Compile:
    made, _ = _parameters(given)
    optimizer = GEPA(metric=setting.metric, reflection_lm=setting.models.prompt, **gepa_options(given, made))
    return partial(optimizer.compile, trainset=setting.data.train, valset=setting.data.validation)


def _re_anchor(given: api.ReAnchor, setting: _Setting) -> Compile:
    try:
        from dspy.experimental import ReAnchor
    except ImportError:
        raise _invalid("re_anchor", f"DSPy {dspy.__version__} does not have it. Build an image with 3.4.") from None
    made, _ = _parameters(given)
    optimizer = ReAnchor(setting.metric, **made)
    return partial(optimizer.compile, trainset=setting.data.train, valset=setting.data.validation)


def _bootstrap_finetune(given: BootstrapFinetune, setting: _Setting) -> Compile:
    finetuning.check(given, setting.data, setting.models.adapter, setting.note)
    if setting.models.teacher is not setting.models.student:
        setting.note(
            "the teacher has the student's prompts: if no optimizer has improved them yet, use distill with one."
        )
    return partial(finetuning.finetuned, **setting.tuning(given))


def _better_together(given: api.BetterTogether, setting: _Setting) -> Compile:
    better_together.check(given, setting.data, setting.models.adapter, setting.note)
    # The teacher is for the fine-tunes alone.
    models = replace(setting.models, teacher=setting.models.student)
    judge = better_together.judge(given, setting.metric, models.student)
    part = replace(setting, data=better_together.divided(given, setting.data), models=models, metric=judge)
    try:
        _check_package(given.p.which)
        prompts = _OPTIMIZERS[given.p.which](getattr(given.p, given.p.which), part)
    except BadInput as error:
        said = str(error).replace("spec.optimizer.", "spec.optimizer.betterTogether.p.", 1)
        raise BadInput(error.reason, said) from None
    assert isinstance(prompts, partial), "each prompt optimizer has its data as arguments that a step replaces"
    return partial(
        better_together.better,
        given=given,
        prompts=prompts,
        data=setting.data,
        metric=setting.metric,
        note=setting.note,
        tuned=setting.tuning(given.w),
    )


def _custom(given: api.Custom, setting: _Setting) -> Compile:
    return load_custom(given.entrypoint, setting.metric, setting.data, setting.models)


def _invalid(which: str, problem: str) -> BadInput:
    return BadInput(WorkerReason.OPTIMIZER_INVALID, f"spec.optimizer.{to_camel(which)}: {problem}")


_OPTIMIZERS: dict[str, Callable[[Any, _Setting], Compile]] = {
    "bootstrap_few_shot_with_random_search": _random_search,
    "bootstrap_few_shot": _bootstrap,
    "labeled_few_shot": _labeled,
    "miprov2": _miprov2,
    "gepa": _gepa,
    "simba": _simba,
    "copro": _copro,
    "infer_rules": _infer_rules,
    "bootstrap_few_shot_with_optuna": _optuna,
    "re_anchor": _re_anchor,
    "bootstrap_finetune": _bootstrap_finetune,
    "better_together": _better_together,
    "custom": _custom,
}
