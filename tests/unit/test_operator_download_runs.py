"""The operator passes whole runs whose data come from URLs."""

from typing import Any

import pytest

from support.fake_cluster import CELLS, ROUNDS, FakeCluster, Faults
from swarm_operator.cluster.resources import CONFIG_MAPS, JOBS
from swarm_operator.compilation.api import LABEL_KIND, ObjectKind
from swarm_wire.names import ExitCode
from unit.test_operator_runs import Operator, assert_published, conditions, edit, prepared, run

pytestmark = pytest.mark.whole_runs

OPTIONS = {"options": {"secret": {"name": "data", "key": "options"}}}
DATA = {
    "inputs": ["ticket"],
    "train": {"url": "s3://bucket/train.parquet", **OPTIONS},
    "validation": {"url": "https://example.com/validation.jsonl"},
}
CHANGES: dict[str, Any] = {"data": DATA}


def url_run() -> tuple[FakeCluster, Operator]:
    return prepared(**CHANGES)


def writes_for_data() -> list[int]:
    """Returns the numbers of a run's writes of Jobs and ConfigMaps for data, each with the write after it."""
    cluster, operator = url_run()
    run(cluster, operator)
    found = (n for n, text in enumerate(cluster.writes) if any(mark in text for mark in ("-d0-", "-s0-")))
    return sorted({number for first in found for number in (first, first + 1) if number < len(cluster.writes)})


def assert_fetched_once(cluster: FakeCluster) -> None:
    assert_published(cluster)
    assert len(cluster.paid) == len(set(cluster.paid)) == ROUNDS * CELLS
    kept = [found for found in cluster.of(CONFIG_MAPS) if _kind(found) == ObjectKind.SNAPSHOT]
    assert len(kept) == 2, "one for each file"


def _kind(found: Any) -> str | None:
    kind: str | None = (found["metadata"].get("labels") or {}).get(LABEL_KIND)
    return kind


def test_a_run_fetches_data_first() -> None:
    cluster, operator = url_run()
    run(cluster, operator)
    assert_fetched_once(cluster)
    created = [text.rpartition("-")[0].rpartition("-")[2] for text in cluster.writes if "create jobs/" in text]
    assert created == ["d0", "p0", "w0", "p1", "w1", "p2"]


def test_a_run_fetches_its_program_before_its_data() -> None:
    git = {"entrypoint": "triage:Triage", "source": {"git": {"url": "https://git/app"}}}
    cluster, operator = prepared(**CHANGES, program=git)
    run(cluster, operator)
    assert_published(cluster)
    created = [text.rpartition("-")[0].rpartition("-")[2] for text in cluster.writes if "create jobs/" in text]
    assert created[:3] == ["f0", "d0", "p0"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", writes_for_data())
def test_an_operator_that_is_killed_before_or_after_a_write_for_data_fetches_each_file_once(
    number: int, after: bool
) -> None:
    cluster, operator = url_run()
    cluster.kill_at = (number, after)
    run(cluster, operator)
    assert_fetched_once(cluster)


def test_a_download_that_fails_for_a_reason_that_passes_is_tried_again() -> None:
    cluster, operator = url_run()
    cluster.faults = Faults(
        exit_code=lambda job, index: int(ExitCode.FAILED) if "-d0" in job and job.endswith(("-1", "-2")) else 0
    )
    run(cluster, operator, steps=120)
    assert_fetched_once(cluster)


def test_data_that_nobody_can_read_are_fetched_again() -> None:
    cluster, operator = url_run()
    cluster.faults = Faults(silent=lambda job, index: "-d0" in job and job.endswith("-1"))
    run(cluster, operator, steps=120)
    assert_fetched_once(cluster)


def test_a_missing_file_ends_the_run_before_anything_is_paid_for() -> None:
    cluster, operator = url_run()
    cluster.faults = Faults(
        exit_code=lambda job, index: int(ExitCode.BAD_INPUT) if "-d0" in job else 0,
        commit_reason="DataInvalid",
        commit_message="there is no file s3://bucket/train.parquet",
    )
    run(cluster, operator)
    assert conditions(cluster)["Stalled"] == ("True", "DataInvalid")
    assert not cluster.paid


def test_a_new_run_fetches_the_data_again_and_pays_for_nothing() -> None:
    cluster, operator = url_run()
    run(cluster, operator)
    paid = len(cluster.paid)
    edit(cluster, data={**DATA, "test": {"url": "https://example.com/test.jsonl"}})
    run(cluster, operator)
    assert conditions(cluster)["Ready"] == ("True", "Published")
    assert len(cluster.paid) == paid
    assert sum("create jobs/" in text and "-d0-" in text for text in cluster.writes) == 2


def test_a_suspended_run_has_no_download_and_fetches_when_it_is_resumed() -> None:
    cluster, operator = url_run()
    operator.look()
    edit(cluster, suspend=True)
    run(cluster, operator, steps=5)
    assert not cluster.of(JOBS)
    edit(cluster, suspend=False)
    run(cluster, operator)
    assert_fetched_once(cluster)
