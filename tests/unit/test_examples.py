"""The folder examples/ has an example of each optimizer, and each example loads as in a pod."""

import importlib
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from support.worker import importable
from swarm_wire.names import WorkerReason
from swarm_wire.spec.optimizers import Optimizer
from swarm_worker.local.documents import read
from swarm_worker.user.entrypoint import load
from swarm_worker.user.program import load_metric, load_program

EXAMPLES = Path(__file__).parents[2] / "examples"
DISTILL = sorted(path for path in (EXAMPLES / "distill").glob("*.yaml") if path.name != "kustomization.yaml")
OPTIMIZERS = sorted(path for path in (EXAMPLES / "optimizers").glob("*.yaml") if path.name != "kustomization.yaml")


def test_every_optimizer_has_an_example_manifest() -> None:
    assert {path.stem for path in OPTIMIZERS} == {to_camel(name) for name in Optimizer.members}


@pytest.mark.parametrize(
    "path",
    [EXAMPLES / "triage", *DISTILL, *OPTIMIZERS],
    ids=lambda path: path.name,
)
def test_every_example_manifest_is_valid_and_its_entrypoints_load(path: Path) -> None:
    manifest = read(path, {})
    assert set(manifest.config_maps) == {"triage-program", "triage-data"}
    assert set(manifest.keys) == set(manifest.spec.secrets())
    given: Any = manifest.spec.optimizer
    if path in OPTIMIZERS:
        assert to_camel(given.which) == path.stem
    with importable(EXAMPLES / "triage"):
        load_program(manifest.spec)
        load_metric(manifest.spec)
        if given.which == "custom":
            assert callable(load(given.custom.entrypoint, "", WorkerReason.OPTIMIZER_INVALID))


def test_the_tiny_example_is_valid_and_its_entrypoints_load() -> None:
    spec = read(EXAMPLES / "tiny" / "compilation.yaml", {}).spec
    with importable(EXAMPLES / "tiny"):
        load_program(spec)
        load_metric(spec)
        made = importlib.import_module("make_data")
        found = [each["ticket"] for each in islice(made.tickets(0), sum(made.COUNTS.values()))]
    assert len(set(found)) == len(found), "no ticket is in two files"
