"""A trigger and the runs of its Compilation, with real plans and workers and a simulated clock."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from simulated_provider.testing import RunningProvider, running_provider
from support.compiles import Case
from support.fake_cluster import NAMESPACE, Object
from support.real_pods import NAME, SETTINGS, RealPods, Run, cluster_spec
from swarm_operator.cluster.resources import CONFIG_MAPS, EVENTS
from swarm_operator.compilation.api import API_VERSION, COMPILATIONS
from swarm_operator.compilation.model.world import Key
from swarm_operator.compilation.reconcile import Reconciler
from swarm_operator.trigger.api import KIND, TRIGGERS
from swarm_operator.trigger.reconcile import Reconciler as TriggerReconciler

CASE = Case("", parameters={"num_candidate_programs": 2, "max_labeled_demos": 4}, validation=24)
SAMPLE = 24
PROGRAM = """
from replay_programs import One, exact

class Program(One):
    pass
"""
CHANGED = """
from replay_programs import One, exact

class Program(One):
    def __init__(self):
        super().__init__()
        self.classify.predict.signature = self.classify.predict.signature.with_instructions("Name the category.")
"""


class Nights(Run):
    """A trigger for each night at two, and the runs of its Compilation."""

    def __init__(self, url: str, folder: Path) -> None:
        self.cluster = RealPods(folder=folder)
        spec, data = cluster_spec(CASE, url, pods=2)
        spec["program"] = {"entrypoint": "code:Program", "source": {"configMap": {"name": "code"}}}
        spec["metric"] = {"entrypoint": "code:exact"}
        spec["data"]["test"] = {**spec["data"]["validation"]}
        self.cluster.config_map("data", **data)
        self.cluster.config_map("code", **{"code.py": PROGRAM})
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": NAME, "generation": 1},
            "spec": {"schedules": [{"cron": "0 2 * * *"}], "template": {"spec": spec}},
        }
        found = self.cluster.put(TRIGGERS, body)
        self._trigger = Key(NAMESPACE, NAME, found["metadata"]["uid"])
        self._triggers = TriggerReconciler(self.cluster, SETTINGS, lambda: self.cluster.now)
        self._operator = Reconciler(self.cluster, SETTINGS, clock=lambda: self.cluster.now)

    @property
    def trigger(self) -> Object:
        return self.cluster.of(TRIGGERS)[0]

    def change(self, name: str, key: str, old: str, new: str) -> None:
        """Replaces a text in a ConfigMap, once."""
        found = self.cluster.of(CONFIG_MAPS, name)[0]["data"]
        assert old in found[key]
        found[key] = found[key].replace(old, new, 1)

    def edit(self, **template: Any) -> None:
        """Changes the spec of the trigger."""
        self.trigger["spec"]["template"]["spec"] |= template
        self.trigger["metadata"]["generation"] += 1
        self.look()

    def night(self, provider: RunningProvider) -> int:
        """Waits for two o'clock, and until all runs have ended. Returns the number of LM calls."""
        provider.reset()
        self.look()
        now = self.cluster.now
        two = now.replace(hour=2, minute=0, second=5)
        self.cluster.now = two if two > now else two + timedelta(days=1)
        runs = -1
        while len(found := self.look()) > runs:
            runs = len(found)
            uid = self.cluster.of(COMPILATIONS)[0]["metadata"]["uid"]
            self._key = Key(NAMESPACE, NAME, uid)
            self.end()
        return int(provider.stats()["requests"])

    def look(self) -> list[str]:
        """Makes a pass over the trigger. Returns all starts of runs so far."""
        asyncio.run(self._once())
        return [text for text in self.cluster.writes if text.startswith("apply dspycompilations/")]

    async def _once(self) -> None:
        await self._triggers(self._trigger)

    @property
    def drifts(self) -> list[str]:
        return [event["message"] for event in self.cluster.of(EVENTS) if event.get("reason") == "Drifted"]


@contextmanager
def provider(port: int, capability: float, **options: Any) -> Iterator[RunningProvider]:
    with running_provider(**{"port": port, "seed": 3, "model": {"small": capability}, **options}) as running:
        yield running
