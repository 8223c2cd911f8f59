"""Turns errors of an LM client into messages that name fields of the spec. Most are about API keys.

The client's own advice names its parameters, and environment variables that a spec may not use.
"""

import re
from collections.abc import Iterable

from swarm_wire.names import api_key_env
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.words import sentence

_ADVICE = "To fix:"
"""The text with which the advice of DSPy's LM client begins."""
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)*_(KEY|TOKEN)\b")

_roles: dict[str, dict[str, bool]] = {}
"""For each model, the roles that have it, and whether the spec names an API key for the role."""


def install(spec: CompilationSpec) -> None:
    """Sets the spec whose models later messages name."""
    _roles.clear()
    for role, model in spec.models.by_role.items():
        _roles.setdefault(model.model, {})[role] = model.api_key is not None


def said(error: BaseException) -> str:
    """Returns an LM client's message in one line, without its advice."""
    return " ".join(str(error).partition(_ADVICE)[0].split())


def names_key(error: BaseException) -> bool:
    """Whether the message names a variable for an API key."""
    return _VARIABLE.search(str(error)) is not None


def missing_key(error: BaseException) -> str:
    """Returns the message for an LM call that was not made because it has no API key."""
    if roles := _of(error):
        return (
            f"model {_model(error)!r} has no API key: write {_fields(roles)}, or set the provider's own variable by "
            "spec.env."
        )
    return (
        f"an LM that the program makes has no API key here: {_model(error)!r}. Use the models of the spec, whose keys "
        "models.*.apiKey names, or give the LM its api_key."
    )


def refused_key(error: BaseException) -> str:
    """Returns the message for an API key that the provider refuses."""
    why, roles = f"the provider refuses the API key: {sentence(said(error))}", _of(error)
    if named := [role for role, has_key in roles.items() if has_key]:
        variables = " or ".join(map(api_key_env, named))
        return (
            f"{why} Put a valid key into the Secret that {_fields(named)} names; on a laptop, into {variables}, in the "
            "shell or in .env."
        )
    if roles:
        return f"{why} Name the Secret that has a valid one in {_fields(roles)}."
    return f"{why} Put a valid key into the Secret that models.*.apiKey names, or give the program's own LM one."


def _model(error: BaseException) -> str | None:
    """Returns the model that an error of DSPy's names, as the spec writes it."""
    model, provider = getattr(error, "model", None), getattr(error, "provider", None)
    # LiteLLM's errors name provider and model separately.
    return next((name for name in (model, f"{provider}/{model}") if name in _roles), model)


def _of(error: BaseException) -> dict[str, bool]:
    return _roles.get(_model(error) or "", {})


def _fields(roles: Iterable[str]) -> str:
    return " or ".join(f"spec.models.{role}.apiKey" for role in roles)
