"""The product on a cluster, for the tiers that need one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import testbed
from support.cluster import install_operator


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> testbed.Cluster:
    """A cluster with this checkout's operator. Its deadlines are short, so that tests of them are."""
    # Beside the folders of the test processes, if there are several.
    with first_of(tmp_path_factory.getbasetemp().parent / f"installed-{testrun_uid}") as is_first:
        cluster = testbed.cluster()
        if is_first:
            if not cluster.setup.context:  # otherwise the owner of the named cluster has loaded them
                cluster.load(*testbed.project_images())
            install_operator(
                cluster,
                **{"operator.gatherInterval": "1", "operator.pendingDeadline": "10", "operator.retryDelay": "1"},
            )
    return cluster


@contextmanager
def first_of(file: Path) -> Iterator[bool]:
    """Whether this process is the first to enter with this file; one process is inside at a time."""
    with file.open("a") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        yield mark.seek(0, os.SEEK_END) == 0
        mark.write("installed\n")
