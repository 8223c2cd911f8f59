"""The environment of the user's code: `spec.env` and `spec.envFrom`, as in Kubernetes.

The variables of each source get a prefix of their own. The process that imports the user's code removes these prefixes.
So no key of a Secret or ConfigMap can overwrite a variable of the process itself. And the process knows which values
come from Secrets.
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
"""Names of variables that the pods' processes use themselves, so that users may not set them."""
_RESERVED: Final = re.compile("|".join(name.replace("*", ".*") for name in RESERVED))

VariableName = Annotated[str, Field(pattern=VARIABLE, max_length=253)]


def is_reserved(name: str) -> bool:
    return _RESERVED.fullmatch(name) is not None


def refusal(name: str) -> str:
    """Returns the message for a reserved name."""
    return f"{name} may not be set: the pods set {', '.join(RESERVED)} themselves"


class ValueFrom(Union):
    """Where a variable's value is kept."""

    secret_key_ref: SecretKeyRef | None = Field(
        None, description="Key of a Secret that has the value. The value is masked in all output."
    )
    config_map_key_ref: ConfigMapKeyRef | None = None


class Variable(SpecModel):
    """An environment variable of program, metric and data."""

    rules = (exactly_one("value", "value_from"),)
    name: VariableName = Field(
        description="Name of the variable. The pods set these names themselves, so they are refused: "
        f"{', '.join(RESERVED)}."
    )
    value: str | None = Field(
        None, max_length=32768, description="Value of the variable. It is used unchanged: $(NAME) is not replaced."
    )
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
    """Variables from all keys of a Secret or ConfigMap."""

    others = ("prefix",)
    secret_ref: SecretRef | None = Field(
        None, description="A Secret in the Compilation's namespace. Its values are masked in all output."
    )
    config_map_ref: ConfigMapRef | None = None
    prefix: VariableName | None = Field(None, description="Text before the key in the name of each variable.")

    @property
    def is_secret(self) -> bool:
        return self.secret_ref is not None

    @property
    def name(self) -> str:
        """Returns the name of the Secret or ConfigMap."""
        reference = self.secret_ref or self.config_map_ref
        assert reference is not None
        return reference.name


@dataclass(frozen=True)
class Value:
    """The value of a variable.

    Attributes:
        is_hidden: whether the value is masked like a secret. Unlike a secret, such a value is part of the run's
            binding.
    """

    text: str
    is_secret: bool
    is_hidden: bool = False


def placed(env: Sequence[Variable], env_from: Sequence[VariablesFrom], given: Mapping[str, str]) -> dict[str, Value]:
    """Returns the user's variables without prefixes.

    As in Kubernetes, `env` wins over `envFrom`, and later sources win over earlier ones. Raises ValueError if a source
    has a reserved name.

    Args:
        given: an environment that has the user's variables with the prefixes of their sources.
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
    """Returns the part of the variables that belongs to a run's binding: all names, and the values that are not secret.

    Secret values do not belong to it, since users replace them from time to time.
    """
    return sorted(name if value.is_secret else f"{name}={value.text}" for name, value in variables.items())
