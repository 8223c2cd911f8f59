"""The stock optimizers: from a typed member of the spec's union to a compile."""

from collections.abc import Callable
from typing import Any

import dspy
from dspy.teleprompt import BootstrapFewShot, BootstrapFewShotWithRandomSearch, LabeledFewShot

from swarm_wire import optimizers as api
from swarm_worker.user.data import Data
from swarm_worker.user.models import Models

Metric = Callable[..., Any]


def compile_program(
    given: api.Optimizer, student: dspy.Module, metric: Metric, data: Data, models: Models
) -> dspy.Module:
    """The winner of the stock optimizer that the spec names, constructed and called as a user would in a script."""
    return _COMPILERS[given.which](getattr(given, given.which), student, metric, data, models)


def _teacher_settings(models: Models) -> dict[str, Any]:
    return {} if models.teacher is models.student else {"lm": models.teacher}


def _random_search(
    given: api.BootstrapFewShotWithRandomSearch, student: dspy.Module, metric: Metric, data: Data, models: Models
) -> dspy.Module:
    optimizer = BootstrapFewShotWithRandomSearch(
        metric=metric,
        teacher_settings=_teacher_settings(models),
        max_bootstrapped_demos=given.max_bootstrapped_demos,
        max_labeled_demos=given.max_labeled_demos,
        max_rounds=given.max_rounds,
        num_candidate_programs=given.num_candidate_programs,
        max_errors=given.max_errors,
        stop_at_score=given.stop_at_score,
        metric_threshold=given.metric_threshold,
    )
    return optimizer.compile(student, trainset=data.train, valset=data.validation, labeled_sample=given.labeled_sample)


def _bootstrap(
    given: api.BootstrapFewShot, student: dspy.Module, metric: Metric, data: Data, models: Models
) -> dspy.Module:
    optimizer = BootstrapFewShot(
        metric=metric,
        metric_threshold=given.metric_threshold,
        teacher_settings=_teacher_settings(models),
        max_bootstrapped_demos=given.max_bootstrapped_demos,
        max_labeled_demos=given.max_labeled_demos,
        max_rounds=given.max_rounds,
        max_errors=given.max_errors,
    )
    return optimizer.compile(student, trainset=data.train)


def _labeled(
    given: api.LabeledFewShot, student: dspy.Module, metric: Metric, data: Data, models: Models
) -> dspy.Module:
    return LabeledFewShot(k=given.k).compile(student, trainset=data.train, sample=given.sample)


_COMPILERS: dict[str, Callable[[Any, dspy.Module, Metric, Data, Models], dspy.Module]] = {
    "bootstrap_few_shot_with_random_search": _random_search,
    "bootstrap_few_shot": _bootstrap,
    "labeled_few_shot": _labeled,
}
