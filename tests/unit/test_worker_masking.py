"""Texts with the user's values are redacted before they are cut, since redaction does not find half a secret."""

from collections.abc import Iterator
from typing import Any

import dspy
import pytest

from swarm_worker.content import masking
from swarm_worker.content.codec import Codec
from swarm_worker.determinism.rehearsal import VALUE_TEXT, observe
from swarm_worker.errors import BadInput
from swarm_worker.replay.score import VALUE, check
from swarm_worker.user.data import Compilation, Data

KEY = "sk-a-very-secret-key"
HALF = len(KEY) // 2


@pytest.fixture(autouse=True)
def redaction() -> Iterator[None]:
    masking.install(Codec({"value of KEY": KEY}).redact)
    yield
    masking.install(str)


def metric(example: Any, prediction: Any, trace: Any = None) -> Any:
    return True


class Holder(dspy.Module):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


def score(before: str) -> str:
    with pytest.raises(BadInput) as refused:
        check(before + KEY, metric)
    return str(refused.value)


def example(before: str) -> str:
    data = Data([dspy.Example(text=before + KEY)], [], [])
    return "".join(seen.text for seen in observe(Compilation(Holder(""), metric, data)))


def program(before: str) -> str:
    return "".join(seen.text for seen in observe(Compilation(Holder(before + KEY), metric, Data([], [], []))))


@pytest.mark.parametrize(
    ("tell", "most"),
    [(score, VALUE), (example, VALUE_TEXT), (program, VALUE_TEXT)],
    ids=["what a metric returns", "an example that differs", "a program that differs"],
)
def test_a_secret_is_redacted_wherever_a_text_is_cut(tell: Any, most: int) -> None:
    for before in range(most - 300 if most > 300 else 0, most):
        told = tell("x" * before)
        assert KEY[:HALF] not in told, before
        assert "xx" in told or before < 2
