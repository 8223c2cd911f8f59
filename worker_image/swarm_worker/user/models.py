"""Makes a dspy.LM for each model of the spec."""

import threading
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import dspy
from tqdm import tqdm

from swarm_wire.names import WorkerReason, api_key_env
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spec.models import Model
from swarm_wire.spec.parameters import REGIONS
from swarm_worker.client import prices
from swarm_worker.errors import BadInput
from swarm_worker.replay import recorded
from swarm_worker.user import roles
from swarm_worker.user.adapter import make_adapter

NO_KEY = "none"
"""The API key for an endpoint that needs no key, because OpenAI's protocol requires one."""
PLATFORMS = frozenset({"azure", "azure_ai", *REGIONS})
"""Providers that identify the caller without a key: by a service account, or an instance's role."""


_OWN_FIELDS = frozenset({"student", "teacher", "prompt"})


@dataclass(frozen=True)
class Models:
    """The dspy.LM of each role. A role that the spec omits has the student's.

    Attributes:
        adapter: the spec's adapter, or None.
        further: the dspy.LM for extraction, and those under the user's own names.
    """

    student: dspy.LM
    teacher: dspy.LM
    prompt: dspy.LM
    adapter: dspy.Adapter | None = None
    further: Mapping[str, dspy.LM] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, dspy.LM]:
        return {"student": self.student, "teacher": self.teacher, "prompt": self.prompt, **self.further}

    @property
    def all(self) -> list[dspy.LM]:
        return [*self.by_name.values()]


def take_keys(spec: CompilationSpec, environment: MutableMapping[str, str]) -> dict[str, str]:
    """Returns the API keys by role, and removes them from the environment, so that user code does not find them there.

    The function strips the keys, because a key from a file often ends in a newline, which HTTP headers may not contain.

    It also removes variables such as `OPENAI_BASE_URL`, if the spec names the endpoints of that provider. Such a
    variable makes DSPy choose its slow compatibility client. If the spec names no endpoint, the variable sets it, as in
    stock DSPy.
    """
    keys: dict[str, str] = {}
    for role, secret in spec.secrets().items():
        value = environment.get(api_key_env(role), "").strip()
        if not value:
            raise BadInput(
                WorkerReason.MISSING_SECRET,
                f"the {role} model's API key is empty: it should come from key {secret.key!r} of Secret "
                f"{secret.name!r} "
                f"in {api_key_env(role)}.",
            )
        keys[role] = value
    models = spec.models.by_role.values()
    explicit = {model.provider for model in models} - {model.provider for model in models if model.endpoint is None}
    gateways = {f"{provider.upper()}_{name}" for provider in explicit for name in ("API_BASE", "BASE_URL")}
    for name in list(environment):
        if name.startswith("SWARM_API_KEY_") or name in gateways:
            del environment[name]
    return keys


def make_models(spec: CompilationSpec, keys: Mapping[str, str]) -> Models:
    """Makes the models and the adapter. The adapter may be imported from the user's files."""
    clients = {role: _client(role, model, keys.get(role)) for role, model in spec.models.by_role.items()}
    student = clients["student"]
    adapter = spec.program.adapter
    return Models(
        student=student,
        teacher=clients.get("teacher", student),
        prompt=clients.get("prompt", student),
        adapter=make_adapter(adapter, clients.get("extraction", student)) if adapter is not None else None,
        further={"extraction": student} | {name: clients[name] for name in clients if name not in _OWN_FIELDS},
    )


def _client(role: str, model: Model, key: str | None) -> dspy.LM:
    given = model.parameters.arguments(model.provider)
    if model.endpoint is not None:
        given["api_base"] = model.endpoint
        if model.provider not in PLATFORMS:
            given["api_key"] = NO_KEY
    if key is not None:
        given["api_key"] = key
    try:
        return dspy.LM(model.model, **given)
    except Exception as error:
        raise BadInput(WorkerReason.INVALID_SPEC, f"spec.models.{role}: dspy.LM does not take it: {error}") from error


class _NoBars(WeakSet[Any]):
    """Replaces tqdm's set of progress bars by a set that stays empty.

    DSPy empties tqdm's set whenever it starts threads. If concurrent cells use `dspy.Parallel`, a progress bar may no
    longer be in the set when it removes itself. The cell would then fail with a KeyError. Stock DSPy, which runs a
    single thread, never has this error.
    """

    def add(self, item: object) -> None: ...
    def remove(self, item: object) -> None: ...


def configure(models: Models) -> None:
    """Sets DSPy's global settings for a plan or worker. DSPy's caches are off, because `replay.calls` replaces them."""
    prices.keep_offline()
    # tqdm's default lock is a system semaphore. A process that ends by `os._exit` would leave it behind.
    tqdm.set_lock(threading.RLock())
    tqdm._instances = _NoBars()
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    roles.install(models.by_name)
    dspy.configure(lm=models.student, trace=recorded.trace())
    if models.adapter is not None:
        dspy.configure(adapter=models.adapter)
