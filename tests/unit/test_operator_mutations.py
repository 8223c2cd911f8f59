"""The operator handles every mistake in a spec. These tests need no cluster, so they try all mistakes.

`tests/faults/test_mutations.py` tries some of the mistakes with a real API server, a real operator and real pods.
"""

import json
from collections import Counter
from datetime import timedelta

from support.mutations import Mutation, mutations, with_room
from support.operator_specs import SPEC
from support.worlds import KEY, NOW, RUN_ID, assignment, compilation, planned, results, world
from swarm_operator.compilation.api import Reason
from swarm_operator.compilation.apply import config_maps
from swarm_operator.compilation.apply.jobs import job
from swarm_operator.compilation.decide.rules import decide
from swarm_operator.compilation.model.actions import OpenRun, StartJob
from swarm_operator.compilation.model.world import Run
from swarm_operator.settings import Settings

SETTINGS = Settings(limiter="limiter:7070")
JOURNAL = {"url": "s3://bucket/journals", "options": {"secret": {"name": "bucket", "key": "options"}}}
CASES = mutations({**with_room(SPEC), "journal": JOURNAL})


def test_every_spec_with_a_mistake_is_refused_or_completes_its_run() -> None:
    outcomes = Counter(outcome(case) for case in CASES)
    print(len(CASES), dict(outcomes))
    assert outcomes["refused"] > 500
    assert outcomes["run"] > 100
    assert set(outcomes) == {"refused", "run"}


def outcome(case: Mutation) -> str:
    """Returns how a spec ends: the operator refuses it with a message, or its run passes all stages."""
    seen = compilation(case.spec)
    if seen.problems:
        decided = decide(world(compilation=seen, run=None), NOW, SETTINGS)
        [stalled] = [each for each in decided.status.conditions if each.type == "Stalled"]  # type: ignore[union-attr]
        assert stalled.reason == Reason.INVALID_SPEC
        assert "spec" in stalled.message
        assert len(stalled.message) > len("spec: ")
        return "refused"

    assert seen.spec is not None
    [opened] = decide(world(compilation=seen, run=None), NOW, SETTINGS).actions
    assert isinstance(opened, OpenRun)
    config_maps.run_map(KEY, opened.request)

    inputs = {name: frozenset(keys or ()) for name, keys in seen.spec.config_maps().items()}
    run = Run(KEY, RUN_ID, opened.request, opened.request.spec.image or "")
    for stage in ([], planned(0), [*planned(0), results(0, 1)]):
        decided = decide(world(stage, compilation=seen, run=run, inputs=inputs), NOW, SETTINGS)
        [order] = [each for each in decided.actions if isinstance(each, StartJob)]
        json.dumps(job(order))
    late = NOW + timedelta(days=365)
    given_out = (assignment(0, 1, [0, 1], [2, 3]),)
    decide(world(planned(0), assignments=given_out, compilation=seen, run=run, inputs=inputs), late, SETTINGS)
    return "run"
