"""A real API server, a real operator and real pods handle specs with mistakes.

The API server refuses a spec, or its run ends with a condition that names the mistake, or its run succeeds. The
operator never crashes, and is idle at the end. By default, the test tries a sixth of the accepted specs and of some
refused specs, and the next day another sixth. FAULTS=all tries all specs. `tests/unit/test_operator_mutations.py` tries
all without a cluster.
"""

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from faults.conftest import NewStage
from faults.process import OUR_FAULT
from faults.stage import Stage, small
from support.api import Refused
from support.cluster import OPERATOR_NAMESPACE, Manifest, Namespace, condition, is_over, is_stuck
from support.mutations import Mutation, mutations, with_room
from support.sampling import sample
from swarm_operator.compilation.api import Reason
from swarm_wire.names import WorkerReason
from swarm_wire.spec.compilation import CompilationSpec

SIDE_BY_SIDE = 10
LONGEST, STILL = 180, 300
"""Seconds that a run may take, and seconds in which a slower run must make progress. Large numbers in a spec are no
mistake, but a plan then takes minutes without a call."""
SLOW, PATIENCE = (".requestsPerMinute", ".tokensPerMinute"), 30
"""Fields with which a spec may allow only one request a minute, and the seconds for which the test watches such a
run."""
SLOWLY, LONG, NOT_TAKEN = "runs as slowly as it is to", "runs for long", "refused by the API server"
REFUSED = 5
"""The test tries every fifth of the refused specs."""
A_DAY = 6
"""The test tries every sixth of the specs each day."""
NEVER = {
    Reason.JOURNAL_DAMAGED,
    Reason.NO_PROGRESS,
    Reason.JOURNAL_TOO_LARGE,
    WorkerReason.SCHEMA_MISMATCH,
    WorkerReason.SOURCE_CHANGED,
    WorkerReason.DIGEST_DRIFT,
    WorkerReason.STORAGE_DAMAGED,
    WorkerReason.UNSUPPORTED_DSPY,
    WorkerReason.WORKER_FAILED,
}
"""No mistake in a spec may lead to one of these reasons."""
KNOWN = {*Reason, *WorkerReason} - NEVER


def chosen() -> list[Mutation]:
    accepted: list[Mutation] = []
    refused: list[Mutation] = []
    for found in mutations(with_room(small("base")["spec"])):
        (accepted if is_valid(found.spec) else refused).append(found)
    return sample([*accepted, *refused[::REFUSED]], A_DAY)


def is_valid(spec: dict[str, Any]) -> bool:
    try:
        CompilationSpec.model_validate(spec)
    except ValueError:
        return False
    return True


@pytest.mark.alone
@pytest.mark.fault("spec with a mistake: each field of the schema, in each way")
def test_every_spec_with_a_mistake_is_refused_or_ends_in_a_condition(
    new_stage: NewStage, namespace: Namespace, tmp_path: Path
) -> None:
    limiter = f"dspy-swarm-limiter.{OPERATOR_NAMESPACE}.svc:7070"
    cases = chosen()
    assert len(cases) >= 40
    with new_stage(namespace, tmp_path, "mistakes", limiter=limiter) as stage:
        stage.ready()
        outcomes = Trial(stage, cases).run()
        stage.rests()
    table = {outcome: len(found) for outcome, found in sorted(outcomes.items())}
    print(json.dumps(table, indent=1))
    assert sum(table.values()) == len(cases)
    assert {outcome for outcome in table if outcome not in KNOWN} <= {NOT_TAKEN, SLOWLY, LONG}


class Trial:
    """Runs Compilations with mistakes, a few at a time."""

    def __init__(self, stage: Stage, cases: list[Mutation]) -> None:
        self._stage, self._todo = stage, list(enumerate(cases))
        self._under_way: dict[str, tuple[Mutation, float]] = {}
        self._further: dict[str, tuple[int, float]] = {}
        self._outcomes: defaultdict[str, list[str]] = defaultdict(list)

    def run(self) -> dict[str, list[str]]:
        """Returns the mistakes grouped by outcome: the reason of a condition, or "refused by the API server"."""
        while self._todo or self._under_way:
            while self._todo and len(self._under_way) < SIDE_BY_SIDE:
                self._apply(*self._todo.pop(0))
            for found in self._stage.api.get(self._stage.path(""))["items"]:
                name = found["metadata"]["name"]
                if name not in self._under_way:
                    continue
                calls = found.get("status", {}).get("usage", {}).get("calls", 0)
                if calls != self._further.get(name, (0, 0.0))[0]:
                    self._further[name] = calls, time.monotonic()
                if is_over(found) or is_stuck(found):
                    self._end(name, found)
            for name, (case, began) in [*self._under_way.items()]:
                if case.field.endswith(SLOW) and time.monotonic() > began + PATIENCE:
                    self._drop(name, SLOWLY, "")
                elif time.monotonic() > began + LONGEST:
                    calls, since = self._further.get(name, (0, began))
                    assert time.monotonic() < since + STILL, f"{case.field}: {case.what}: {self._status(name)}"
                    self._drop(name, LONG, f"{calls} calls")
            assert not self._stage.operator.exits, self._stage.operator.log[-3000:]
            assert OUR_FAULT not in self._stage.operator.log, self._stage.operator.log[-5000:]
            time.sleep(0.5)
        return self._outcomes

    def _apply(self, number: int, case: Mutation) -> None:
        name = f"mistake-{number:03d}"
        manifest = {**small(name), "spec": case.spec}
        manifest["metadata"]["namespace"] = self._stage.namespace.name
        try:
            self._stage.api.send("POST", self._stage.path(""), manifest)
        except Refused as error:
            refused = error
        else:
            self._under_way[name] = case, time.monotonic()
            return
        assert refused.status in (400, 422), refused
        assert "spec" in str(refused), refused
        self._ended(NOT_TAKEN, case, "")

    def _end(self, name: str, found: Manifest) -> None:
        ready = condition(found, "Ready")
        assert ready is not None
        assert ready["message"], self._under_way[name]
        assert not any(f"{reason}: " in ready["message"] for reason in NEVER), (self._under_way[name], ready)
        self._drop(name, ready["reason"], ready["message"][:200])

    def _drop(self, name: str, outcome: str, message: str) -> None:
        case, _ = self._under_way.pop(name)
        self._ended(outcome, case, message)
        self._stage.api.send("DELETE", self._stage.path(name), {"propagationPolicy": "Background"})

    def _ended(self, outcome: str, case: Mutation, message: str) -> None:
        self._outcomes[outcome].append(f"{case.field}: {case.what}")
        print(f"{outcome}: {case.field}: {case.what}: {message}", flush=True)

    def _status(self, name: str) -> str:
        return json.dumps(self._stage.api.get(self._stage.path(name)).get("status"), indent=1)
