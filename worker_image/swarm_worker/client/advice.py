"""What people are told of what a model's client says, above all of API keys: in the words of the spec.

A client advises parameters of its own, and variables that the spec's models need not have.
"""

import re
from collections.abc import Iterable

from swarm_wire.names import api_key_env
from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.words import sentence

_ADVICE = "To fix:"
"""What DSPy's client advises comes behind it."""
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)*_(KEY|TOKEN)\b")

_roles: dict[str, dict[str, bool]] = {}
"""Model -> roles that have it -> whether the spec names a key for them."""


def install(spec: CompilationSpec) -> None:
    """From now on, what is said is about this spec's models."""
    _roles.clear()
    for role, model in spec.models.by_role.items():
        _roles.setdefault(model.model, {})[role] = model.api_key is not None


def said(error: BaseException) -> str:
    """What a client says, without what it advises, in one line."""
    return " ".join(str(error).partition(_ADVICE)[0].split())


def names_key(error: BaseException) -> bool:
    """Whether the client says from which variable it would take a key."""
    return _VARIABLE.search(str(error)) is not None


def missing_key(error: BaseException) -> str:
    """What to say where a model was not asked, for want of a key."""
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
    """What to say where the provider does not take a key."""
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
    """The model that an error of DSPy's is about, as the spec writes it."""
    model, provider = getattr(error, "model", None), getattr(error, "provider", None)
    # LiteLLM tells the two apart.
    return next((name for name in (model, f"{provider}/{model}") if name in _roles), model)


def _of(error: BaseException) -> dict[str, bool]:
    return _roles.get(_model(error) or "", {})


def _fields(roles: Iterable[str]) -> str:
    return " or ".join(f"spec.models.{role}.apiKey" for role in roles)
