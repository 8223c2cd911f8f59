"""A model has the price that the spec gives, else the listed one; a tuned student has its own."""

from typing import Any

import dspy
import pytest

from support.wire_spec import a_spec
from swarm_wire.spec.compilation import CompilationSpec
from swarm_worker.errors import BadInput
from swarm_worker.provider import budget
from swarm_worker.provider.price_list import Price, Prices, address_of

STUDENT = {"model": "openai/small", "endpoint": "http://p/v1", "price": {"prompt": 1, "completion": 2}}
TEACHER = {"model": "openai/large", "endpoint": "http://p/v1", "price": {"prompt": 10, "completion": 20}}
TUNED = {"price": {"prompt": 3, "completion": 4}}


@pytest.mark.parametrize(
    ("finetune", "model", "expected"),
    [
        (None, "openai/small", Price(1, 2)),
        (None, "openai/ft:small:acme::1", None),
        ({}, "openai/ft:small:acme::1", Price(1, 2)),
        (TUNED, "openai/ft:small:acme::1", Price(3, 4)),
        (TUNED, "openai/small-tuned-1", Price(3, 4)),
        (TUNED, "openai/small", Price(1, 2)),
        (TUNED, "openai/large", Price(10, 20)),
        (TUNED, "other/unknown", None),
    ],
)
def test_a_tuned_model_has_the_price_of_finetune_else_that_of_the_student(
    finetune: dict[str, Any] | None, model: str, expected: Price | None
) -> None:
    given = {} if finetune is None else {"finetune": finetune, "optimizer": {"bootstrapFinetune": {}}}
    prices = Prices(CompilationSpec.model_validate(a_spec(models={"student": STUDENT, "teacher": TEACHER}, **given)))
    assert prices.of(model, "http://p/v1") == expected
    assert prices.at(address_of(model, "http://p/v1")) == expected


def test_a_listed_model_that_no_role_names_keeps_its_price() -> None:
    given = {"finetune": TUNED, "optimizer": {"bootstrapFinetune": {}}}
    prices = Prices(CompilationSpec.model_validate(a_spec(models={"student": STUDENT}, **given)))
    found = prices.of("openai/gpt-4o-mini")
    assert found is not None
    assert found != Price(3, 4)


@pytest.mark.parametrize("unpriced", ["student", "teacher"])
def test_a_gate_on_the_saving_needs_the_prices_of_both_models(unpriced: str) -> None:
    models = {"student": {**STUDENT}, "teacher": {**TEACHER}}
    given = {"finetune": {}, "optimizer": {"bootstrapFinetune": {}}, "gate": {"minCostReduction": 0.5}}
    budget.check_gate(CompilationSpec.model_validate(a_spec(models=models, **given)), dspy.Predict("a -> b"))
    del models[unpriced]["price"]
    with pytest.raises(BadInput, match=rf"gate.minCostReduction is set.*is models.{unpriced}") as refused:
        budget.check_gate(CompilationSpec.model_validate(a_spec(models=models, **given)), dspy.Predict("a -> b"))
    assert refused.value.reason == "PriceUnknown"
