"""Loads and configures the user's program, metric, data and models for a plan or worker process."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import dspy

from swarm_wire import names
from swarm_wire.messages import RunRequest
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.variables import Value
from swarm_worker.client import advice, lazy, permanent_errors
from swarm_worker.content import masking, places
from swarm_worker.content.codec import Codec
from swarm_worker.content.places import Places
from swarm_worker.determinism import tools
from swarm_worker.errors import SwarmError
from swarm_worker.forks import restart_batching
from swarm_worker.imaginary.mode import Imagination
from swarm_worker.journal import body_store as depots
from swarm_worker.journal.body_store import Depot, Sender
from swarm_worker.pod.process import Process, folder, read_request
from swarm_worker.provider import latency, price_list
from swarm_worker.provider.budget import Budget
from swarm_worker.provider.budget import install as install_budget
from swarm_worker.provider.throttle import Throttle
from swarm_worker.provider.throttle import install as install_throttle
from swarm_worker.replay import attempts, fallbacks, recorded, settings
from swarm_worker.user import models as user_models
from swarm_worker.user import variables as user_variables
from swarm_worker.user.data import Compilation, load_data
from swarm_worker.user.entrypoint import add_sources
from swarm_worker.user.models import Models
from swarm_worker.user.program import begin_with_state, load_metric, load_program


@dataclass(frozen=True)
class Environment:
    """The common state of plan and worker: the request, models configured in DSPy, a codec that knows the secrets.

    Attributes:
        throttle: limits the rate of requests.
        budget: limits the spending.
        depot: stores the bodies of records; None if the bodies stay with their headers.
        variables: the environment variables that the spec names.
        imagination: set if models and scores are imaginary; otherwise None.
    """

    request: RunRequest
    sources: Path
    models: Models
    codec: Codec
    throttle: Throttle
    budget: Budget
    depot: Depot | None
    variables: Mapping[str, Value]
    imagination: Imagination | None


def load_environment(process: Process) -> Environment:
    request = read_request()
    sources = folder(names.ENV_SOURCES_DIR, names.SOURCES_DIR)
    add_sources(request.spec, sources)
    keys = user_models.take_keys(request.spec, os.environ)
    variables = user_variables.place(request.spec, os.environ)
    depot = depots.take(os.environ)
    codec = Codec({f"{role} model's API key": key for role, key in keys.items()} | user_variables.secrets(variables))
    process.mask(codec.redact if depot is None else lambda text: codec.redact(depot.redact(text)))
    masking.install(process.redact)
    recorded.install()
    tools.install()
    settings.watch()
    models = user_models.make_models(request.spec, keys)
    user_models.configure(models)
    price_list.install(request.spec)
    advice.install(request.spec)
    lazy.guard()
    permanent_errors.install()
    latency.install()
    throttle = install_throttle(os.environ)
    attempts.install()
    fallbacks.install()
    restart_batching()
    budget = install_budget(os.environ, request.spec, process.print)
    prefix = f"{request.run_id}/{os.environ.get(names.ENV_INDEX, 'plan')}"
    process.equip(budget, None if depot is None else Sender(depot, prefix, process.print))
    if (imagination := Imagination.of(os.environ)) is not None:
        imagination.begin()
    else:
        permanent_errors.check_packages(models.all)
    return Environment(request, sources, models, codec, throttle, budget, depot, variables, imagination)


def load_compilation(environment: Environment) -> Compilation:
    spec = environment.request.spec
    student, metric = load_program(spec), load_metric(spec)
    begin_with_state(student, spec, environment.sources, environment.models)
    _install(spec, Places.of(program=student, metric=metric, **_settings()))
    if environment.imagination is not None:
        metric = environment.imagination.assumed(metric)
    return Compilation(student, metric, load_data(spec, environment.sources, environment.depot))


@contextmanager
def loading_user_code(
    environment: Environment, process: Process, end: Callable[[SwarmError], NoReturn]
) -> Iterator[None]:
    """Within the block, user code may configure DSPy, except for the spec's models and adapter.

    Args:
        end: ends the process if an LM call cannot be made.
    """
    fixed: dict[str, tuple[str, Any]] = {"lm": ("spec.models.student", environment.models.student)}
    if environment.models.adapter is not None:
        fixed["adapter"] = "spec.program.adapter", environment.models.adapter
    with environment.budget.ending(end), settings.loading(process.note, fixed):
        yield
    if environment.imagination is not None:
        environment.imagination.loaded()


def find_places_later(environment: Environment) -> None:
    """Installs a worker's `Places`. It loads the program only if a payload refers to one of the program's objects."""
    spec = environment.request.spec
    _install(spec, Places.lazy(lambda: {"program": load_program(spec), "metric": load_metric(spec), **_settings()}))


def _install(spec: CompilationSpec, found: Places) -> None:
    places.install(found, spec.program.entrypoint, spec.metric.entrypoint)


def _settings() -> dict[str, Any]:
    return {"settings": {name: value for name, value in dspy.settings.config.items() if name != "lm"}}
