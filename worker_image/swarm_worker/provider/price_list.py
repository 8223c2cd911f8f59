"""Converts tokens to USD, by DSPy's price list or the spec's prices."""

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

from swarm_wire.spec.compilation import CompilationSpec
from swarm_wire.spending import MICRO, Usage
from swarm_worker.client import prices
from swarm_worker.client.call import LMCall
from swarm_worker.client.installed import client

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    prompt: float
    completion: float

    def of(self, usage: Usage) -> float:
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / MILLION


class Prices:
    """The prices that a spec gives for its models, and listed prices for all others.

    A model is identified by its name and endpoint, because its price may differ between endpoints. The provider's own
    endpoint is the empty text.
    """

    def __init__(self, spec: CompilationSpec) -> None:
        self._given: dict[str, dict[str, Price]] = {}
        for model in spec.models.by_role.values():
            if model.price is not None:
                # Roles may share a model. The first given price counts for all of them.
                price = Price(model.price.prompt, model.price.completion)
                self._given.setdefault(model.model, {}).setdefault(model.address, price)
        self._student, self._finetune = spec.models.student, spec.finetune
        self._tuned = {self._student.address, spec.tuned_address} - {""}
        self._names = {model.model for model in spec.models.by_role.values()}

    def of(self, model: str, endpoint: str | None = None) -> Price | None:
        """Returns a model's price. If the spec gives none for the endpoint, returns the model's highest known price.

        Returns None if no price of the model is known.
        """
        if self.is_tuned(model, endpoint):
            tuned = self._finetune and self._finetune.price
            return Price(tuned.prompt, tuned.completion) if tuned else self.of(self._student.model, endpoint)
        given = self._given.get(model, {})
        if (price := given.get((endpoint or "").rstrip("/"))) is not None:
            return price
        known = [price for price in (*given.values(), listed(model)) if price is not None]
        if not known:
            return None
        return Price(max(price.prompt for price in known), max(price.completion for price in known))

    def is_tuned(self, model: str, endpoint: str | None) -> bool:
        """Whether a model can only be a tuned student. At an endpoint of the user's, its name may be any."""
        if self._finetune is None or model in self._names or listed(model) is not None:
            return False
        provider, address = self._student.provider, (endpoint or "").rstrip("/")
        named = model.startswith(f"{provider}/ft:")
        return named or (model.startswith(f"{provider}/") and address in self._tuned)

    def at(self, address: str) -> Price | None:
        """Returns the price of a model at an address, as `address_of` names both."""
        model, _, mark = address.rpartition("@")
        known = [*self._given.get(model, {}), self._student.address, *self._tuned]
        endpoints = [endpoint for endpoint in known if _mark(endpoint) == mark]
        return self.of(model, endpoints[0] if endpoints else None)


def address_of(model: str, endpoint: str | None) -> str:
    """Returns a name of a model at an endpoint. An endpoint may hold a secret, so the name has only its digest."""
    return f"{model}@{_mark((endpoint or '').rstrip('/'))}"


def _mark(endpoint: str) -> str:
    return hashlib.blake2b(endpoint.encode(), digest_size=4).hexdigest()


_prices: Prices | None = None


def install(spec: CompilationSpec) -> None:
    """Makes `took` include the cost of LM calls in this process."""
    global _prices
    _prices = Prices(spec)


def took(call: LMCall, answer: Any) -> Usage:
    """Returns the usage of an LM call, with its cost if the price is known."""
    usage = client().usage(answer)
    price = _prices.of(call.content["model"], call.endpoint) if _prices is not None and usage.calls else None
    return usage if price is None else usage.model_copy(update={"micro_usd": round(price.of(usage) * MICRO)})


@functools.cache
def listed(model: str) -> Price | None:
    """Returns the price in DSPy's list; None if the model is not in it.

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
