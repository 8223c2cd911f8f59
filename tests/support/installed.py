"""The product on a cluster, for the tiers that need one."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import testbed
from support.cluster import install_operator


@pytest.fixture(scope="session")
def installed(testrun_uid: str) -> testbed.Cluster:
    """A cluster with this checkout's operator. Its deadlines are short, so that tests of them are."""
    with first_of(testrun_uid) as is_first:
        cluster = testbed.cluster()
        if is_first:
            cluster.load(*testbed.project_images())
            install_operator(
                cluster,
                **{"operator.gatherInterval": "1", "operator.pendingDeadline": "10", "operator.retryDelay": "1"},
            )
    return cluster


@contextmanager
def first_of(testrun: str) -> Iterator[bool]:
    """Whether this process is the first of a test run's that gets here; one is inside at a time."""
    with (Path(tempfile.gettempdir()) / f"dspy-swarm-installed-{testrun}").open("a") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        yield mark.seek(0, os.SEEK_END) == 0
        mark.write("installed\n")
