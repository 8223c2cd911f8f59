"""A value that the chart repeats from another file equals the value in that file."""

import re
from pathlib import Path

import pytest

from support.uninstall import LINE, pages
from swarm_operator.runtime.handlers import STUCK_SECONDS

CHART = Path(__file__).parents[2] / "charts" / "dspy-swarm"


def test_a_stuck_operator_ends_itself_within_the_grace_period_of_its_pod() -> None:
    deployment = (CHART / "templates" / "deployment.yaml").read_text(encoding="utf-8")
    grace = re.search(r"terminationGracePeriodSeconds: (\d+)", deployment)
    assert grace is not None
    assert int(grace[1]) > STUCK_SECONDS


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_all_pages_have_the_same_uninstall_command(page: Path) -> None:
    assert LINE in re.sub(r"^    ", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
