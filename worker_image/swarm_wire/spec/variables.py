"""The environment of the user's code: `spec.env` and `spec.envFrom`, as in Kubernetes.

Each source's variables get their own prefix, which the process that imports user code removes. So no key of a Secret or
ConfigMap can overwrite a variable of the process itself, and the process knows which values come from Secrets.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from swarm_wire.names import variable_prefix
from swarm_wire.spec.references import ConfigMapKeyRef, ConfigMapRef, SecretKeyRef, SecretRef
from swarm_wire.spec.schema import VARIABLE, SpecModel, Union, exactly_one

RESERVED: Final = ("SWARM_*", "PYTHON*", "LD_*", "PATH", "HOME", "DSPY_CACHEDIR", "JOB_COMPLETION_INDEX")
"""Names that the processes use themselves."""
_RESERVED: Final = re.compile("|".join(name.replace("*", ".*") for name in RESERVED))

VariableName = Annotated[str, Field(pattern=VARIABLE, max_length=253)]


def is_reserved(name: str) -> bool:
    return _RESERVED.fullmatch(name) is not None


def refusal(name: str) -> str:
    """The message for a reserved name."""
    return f"{name} may not be set: the pods set {', '.join(RESERVED)} themselves"


class ValueFrom(Union):
    """Where a variable's value is kept."""

    secret_key_ref: SecretKeyRef | None = Field(None, description="The value is masked in all output.")
    config_map_key_ref: ConfigMapKeyRef | None = None


class Variable(SpecModel):
    """An environment variable of program, metric and data."""

    rules = (exactly_one("value", "value_from"),)
    name: VariableName = Field(description=f"Not one that the pods set themselves: {', '.join(RESERVED)}.")
    value: str | None = Field(None, max_length=32768, description="As it is: nothing in it is replaced.")
    value_from: ValueFrom | None = None

    @model_validator(mode="after")
    def _is_free(self) -> Self:
        if is_reserved(self.name):
            raise ValueError(refusal(self.name))
        return self

    @property
    def is_secret(self) -> bool:
        return self.value_from is not None and self.value_from.secret_key_ref is not None


class VariablesFrom(Union):
    """Every key of a Secret or ConfigMap as a variable."""

    others = ("prefix",)
    secret_ref: SecretRef | None = Field(None, description="The values are masked in all output.")
    config_map_ref: ConfigMapRef | None = None
    prefix: VariableName | None = Field(None, description="What the variables' names begin with, before the key.")

    @property
    def is_secret(self) -> bool:
        return self.secret_ref is not None

    @property
    def name(self) -> str:
        """Name of the Secret or ConfigMap."""
        reference = self.secret_ref or self.config_map_ref
        assert reference is not None
        return reference.name


@dataclass(frozen=True)
class Value:
    """The value of a variable.

    Attributes:
        is_hidden: it is masked like a secret, but unlike a secret, a run is bound to it.
    """

    text: str
    is_secret: bool
    is_hidden: bool = False


def placed(env: Sequence[Variable], env_from: Sequence[VariablesFrom], given: Mapping[str, str]) -> dict[str, Value]:
    """The user's variables without prefixes, from an environment that has them with their sources' prefixes.

    As in Kubernetes, `env` wins over `envFrom`, and later sources win over earlier ones. Raises ValueError if a source
    has a reserved name.
    """
    found: dict[str, Value] = {}
    for number, source in enumerate(env_from):
        prefix = variable_prefix(number)
        for name, text in given.items():
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = Value(text, source.is_secret)
    for name in found:
        if is_reserved(name):
            raise ValueError(f"spec.envFrom: {refusal(name)}. Give its key another name, or the source a prefix.")
    prefix = variable_prefix(len(env_from))
    for variable in env:
        if (text_ := given.get(prefix + variable.name)) is not None:
            found[variable.name] = Value(text_, variable.is_secret)
    return found


def bound(variables: Mapping[str, Value]) -> list[str]:
    """The part of the variables to which a run is bound: names, and values that are not secret and so not rotated."""
    return sorted(name if value.is_secret else f"{name}={value.text}" for name, value in variables.items())
