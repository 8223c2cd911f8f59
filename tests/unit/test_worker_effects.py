"""Each kind of effect has a module, which makes tasks for it."""

from importlib import import_module

import pytest

from swarm_wire.messages import EffectKind
from swarm_worker.replay import effects


@pytest.mark.parametrize("kind", [kind for kind in EffectKind if kind is not EffectKind.TRAIN])
def test_each_kind_of_effect_has_a_module_of_its_name_that_makes_tasks_ready_to_run(kind: EffectKind) -> None:
    assert callable(import_module(f"{effects.__name__}.{kind}").make_work)
