"""The worker finds the prices that DSPy would find, and looks each price up once."""

from typing import Any

import pytest
from dspy.clients import costs, model_metadata

from swarm_worker.client import prices


@pytest.mark.parametrize("provider", ["openai", "anthropic", "nobody"])
@pytest.mark.parametrize("model", ["gpt-4o-mini", "small", ""])
@pytest.mark.parametrize("namespaces", [None, (), ("openai",)])
def test_the_worker_finds_the_same_prices_as_dspy(
    monkeypatch: pytest.MonkeyPatch, provider: str, model: str, namespaces: Any
) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    expected = model_metadata.model_info(provider, model, namespaces=namespaces)
    found = prices.remembered(model_metadata.model_info)

    first = found(provider, model, namespaces=namespaces)
    first["input_cost_per_token"] = -1

    assert found(provider, model, namespaces=namespaces) == expected, "what one caller does to it is nobody else's"


def test_prices_are_looked_up_once_for_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def look_up(provider: str, model: str, *, namespaces: Any = None) -> dict[str, Any]:
        asked.append(model)
        return {}

    monkeypatch.setattr(model_metadata, "model_info", look_up)
    for user in prices._USERS:
        monkeypatch.setattr(f"{user}.model_info", None)
    prices.remember()
    for model in ("small", "large", "small"):
        costs.model_info("openai", model)

    assert asked == ["small", "large"]
