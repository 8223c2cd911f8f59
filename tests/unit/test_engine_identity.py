"""One rule for operator and local driver says which changes of a spec begin a new run."""

from typing import Any

import pytest

from support.wire_spec import a_spec
from swarm_engine.identity import is_same_run
from swarm_wire.spec.compilation import CompilationSpec


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        ({"limits": {"lmCalls": 5}}, True),
        ({"limits": {"publishPartial": True}}, True),
        ({"limits": {"cellSeconds": 5}}, False),
        ({"suspend": True}, True),
        ({"ttlSecondsAfterFinished": 60}, True),
        ({"models.student.limits": {"requestsPerMinute": 60}}, True),
        ({"models.student.model": "openai/other"}, False),
        ({"swarm": {"threadsPerPod": 3}}, False),
        ({"image": "mine:1"}, False),
    ],
    ids=str,
)
def test_changes_that_cannot_affect_the_winner_continue_the_run(change: dict[str, Any], is_same: bool) -> None:
    before, after = (CompilationSpec.model_validate(a_spec(**changes)) for changes in ({}, change))
    assert is_same_run(before, after) is is_same


def test_a_run_keeps_its_image_if_the_spec_names_no_image() -> None:
    own, open_ = (CompilationSpec.model_validate(a_spec(**changes)) for changes in ({"image": "mine:1"}, {}))
    assert is_same_run(own, open_)
