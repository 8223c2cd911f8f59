"""Our small port of kstatus says what Flux's own library says."""

from pathlib import Path

import pytest
import yaml

from support.kstatus import kstatus
from testbed import flux

FOLDER = Path(__file__).parents[2] / "examples/gitops/argocd/resource_customizations/dspy-swarm.dev"


@pytest.mark.usefixtures("programs")
def test_the_port_and_the_library_agree_in_every_state_of_both_kinds() -> None:
    files = sorted(FOLDER.glob("*/testdata/*.yaml"))
    objects = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    end = {"deletionTimestamp": "2026-11-21T12:00:00Z"}
    deleted = [{**each, "metadata": {**each["metadata"], **end}} for each in objects]
    assert len(files) > 10
    assert flux.kstatus([*objects, *deleted]) == [kstatus(each) for each in (*objects, *deleted)]
