"""A model that was pre-trained learns by an adapter. It takes hours of CPU, so it runs by hand: make distill-real.

No run has reached the bar yet; examples/tiny/README.md has the figure.
"""

from pathlib import Path

import pytest

from support.compiles import ROOT
from support.training import compiled, make_tiny

BASE = ROOT / "build" / "smollm2"
BEFORE, AFTER = 35.0, 70.0
"""The most that the base may score on 100 test tickets, and the least that base and adapter must score."""


@pytest.fixture(autouse=True)
def asked_for(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--with-smollm2"):
        pytest.skip("takes hours of CPU: --with-smollm2")


def test_a_small_language_model_learns_from_its_teacher_by_an_adapter(tmp_path: Path) -> None:
    make_tiny(tmp_path / "made", seed=0)
    scores = compiled("smollm2.yaml", tmp_path, BASE, seed=0)
    assert scores["testBaseline"] <= BEFORE
    assert scores["testWinner"] >= AFTER
