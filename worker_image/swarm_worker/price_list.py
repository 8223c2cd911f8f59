"""Tokens -> USD, by the prices that come with DSPy, or by given ones."""

from dataclasses import dataclass

from swarm_wire.messages import Usage
from swarm_wire.spec import CompilationSpec
from swarm_worker.client import prices

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    prompt: float
    completion: float

    def of(self, usage: Usage) -> float:
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / MILLION


def of_spec(spec: CompilationSpec) -> dict[str, Price | None]:
    """Prices of the spec's models by name, as it gives them or as they are listed; None where neither knows one."""
    found: dict[str, Price | None] = {}
    for model in spec.models.by_role.values():
        given = Price(model.price.prompt, model.price.completion) if model.price else listed(model.model)
        # Roles may share a model: the first price that is given counts for all of them.
        found[model.model] = found.get(model.model) or given
    return found


def listed(model: str) -> Price | None:
    """The price in the list that DSPy brings with it; None where a model is not in it.

    Args:
        model: "provider/model", as in `spec.models`.
    """
    prices.keep_offline()
    try:
        from dspy.clients.model_metadata import model_info, rate
    except ImportError:  # DSPy 3.3
        return None

    provider, _, name = model.partition("/")
    info = model_info(provider, name)
    prompt, completion = rate(info, "input_cost_per_token"), rate(info, "output_cost_per_token")
    return None if prompt is None or completion is None else Price(prompt * MILLION, completion * MILLION)
