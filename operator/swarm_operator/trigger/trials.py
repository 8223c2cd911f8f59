"""The Compilation that a trigger makes for a new model (pure).

It compiles for the new model, and shows the published program and the winner on both models. The trigger's own
Compilation, whose program applications use, stays as it is.
"""

from collections.abc import Mapping
from typing import Any, Final

from swarm_wire.spec.models import Price

CURRENT: Final = "current"
"""Key in spec.models under which a trial has the model on which the published program runs today."""


def spec_for(template: Mapping[str, Any], trigger: str, model: str, price: Price | None) -> dict[str, Any]:
    """Returns the spec of a Compilation for a new model.

    Args:
        template: the template's spec, as a user has written it.
        trigger: name of the trigger, and so of its Compilation.
        model: the new model, as DSPy writes it.
        price: its price, if a user has written one.
    """
    models = template["models"]
    today = models["student"]
    new = {name: value for name, value in today.items() if name != "price"} | {"model": model}
    if price is not None:
        new["price"] = price.model_dump(mode="json", by_alias=True)
    made = {
        **template,
        "models": {**models, "student": new, CURRENT: today},
        "compare": {"currentModel": CURRENT},
        "predecessor": {"name": trigger},
    }
    # The drift of today's model is no matter of the new one. The artifact of the trigger's own Compilation stays.
    for field in ("drift", "artifact", "suspend"):
        made.pop(field, None)
    git = (template.get("artifact") or {}).get("git")
    if git and git.get("pullRequest"):
        made["artifact"] = {"git": git}
    return made
