"""The Compilation that a trigger makes for a new model (pure).

It compiles for the new model, and shows the published program and the winner on both models. The trigger's own
Compilation, whose program applications use, stays as it is.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from swarm_wire.spec.gate import Gate
from swarm_wire.spec.models import Price
from swarm_wire.spec.schema import SpecModel

CURRENT: Final = "current"
"""Key in spec.models under which a trial has the model on which the published program runs today."""


class NewModels(SpecModel):
    """A new model of the provider of template.spec.models.student begins a run in a Compilation of its own.

    A pod with the API key of that field lists the provider's models.
    """

    pattern: str = Field(
        min_length=1,
        max_length=200,
        description="A model begins a run if its name without the provider fits, as in a shell: "
        '"gpt-[0-9]*-mini". Models of the first list begin none.',
    )
    interval_seconds: int = Field(3600, ge=60, le=604_800, description="Time between two looks.")
    price: Price | None = Field(
        None,
        description="Price of new models, in USD for a million tokens. Default: the price in DSPy's list.",
    )
    cost_usd: float | None = Field(
        None,
        alias="costUSD",
        ge=0.000001,
        le=1e9,
        description="Most that the run for a new model may cost, in USD. Default: what is left of dailyBudgetUSD.",
    )
    gate: Gate | None = Field(
        None,
        description="Conditions on the winner for a new model, in place of template.spec.gate. Default: none, since "
        "production keeps its program.",
    )


def spec_for(template: Mapping[str, Any], trigger: str, model: str, wanted: NewModels) -> dict[str, Any]:
    """Returns the spec of a Compilation for a new model.

    Args:
        template: the template's spec, as a user has written it.
        trigger: name of the trigger, and so of its Compilation.
        model: the new model, as DSPy writes it.
    """
    models = template["models"]
    today = models["student"]
    new = {name: value for name, value in today.items() if name != "price"} | {"model": model}
    if wanted.price is not None:
        new["price"] = wanted.price.as_written()
    made = {
        **template,
        "models": {**models, "student": new, CURRENT: today},
        "compare": {"currentModel": CURRENT},
        "predecessor": {"name": trigger},
    }
    # The drift of today's model is no matter of the new one. The artifact of the trigger's own Compilation stays.
    for field in ("drift", "artifact", "suspend", "gate"):
        made.pop(field, None)
    if wanted.gate is not None:
        made["gate"] = wanted.gate.as_written()
    git = (template.get("artifact") or {}).get("git")
    if git and git.get("pullRequest"):
        made["artifact"] = {"git": git}
    return made
