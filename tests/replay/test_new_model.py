"""A new model in the provider's list leads to a table of both models, with real plans and workers."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from simulated_provider.testing import RunningProvider
from support.compiles import KNOWLEDGE
from support.fake_cluster import NAMESPACE
from support.nights import Nights, provider
from support.real_pods import NAME, TICK_SECONDS
from swarm_operator.cluster.resources import CONFIG_MAPS
from swarm_operator.compilation.api import COMPILATIONS
from swarm_operator.compilation.model.object_names import trial
from swarm_operator.compilation.model.world import Key
from swarm_wire.report import Report
from testbed.shell import free_port

NEW = trial(NAME, "openai/small-2")


class Models(Nights):
    """A trigger that looks for new models."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        given = self.trigger["spec"]
        given["models"] = {"pattern": "small*"}
        del given["schedules"]

    def settle(self, provider: RunningProvider) -> int:
        """Lets two hours pass, with all looks and runs. Returns the number of LM calls."""
        provider.reset()
        self.cluster.now += timedelta(hours=2)
        for _ in range(4):
            self.look()
            for _ in range(2):
                self.cluster.step(0)
            while self.cluster.running:
                time.sleep(TICK_SECONDS)
                self.cluster.step(0)
            for found in self.cluster.of(COMPILATIONS):
                self._key = Key(NAMESPACE, found["metadata"]["name"], found["metadata"]["uid"])
                self.end()
        return int(provider.stats()["requests"])

    def of(self, name: str) -> dict[str, Any]:
        [found] = self.cluster.of(COMPILATIONS, name)
        self._key = Key(NAMESPACE, name, found["metadata"]["uid"])
        return self.artifact


def test_a_new_model_leads_to_a_table_and_todays_model_is_not_asked(tmp_path: Path) -> None:
    port = free_port()
    models = Models(f"http://127.0.0.1:{port}/v1", tmp_path)
    with provider(port, 0.4, knowledge=KNOWLEDGE) as running:
        first = models.settle(running)
        assert first > 0
        assert models.settle(running) == 0, "no model is new"
        before = models.of(NAME)
    both = {"small": 0.4, "small-2": 0.95}
    with provider(port, 0.4, knowledge=KNOWLEDGE, model=both) as running:
        models.settle(running)
        asked = running.requests()
    report = Report.model_validate(models.of(NEW)["report"])
    assert {request["model"] for request in asked} == {"small-2"}, "today's model costs no call"
    assert report.switched is not None
    [shown] = models.cluster.of(CONFIG_MAPS, f"{NEW}-artifact")
    print(shown["data"]["report.md"])
    assert report.current_model == "openai/small"
    assert models.of(NAME) == before, "the artifact of today's model stays"
